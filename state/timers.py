"""The timers of one stage in time order: the near ones in memory, the others in RocksDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headway.errors import InternalError
from headway.state.database import TIMERS, VERSION_BYTE, Database
from headway.state.keys import ID_BYTES, TimerEntry, decode_timer, encode_timer, id_bytes
from headway.state.layered import LayeredMap
from headway.state.queue import EntryQueue, is_before
from headway.state.redo import END_ENTRY

__all__ = ["TimerEntry", "TimerIndex", "timer_name"]

_FIRST_LOAD: Final = 64
_LOADS_PER_WINDOW: Final = 8


def _layers(database: Database, prefixes: list[bytes]) -> LayeredMap:
    """The entries of several operators, each of which has a range of its own in RocksDB."""
    ranks = {prefix: rank for rank, prefix in enumerate(prefixes)}

    def encode(entry: TimerEntry) -> bytes:
        return prefixes[entry[2]] + encode_timer(entry)

    def decode(key: bytes) -> TimerEntry:
        return decode_timer(key, ID_BYTES, ranks[key[:ID_BYTES]])

    def first_in(floor: TimerEntry, rank: int) -> TimerEntry:
        return floor[0], floor[1], rank, ""

    return LayeredMap(database, TIMERS, prefixes, encode, decode, first_in)


class TimerIndex:
    """An ordered set of timer entries; `add`, `discard` and `pop_due` take O(log window).

    `near.first_ms > limit_ms` means that nothing is due by `limit_ms`; otherwise `pop_due` tells. To anyone else `near`
    says nothing: it holds removed entries too, and an end mark, the position from where on entries are in RocksDB and
    in the epochs' changes only. The window ends at a position, not at a time, so any number of timers may be due at
    the same instant.
    """

    def __init__(self, database: Database, ids: Sequence[int], window: int) -> None:
        """`ids` are the numbers of the stage's operators, by rank."""
        self._map = _layers(database, [id_bytes(number) for number in ids])
        self._window = window
        self._load_next = _FIRST_LOAD
        self._end: TimerEntry = END_ENTRY
        self.near = EntryQueue(self._end)
        # A dict, of which one step looks whether an entry is there and removes it: its hash is what costs.
        self._dead: dict[TimerEntry, bool] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: TimerEntry) -> None:
        """Add `entry`, which must not be in the index."""
        near = is_before(entry, self._end)
        self._map.put(entry, VERSION_BYTE, far=not near)
        self._count += 1
        if near and not (self._dead and self._dead.pop(entry, False)):
            self.near.push(entry)
            if len(self.near) > 2 * self._window + 1:
                self._shrink()

    def discard(self, entry: TimerEntry) -> None:
        """Remove `entry`, which must be in the index."""
        self._map.remove(entry)
        self._count -= 1
        if is_before(entry, self._end):
            self._dead[entry] = True
            if 2 * len(self._dead) > len(self.near) + self._window:
                self._sweep()

    def pop_due(self, limit_ms: int) -> TimerEntry | None:
        """Remove and return the earliest entry with `at_ms <= limit_ms`; None when there is none."""
        near, dead = self.near, self._dead
        while near.first_ms <= limit_ms:
            entry = near.first
            if entry is self._end:
                if entry[0] > limit_ms:  # Its time may be later than `first_ms` can say.
                    return None
                self._load()
                continue
            near.pop()
            if dead and dead.pop(entry, False):
                continue
            self._map.remove(entry)
            self._count -= 1
            return entry
        return None

    def restore(self, floor: TimerEntry, count: int) -> None:
        """Start over from the main column family, which holds `count` entries, none before `floor`."""
        self._map.commit()
        self._map.settle()
        self._dead.clear()
        self._count = count
        self._load_next = _FIRST_LOAD
        self._set_end(floor)
        self.near.replace([], self._end)

    @property
    def floor(self) -> TimerEntry:
        """A position that no entry is before."""
        return self.near.first

    @property
    def changed(self) -> bool:
        """Whether this epoch has changed anything."""
        return bool(self._map.changes)

    def delta(self) -> dict[bytes, bytes | None]:
        """What this epoch changed, by stored key."""
        return self._map.delta()

    def commit(self) -> None:
        """The pending delta has gone into RocksDB, the epoch's changes have become pending."""
        self._map.commit()

    def settle(self) -> None:
        """The pending delta has gone into RocksDB."""
        self._map.settle()

    def check_valid(self) -> None:
        """Raise `InternalError` unless the parts agree with each other; O(n log n), for tests."""
        self.near.check_valid()
        near = self.near.entries()
        living = [entry for entry in near if entry is not self._end and entry not in self._dead]
        far = [] if self._end == END_ENTRY else self._map.first(self._end, self._count + 1)
        faults = {
            "the end mark is missing": sum(entry is self._end for entry in near) != 1,
            "an entry is behind the end mark": any(entry >= self._end for entry in living),
            "an entry is there twice": len(set(living)) != len(living),
            "a dead entry is not near": not self._dead.keys() <= set(near),
            "the count is wrong": len(living) + len(far) != self._count,
            "too many are near": len(near) > 2 * self._window + 1,
        }
        for fault, found in faults.items():
            if found:
                raise InternalError(fault)

    def _load(self) -> None:
        """Bring the next entries behind the end mark, which is all that is near, into memory."""
        # More each time: little after a start, when a first result should be there soon.
        chunk = min(self._load_next, max(1, self._window // _LOADS_PER_WINDOW))
        self._load_next = 2 * chunk
        found = [position for position, _ in self._map.first(self._end, chunk + 1)]
        self._set_end(found.pop() if len(found) > chunk else END_ENTRY)
        self.near.replace(found, self._end)

    def _shrink(self) -> None:
        """Keep the earliest entries only: the others are found again in the layers below."""
        entries = self._living()
        if len(entries) > self._window:
            rest = entries[self._window :]
            del entries[self._window :]
            self._map.retreat(rest)
            self._set_end(rest[0])
        self.near.replace(entries, self._end)

    def _sweep(self) -> None:
        """Take the removed entries out of what is near."""
        self.near.replace(self._living(), self._end)

    def _living(self) -> list[TimerEntry]:
        """The near entries in order, without the end mark and those that were removed, which are forgotten."""
        dead = self._dead
        living = [entry for entry in self.near.entries() if entry is not self._end and entry not in dead]
        living.sort()
        dead.clear()
        return living

    def _set_end(self, position: TimerEntry) -> None:
        """Let the window end at `position`: a new object, because an end mark is told from an entry by identity."""
        at_ms, key, rank, name = position
        self._end = (at_ms, key, rank, name)


def timer_name(name: Any) -> str:
    """The name as it is stored: plain text."""
    if isinstance(name, str):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            msg = f"the timer {name!r} cannot be stored: its name has no encoding ({error.reason})"
            raise ValueError(msg) from None
        return str.__str__(name)  # Not `str(name)`: an enum's says its own.
    msg = f"timer {name!r}: the name of a timer is text"
    raise TypeError(msg)
