"""Logs: fields of a state that only grow, whose entries are stored each by itself beside the row of the key.

A list in a state is part of one value, which is written anew with each change: n appends cost n² bytes. Of a log the
row holds how long it is and nothing else. An entry is written once; what nobody reads is not read.

This module knows nothing of storage: a log that is *bound* asks its `Place` for entries that are stored. What is
appended is encoded there and then, so that an entry is what it was when it was appended, whoever changes the object
afterwards, and what is wrong with it is said by the line that appends it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, Optional, Protocol, TypeVar, overload

__all__ = ["BATCH", "InMemory", "Log", "LogMark", "Place", "bound", "entries_in"]

T = TypeVar("T")

BATCH: Final = 256
"""Entries that are read at a time where all are gone through."""
_FIRST_BATCH: Final = 8


class Place(Protocol):
    """Where the entries of one log of one key are stored, and how."""

    @property
    def number(self) -> int:
        """Under which the entries of this log are stored, of all keys."""

    def encode(self, value: Any) -> bytes:
        """An entry as it is stored. Raises `TypeError` for a value that is not of the declared type."""

    def decode(self, data: bytes) -> Any:
        """The entry that is stored as `data`."""

    def read(self, start: int, stop: int) -> list[bytes]:
        """Entries as they are stored, of numbers that are there."""


class Log(Generic[T]):
    """A field of a state that is only appended to: `items: hw.Log[Item] = hw.Log()`, of values of any storable type.

    Entries are stored each by itself, beside the row of the key and under the same promises: they belong to the epoch,
    move with their key, and are forgotten with it. To append costs some 2 µs and one stored entry, however long the log
    is; what an epoch appends lies in memory until its end. A state whose log nobody reads costs its row. Reading one
    entry takes a read of RocksDB, some 10 µs; going through all reads them in batches, 1.5 µs each. What was appended
    is there at once.

    A log has a number of entries and their order, and may be cleared; no entry is ever changed or taken out. It belongs
    to its field: put nothing else there. `hw.Log()` is the empty log that a state begins with; `hw.Log(entries)`, for
    `migrate` and for comparing, cannot be appended to.

    Values that are read are new objects: to change one changes nothing that is stored.

    >>> log = Log(["a", "b", "c"])
    >>> len(log), log[-1], log[:2], log.read(1), list(log)
    (3, 'c', ['a', 'b'], ['b', 'c'], ['a', 'b', 'c'])
    """

    __slots__ = ("_clearings", "_kept", "_place", "_stored", "_tail")

    def __init__(self, entries: Iterable[T] = ()) -> None:
        self._place: Optional[Place] = None
        self._stored = 0
        """How many entries the last commit has left."""
        self._kept = 0
        """How many of these are still part of the log: all, or none once it was cleared."""
        self._tail: list[Any] = list(entries)
        """What has come since: encoded entries, or values where there is no place."""
        self._clearings = 0

    def append(self, value: T) -> None:
        """Put one entry at the end. Raises `TypeError` for a value that is not of the declared type."""
        self._tail.append(self._bound().encode(value))

    def extend(self, values: Iterable[T]) -> None:
        """Put entries at the end, all or none. Raises as `append` does."""
        self._tail.extend(list(map(self._bound().encode, values)))

    def clear(self) -> None:
        """Remove all entries, some 2 µs for each at the end of the epoch."""
        self._bound()
        self._kept, self._tail = 0, []
        self._clearings += 1

    def read(self, start: int = 0, stop: Optional[int] = None) -> list[T]:
        """The entries from `start` up to `stop`, which count as in a slice."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return self._read(start, max(start, stop))

    def __len__(self) -> int:
        return self._kept + len(self._tail)

    def __iter__(self) -> Iterator[T]:
        clearings, count = self._clearings, len(self)
        for start in range(0, count, BATCH):
            if self._clearings != clearings:
                msg = "the log was cleared while its entries were gone through: clear it afterwards"
                raise RuntimeError(msg)
            yield from self._read(start, min(start + BATCH, count))

    def __reversed__(self) -> Iterator[T]:
        stop, count = len(self), _FIRST_BATCH  # What is looked for from the end is mostly near it.
        while stop > 0:
            start = max(0, stop - count)
            yield from reversed(self._read(start, stop))
            stop, count = start, min(2 * count, BATCH)

    @overload
    def __getitem__(self, index: int, /) -> T: ...

    @overload
    def __getitem__(self, index: slice, /) -> list[T]: ...

    def __getitem__(self, index: Any, /) -> Any:
        count = len(self)
        if isinstance(index, slice):
            numbers = range(*index.indices(count))
            if not numbers:
                return []
            low = min(numbers[0], numbers[-1])
            found = self._read(low, max(numbers[0], numbers[-1]) + 1)
            return [found[number - low] for number in numbers]
        number = index + count if index < 0 else index
        if not 0 <= number < count:
            msg = f"entry {index} of a log of {count}"
            raise IndexError(msg)
        return self._read(number, number + 1)[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Log, list)):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> Log[T]:
        made: Log[T] = Log()
        made._place, made._stored, made._kept = self._place, self._stored, self._kept
        made._clearings = self._clearings
        made._tail = list(self._tail) if self._place is not None else copy.deepcopy(self._tail, memo)
        return made

    def __repr__(self) -> str:
        return f"<Log of {len(self)}>"

    def _bound(self) -> Place:
        if self._place is None:
            msg = (
                "this log is of no key: a log is appended to in handlers, as a field of the state that they are given "
                "(in tests with headway.testing.FlowTest)"
            )
            raise TypeError(msg)
        return self._place

    def _read(self, start: int, stop: int) -> list[Any]:
        """Entries of numbers that are there."""
        place, kept = self._place, self._kept
        tail = self._tail[max(0, start - kept) : max(0, stop - kept)]
        if place is None:
            return tail
        found = place.read(start, min(stop, kept)) if start < kept else []
        return list(map(place.decode, [*found, *tail]))


class LogMark(NamedTuple):
    """What a log was, so that it can be made that again."""

    kept: int
    tail: list[Any]
    length: int
    """Of the tail, which may have grown since."""

    @classmethod
    def of(cls, log: Log[Any]) -> LogMark:
        """As it is now."""
        return cls(log._kept, log._tail, len(log._tail))

    def restore(self, log: Log[Any]) -> None:
        """Make it what it was."""
        log._kept, log._tail = self.kept, self.tail
        del self.tail[self.length :]


class InMemory:
    """The place of a log that lies nowhere else than in memory: for a state that is not stored."""

    number = 1

    def __init__(self, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> None:
        self.encode = encode
        self.decode = decode

    def read(self, start: int, stop: int) -> list[bytes]:
        """Nothing is stored."""
        return []


def entries_in(log: Log[Any]) -> list[bytes]:
    """The entries of a log that lies in memory, encoded."""
    return list(log._tail)


def bound(place: Place, stored: int, *, kept: Optional[int] = None, tail: Sequence[bytes] = ()) -> Log[Any]:
    """The log of a place where `stored` entries lie, of which it has all or none, and more that are not stored."""
    log: Log[Any] = Log(tail)
    log._place, log._stored = place, stored
    log._kept = stored if kept is None else kept
    return log
