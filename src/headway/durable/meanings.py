"""What messages mean for an instance, and what is told of it to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Optional

import msgspec

from headway.basics.times import format_time
from headway.durable.messages import Body, Cancel, Resolve, Signal, Update
from headway.durable.state import Answer, FunctionState
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Entry,
    Failed,
    Failure,
    Finished,
    FinishedBadly,
    Happening,
    Signalled,
    TerminateAsked,
    UpdateAsked,
    decode,
)
from headway.functions.instance import Instance
from headway.functions.waits import Wait

__all__ = [
    "calls_of",
    "end_of",
    "happening_of",
    "keep_answer",
    "left_open",
    "show",
    "signalled",
    "text_of",
    "texts_of",
]

_UPDATES_MOST: Final = 100
_WAITS_MOST: Final = 20
_json: Final = msgspec.json.Encoder().encode


def happening_of(state: FunctionState, body: Body, now_ms: int) -> Optional[Happening]:
    """What a message means for a run; None where it is meant for another one."""
    if isinstance(body, Resolve):
        if body.run != (state.code_run if body.by_token else state.run):
            return None
        if body.failure is not None:
            return Failed(now_ms, body.call, body.failure)
        return Answered(now_ms, body.call, bytes(body.value))
    if isinstance(body, Signal):
        return signalled(body, now_ms)
    if isinstance(body, Update):
        return UpdateAsked(now_ms, body.id, body.name, bytes(body.value))
    assert isinstance(body, Cancel)
    return TerminateAsked(now_ms, body.reason) if body.terminates else CancelAsked(now_ms, body.reason)


def signalled(signal: Signal, now_ms: int) -> Signalled:
    """A signal that has come."""
    return Signalled(now_ms, signal.name, bytes(signal.value), signal.id)


def end_of(last: Entry) -> tuple[bytes, Optional[Failure]]:
    """What the caller of a function is told of its end, from the last entry of its history.

    >>> from headway.functions.history import Cancelled
    >>> end_of(Finished(b"7")), str(end_of(Cancelled("no"))[1])
    ((b'7', None), 'Cancelled: no')
    """
    if isinstance(last, Finished):
        return last.value, None
    if isinstance(last, FinishedBadly):
        return b"null", last.failure
    return b"null", Failure(type(last).__name__, getattr(last, "reason", ""))


def keep_answer(state: FunctionState, update_id: str, answer: Answer) -> None:
    """Keep the answer to an update, among the last ones."""
    state.updates[update_id] = answer
    while len(state.updates) > _UPDATES_MOST:
        del state.updates[next(iter(state.updates))]


def text_of(wait: Wait) -> str:
    """What is waited for, for people.

    >>> text_of(Wait("step", "charge", 3)), text_of(Wait("timer", number=4, at_ms=1_700_000_000_000))
    ('step charge', 'until 2023-11-14T22:13:20.000Z')
    """
    if wait.kind == "timer":
        return f"until {format_time(wait.at_ms)}"
    kind = "signal" if wait.kind == "signalled" else wait.kind
    return " ".join(part for part in (kind, wait.name, wait.to) if part)


def texts_of(instance: Instance) -> list[str]:
    """What an instance waits for, for people: the first of it, where it is much."""
    waits = instance.first_waits(_WAITS_MOST + 1)
    told = [text_of(wait) for wait in waits[:_WAITS_MOST]]
    return told if len(waits) <= _WAITS_MOST else [*told, "and more"]


def calls_of(state: FunctionState, numbers: Iterable[int]) -> list[Called]:
    """The calls of some numbers, as far as there are such, the last one made first.

    The history is read once, from its end: what is cancelled was mostly made lately.
    """
    wanted, found = set(numbers), []
    for data in reversed(state.history) if wanted else ():
        entry = decode(data)
        if isinstance(entry, Called) and entry.number in wanted:
            found.append(entry)
            wanted.remove(entry.number)
            if not wanted:
                break
    return found


def left_open(history: Iterable[bytes]) -> list[Called]:
    """What is taken back when a run is ended without its code: calls that are not answered, and children to be closed.

    >>> from headway.functions.history import encode
    >>> made = [Called(1, "step", "a"), Called(2, "step", "b"), Answered(5, 1), Called(3, "start", "c")]
    >>> [called.name for called in left_open(map(encode, made))]
    ['b']
    """
    found: dict[int, Called] = {}
    for entry in map(decode, history):
        if isinstance(entry, Called) and entry.kind != "signal":
            found[entry.number] = entry
        elif isinstance(entry, (Answered, Failed)):
            # One that was only started lives on behind its answer.
            called = found.get(entry.call)
            if called is not None and called.kind != "start":
                del found[entry.call]
        elif isinstance(entry, CallCancelled):
            found.pop(entry.number, None)
    return [
        called
        for called in found.values()
        if called.kind not in ("function", "start") or called.parent_close != "abandon"
    ]


def show(state: FunctionState, instance: Instance) -> None:
    """Have the row of an instance say for others where it stands."""
    state.waits = texts_of(instance)
    state.variables = _json(instance.state).decode() if instance.state else ""
    search = instance.search
    state.search = _json(search).decode() if search else ""
