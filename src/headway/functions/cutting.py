"""Cutting a history back: what stays, what is given to the code once more, and what is under way then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from headway.errors import UsageError
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    Entry,
    Failed,
    Fired,
    Happening,
    Signalled,
    TimerCancelled,
    TimerSet,
)
from headway.functions.recorded import rounds_of

__all__ = ["Cut", "cut_before"]


class Cut(NamedTuple):
    """A history that ends before a call, and what goes on from there."""

    before: Called
    """The call that it ends before."""
    entries: list[Entry]
    """What stays; empty where the call was made at the very beginning."""
    happenings: list[Happening]
    """What the code is given then: what made it call, signals that came later, and answers to calls that stay."""
    calls: list[Called]
    """Calls that stay and have no answer."""
    timers: list[TimerSet]
    """Timers that are armed then."""

    def at(self, now_ms: int) -> list[Happening]:
        """The happenings as of now."""
        return [msgspec.structs.replace(one, at_ms=now_ms) for one in self.happenings]


def cut_before(entries: Sequence[Entry], to: str) -> Cut:
    """Where a history is cut to go on before a call, which is given by its number, or its name: the last one of it.

    Raises `UsageError` where there is no such call.

    >>> from headway.functions.history import Started
    >>> entries = [Started(0), Called(1, "step", "pack"), Answered(5, 1), Called(2, "step", "ship"), Answered(9, 2)]
    >>> cut = cut_before(entries, "ship")
    >>> [type(entry).__name__ for entry in cut.entries], [type(one).__name__ for one in cut.happenings]
    (['Started', 'Called'], ['Answered'])
    """
    rounds = rounds_of(entries)
    place, call = _place(rounds, to)
    kept = rounds[:place]
    calls = {one.number: one for one in _all(kept, Called)}
    timers = {one.number: one for one in _all(kept, TimerSet)}
    for entry in (entry for one in kept for entry in one):
        if isinstance(entry, (Answered, Failed)):
            calls.pop(entry.call, None)
        elif isinstance(entry, CallCancelled):
            calls.pop(entry.number, None)
        elif isinstance(entry, Fired):
            timers.pop(entry.timer, None)
        elif isinstance(entry, TimerCancelled):
            timers.pop(entry.number, None)
    again: list[Happening] = [rounds[place][0]]
    if isinstance(again[0], Fired):
        timers.pop(again[0].timer, None)
    for entry in [again[0], *(one[0] for one in rounds[place + 1 :])]:
        if isinstance(entry, (Answered, Failed)) and calls.pop(entry.call, None) is not None:
            again += [] if entry is again[0] else [entry]
        elif isinstance(entry, Signalled) and entry is not again[0]:
            again.append(entry)
    kept_entries = [entry for one in kept for entry in one]
    return Cut(call, kept_entries, again, list(calls.values()), list(timers.values()))


def _place(rounds: Sequence[Sequence[Any]], to: str) -> tuple[int, Called]:
    found = [(place, entry) for place, one in enumerate(rounds) for entry in one if isinstance(entry, Called)]
    if to.isdecimal():
        chosen = [(place, call) for place, call in found if call.number == int(to)]
    else:
        chosen = [(place, call) for place, call in found if call.name == to]
    if not chosen:
        known = ", ".join(f"{call.number} {call.name}" for _, call in found[-20:]) or "none"
        msg = f"its run has no call {to!r}: give the number or the name of one, it has {known}"
        raise UsageError(msg)
    return chosen[-1]


def _all(rounds: Sequence[Sequence[Any]], kind: Any) -> list[Any]:
    return [entry for one in rounds for entry in one if isinstance(entry, kind)]
