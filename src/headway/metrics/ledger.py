"""Counters that never go back, made of numbers that do.

A monitoring system takes a counter that has become less for one that began anew at 0, and adds all of it to what it
had seen. What a flow counts becomes less in two ways. Counts of the state directory's life (events read, late ones) go
back to the last durable epoch when a worker dies. Counts of a process (attempts, requests, seconds of work) begin with
0 in the next one. So what is exported is kept here:

* for a count of the directory's life, the most that was ever told: it stands still until the flow has done again what
  the crash took back. An event that was read twice counts once.
* for a count of processes, the sum of what each of them has added. A process that dies takes with it what it had
  counted since its last snapshot, half a second at most.

The ledger is a file in the run's directory, written before its numbers are told. So neither the next exporter nor the
next run goes back. What a run without an exporter counted is in the counts of the directory's life, and not in those
of processes. Memory and file: one entry for each counter and set of labels, which are bounded; and one more for each
process of the last hundred scrapes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from headway.errors import StateError
from headway.state.files import state_files
from headway.state.private import make_private, read_private, write_private

__all__ = ["Ledger"]

log = logging.getLogger("headway")

_NAME: Final = "ledger.json"
_END: Final = "\x1f"
_ABSENT_MOST: Final = 100
"""A snapshot may be missing for a while, as long as workers are started again."""


class _Stored(msgspec.Struct):
    totals: dict[str, float] = {}
    seen: dict[str, float] = {}


class Ledger:
    """The counters of one state directory.

    >>> ledger = Ledger()
    >>> [ledger.of_life("events", ["flow"], count) for count in (90, 80, 95)]
    [90, 90, 95]
    >>> ledger.of_process("attempts", ["flow"], "first", 5), ledger.of_process("attempts", ["flow"], "second", 2)
    (5, 7)
    """

    def __init__(self, totals: dict[str, float] | None = None, seen: dict[str, float] | None = None) -> None:
        self._totals = dict(totals or {})
        self._seen = dict(seen or {})
        self._touched: set[str] = set()
        self._absent: dict[str, int] = {}
        self._changed = False

    @classmethod
    def load(cls, directory: Path) -> Ledger:
        """As it was left; a new one where there is none, or it cannot be read."""
        try:
            stored = msgspec.json.decode(read_private(directory / _NAME), type=_Stored)
        except FileNotFoundError:
            return cls()
        except (OSError, StateError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read (%s): counters begin anew", directory / _NAME, error)
            return cls()
        return cls(stored.totals, stored.seen)

    def of_life(self, name: str, labels: Sequence[str], value: float) -> float:
        """What to tell of a count of the directory's life that is now at `value`."""
        key = _key(name, labels)
        before = self._totals.get(key, 0)
        if value > before:
            self._totals[key] = value
            self._changed = True
        return max(before, value)

    def of_process(self, name: str, labels: Sequence[str], process: str, value: float) -> float:
        """What to tell of a count that is at `value` in a process; call it for each process there is."""
        key = _key(name, labels)
        own = f"{key}{_END}{process}"
        self._touched.add(own)
        more = value - self._seen.get(own, 0)
        if more > 0:
            self._seen[own] = value
            self._totals[key] = self._totals.get(key, 0) + more
            self._changed = True
        return self._totals.get(key, 0)

    def forget(self) -> None:
        """A scrape is over: processes that many in a row knew nothing of are gone, and never come back."""
        self._absent = {own: self._absent.get(own, 0) + 1 for own in self._seen if own not in self._touched}
        for own in [own for own, scrapes in self._absent.items() if scrapes > _ABSENT_MOST]:
            del self._seen[own], self._absent[own]
        self._touched.clear()

    def store(self, directory: Path) -> None:
        """Write it, if anything has changed. Raises `StateError` when the disk refuses."""
        if self._changed:
            path = directory / _NAME
            with state_files(path, "write"):
                make_private(directory)
                write_private(path, msgspec.json.encode(_Stored(self._totals, self._seen)))
            self._changed = False


def _key(name: str, labels: Sequence[str]) -> str:
    return _END.join((name, *labels))
