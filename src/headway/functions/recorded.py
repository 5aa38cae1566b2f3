"""Recorded histories, and whether the code of today would do the same.

A history that a run has written is the best test of a change of the code: whatever was under way goes on only where the
new code does what the old one did. A `Recorded` is such a history with the name of its run. As a line of JSON it can be
kept beside the tests, and be compared on a machine that knows nothing of the state directory it came from.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final, Optional, Union, cast

import msgspec

from headway.errors import CorruptStateError, FunctionBlocked, UsageError
from headway.functions.declared import Callee, DurableFunction
from headway.functions.history import HAPPENINGS, Entry, Happening, Identity, Started, decode, encode
from headway.functions.instance import Instance
from headway.functions.status import Status

__all__ = ["Recorded", "difference", "entries_of", "replayed", "rounds_of"]


class _Line(msgspec.Struct, omit_defaults=True):
    """How a recorded history stands in a file."""

    function: str
    id: str
    run: int
    entries: list[str]
    held: list[str] = []


_decoder: Final[msgspec.json.Decoder[_Line]] = msgspec.json.Decoder(_Line)


class Recorded(msgspec.Struct, frozen=True):
    """The history of one run.

    `held` is what happened to it while it was blocked, which its code has not been told yet.

    >>> recorded = Recorded(Identity("remind", "o-17"), (Started(0, b"[7]"),))
    >>> recorded.to_line()
    '{"function":"remind","id":"o-17","run":0,"entries":["AZkBAMQDWzddwMCAAZCg"]}'
    >>> Recorded.from_line(recorded.to_line()) == recorded
    True
    """

    identity: Identity
    entries: tuple[Entry, ...]
    held: tuple[Happening, ...] = ()

    def to_line(self) -> str:
        """As one line of JSON, without its end."""
        who = self.identity
        line = _Line(who.name, who.id, who.run, [*map(_text, self.entries)], [*map(_text, self.held)])
        return msgspec.json.encode(line).decode()

    @classmethod
    def from_line(cls, line: Union[str, bytes]) -> Recorded:
        """What `to_line` has written. Raises `CorruptStateError` for anything else."""
        try:
            read = _decoder.decode(line)
            entries = tuple(decode(base64.b64decode(entry, validate=True)) for entry in read.entries)
            held = tuple(decode(base64.b64decode(entry, validate=True)) for entry in read.held)
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            msg = f"{line[:80]!r} is no recorded history: {error}: one is written by headway functions replay-check"
            raise CorruptStateError(msg) from None
        return cls(Identity(read.function, read.id, read.run), entries, cast("tuple[Happening, ...]", held))


def entries_of(history: Iterable[Union[Entry, bytes]]) -> list[Entry]:
    """Entries, from such as they are stored or as they are."""
    return [decode(entry) if isinstance(entry, bytes) else entry for entry in history]


def replayed(recorded: Recorded, callees: Mapping[str, Callee]) -> Instance:
    """An instance that was made from a recorded history; the caller closes it.

    Raises `ReplayMismatch` where the code does something else than is recorded, and `FunctionBlocked` where it cannot
    go on at all. The code is also told of what was held. Nothing that it asks for then is done.
    """
    name = recorded.identity.name
    function = callees.get(name)
    if not isinstance(function, DurableFunction):
        known = ", ".join(sorted(one for one, callee in callees.items() if isinstance(callee, DurableFunction)))
        msg = f"there is no function {name!r} any more: there are {known or 'none'}"
        raise FunctionBlocked(msg)
    if not recorded.entries or not isinstance(recorded.entries[0], Started):
        msg = f"the history of {recorded.identity} does not begin with its start: give the whole history of one run"
        raise UsageError(msg)
    instance = Instance(function, recorded.identity, callees=callees)
    instance.restore(recorded.entries)
    for happening in recorded.held:
        if instance.status is Status.RUNNING:
            instance.take(happening)
    return instance


def difference(recorded: Recorded, callees: Mapping[str, Callee]) -> Optional[FunctionBlocked]:
    """Why a run could not go on with the code of today; None if it could."""
    try:
        replayed(recorded, callees).close()
    except FunctionBlocked as blocked:
        return blocked
    return None


def rounds_of(entries: Iterable[Entry]) -> list[list[Any]]:
    """Entries in rounds: a happening, and what the code did then."""
    rounds: list[list[Any]] = []
    for entry in entries:
        if isinstance(entry, HAPPENINGS):
            rounds.append([entry])
        else:
            rounds[-1].append(entry)
    return rounds


def _text(entry: Entry) -> str:
    return base64.b64encode(encode(entry)).decode()
