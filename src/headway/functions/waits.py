"""What a run waits for, told to people."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Optional

import msgspec

from headway.functions.journal import user_line

if TYPE_CHECKING:
    from headway.functions.core import Core

__all__ = ["Wait", "waits_of", "where"]


class Wait(msgspec.Struct, frozen=True):
    """One thing that a function waits for.

    `number` is that of the call or the timer, 0 for others. `name` is what is called or signalled, `to` whom a call
    names, `at_ms` when a timer is due, 0 for others.
    """

    kind: Literal["step", "function", "start", "signal", "query", "token", "timer", "signalled", "condition"]
    name: str = ""
    number: int = 0
    to: str = ""
    at_ms: int = 0


def waits_of(core: Core, most: Optional[int] = None) -> list[Wait]:
    """All that a run waits for now, or the first of it, calls and timers in the order of their numbers.

    With `most` it takes no longer when there is more.
    """
    calls, timers = islice(core.calls.items(), most), islice(core.timers.items(), most)
    found = [Wait(call.called.kind, call.called.name, number, call.called.to) for number, call in calls]
    found += [Wait("timer", number=number, at_ms=at_ms) for number, (at_ms, _) in timers]
    found.sort(key=lambda wait: wait.number)
    if most is not None and len(found) >= most:
        return found[:most]
    for name in sorted(core.waiting):
        found += [Wait("signalled", name) for wait in core.waiting[name] if not wait.done()]
    found += [Wait("condition") for wait in core.conditions if not wait.done()]
    return found[:most]


def where(coroutine: Any) -> str:
    """The innermost line of the user's code at which a coroutine waits."""
    line = ""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            line = user_line(_alone(frame)) or line
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return line


class _alone:  # noqa: N801 - a frame by itself
    """A frame without those around it: of a coroutine that waits, only its own line is of interest."""

    def __init__(self, frame: Any) -> None:
        self.f_globals = frame.f_globals
        self.f_code = frame.f_code
        self.f_lineno = frame.f_lineno
        self.f_back = None
