"""The logs of an operator's rows: where their entries are stored, and how they follow the row of their key.

Each log of an operator's state has a number of its own, beside that of the operator; entries lie among the rows, under
that number, the key and their place in the log. So they are part of the same delta as the row: committed, discarded and
promoted with it, and found by readers at the same epoch. The row says how many there are, and under which number: of a
log that the state has lost and has again, under another number, an old row holds nothing.

What an epoch appends lies in memory until its end, as what it changes in rows does. What the last epoch has appended is
found in its delta, and all before it in RocksDB. An epoch appends at the end, or behind a clearing at the beginning; so
of the entries that a log has kept the last ones are in the delta, and none before them.

**Rejected.** *A column family of their own*: deltas, feeds and snapshots would all have two of everything. *Chunks of
many entries in one value*: each append reads and writes a chunk, and undoing has to cut one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple, Optional, Protocol

import msgspec

from headway.errors import CorruptStateError, IncompatibleStateError
from headway.state.database import ROWS, VERSION_BYTE, Database
from headway.state.keys import ID_BYTES, escape, id_bytes, unescape
from headway.state.manifest import OperatorEntry
from headway.types.logs import Log, LogMark, bound
from headway.types.logtypes import EntryCodec, LogField, Reference, log_fields, reference_of
from headway.types.values import shape_of

__all__ = [
    "Entries",
    "LogTable",
    "RowLogs",
    "ScanEntries",
    "TableScan",
    "Undone",
    "key_of_entry",
    "opened",
    "references_in",
    "stored_entries",
    "summary",
]

_SEQUENCE: Final = Struct(">Q")

ScanEntries = Callable[[bytes, bytes], Iterable[tuple[bytes, bytes]]]
"""Gives pairs of stored key and stored value in a range, in order."""


class HasPending(Protocol):
    """What has a delta that is not final yet."""

    @property
    def pending(self) -> Mapping[bytes, Optional[bytes]]:
        """By stored key; None for what is removed."""


def stored_entries(number: int, key: str, entries: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What is stored of all entries of one log of one key, which are given as they are encoded."""
    prefix = id_bytes(number) + escape(key)
    for place, entry in enumerate(entries):
        yield prefix + _SEQUENCE.pack(place), VERSION_BYTE + entry


def key_of_entry(stored_key: bytes) -> str:
    """The key that a stored entry belongs to; raises `ValueError` for what is none.

    >>> key_of_entry(id_bytes(7) + escape("ann") + bytes(8))
    'ann'
    """
    return unescape(stored_key, ID_BYTES)[0]


class LogKind:
    """One log of an operator's state: what the logs of all keys have in common."""

    __slots__ = ("codec", "database", "number", "prefix", "scan")

    def __init__(self, database: Database, number: int, codec: EntryCodec, scan: ScanEntries) -> None:
        self.database = database
        self.number = number
        self.codec = codec
        self.scan = scan
        self.prefix = id_bytes(number)


class Entries:
    """The stored entries of one log of one key. It is what a bound `Log` reads; small, because each row has some.

    Raises `CorruptStateError` for entries that are not there or cannot be read, `IncompatibleStateError` for those that
    are not of the declared type.
    """

    __slots__ = ("_key", "_kind")

    def __init__(self, kind: LogKind, key: str) -> None:
        self._kind = kind
        self._key = key

    @property
    def number(self) -> int:
        """See `headway.types.logs.Place`."""
        return self._kind.number

    @property
    def prefix(self) -> bytes:
        """What the keys of all entries begin with; their number in the log is behind it."""
        return self._kind.prefix + escape(self._key)

    def encode(self, value: Any) -> bytes:
        """See `headway.types.logs.Place`."""
        return self._kind.codec.encode(value)

    def decode(self, data: bytes) -> Any:
        """See `headway.types.logs.Place`."""
        kind = self._kind
        try:
            return kind.codec.decode(data)
        except msgspec.ValidationError as error:
            msg = (
                f"key {self._key!r} in {kind.database.directory}: a stored entry of a log is not of the declared type "
                f"({error}); run the version of the flow that wrote it, or give the state a higher state_version and a "
                "migrate that makes new entries of the old ones"
            )
            raise IncompatibleStateError(msg) from error
        except msgspec.DecodeError as error:
            why = f"not an entry of a log ({error})"
            raise self._corrupt(why) from error

    def read(self, start: int, stop: int) -> list[bytes]:
        """See `headway.types.logs.Place`."""
        prefix, database = self.prefix, self._kind.database
        found = list(self._kind.scan(prefix + _SEQUENCE.pack(start), prefix + _SEQUENCE.pack(stop)))
        if len(found) != stop - start:
            why = f"of the entries {start} to {stop - 1} of a log {len(found)} are there"
            raise self._corrupt(why)
        unwrap = database.unwrap
        return [unwrap(ROWS, key, value) for key, value in found]

    def _corrupt(self, why: str) -> CorruptStateError:
        return self._kind.database.corrupt(ROWS, self.prefix, why)


class RowLogs:
    """The logs of one row, in the order of the fields, and what is still to be removed of logs that it had."""

    __slots__ = ("left", "logs")

    def __init__(self, logs: tuple[Log[Any], ...], left: Sequence[Reference]) -> None:
        self.logs = logs
        self.left = left


class Undone(NamedTuple):
    """What the logs of a row were."""

    held: RowLogs
    marks: list[LogMark]


class LogTable:
    """The logs of all rows of one operator.

    `numbers` are those of its logs, by the names under which the fields are stored; `former` those of logs that states
    of older versions may have. `scan` reads what is stored.
    """

    def __init__(
        self,
        name: str,
        state_type: Any,
        numbers: Mapping[str, int],
        former: Collection[int],
        database: Database,
        scan: ScanEntries,
    ) -> None:
        self._database = database
        self._scan = scan
        self._known = frozenset(former) | frozenset(numbers.values())
        self._fields: list[tuple[LogField, LogKind]] = []
        for field in log_fields(state_type):
            shape = shape_of(field.entry_type, f"the entries of {name}.{field.name}")
            kind = LogKind(database, numbers[field.key], EntryCodec(field.entry_type, shape), scan)
            self._fields.append((field, kind))

    @property
    def row_bytes(self) -> int:
        """What the logs of a row take in memory while nothing is appended, some."""
        return 80 + 250 * len(self._fields)

    @classmethod
    def of(
        cls,
        name: str,
        state_type: Any,
        numbers: Mapping[str, int],
        former: Collection[int],
        database: Database,
        scan: ScanEntries,
    ) -> Optional[LogTable]:
        """None where no state has or ever had a log."""
        has_logs = former or log_fields(state_type)
        return cls(name, state_type, numbers, former, database, scan) if has_logs else None

    def bind(self, key: str, state: Any, before: Sequence[Reference] = ()) -> RowLogs:
        """Make the logs of a state that is new or has just been read those of its key.

        `before` is what is stored for a state that was migrated. Raises `msgspec.ValidationError` for entries that are
        not of the declared type.
        """
        logs = []
        stored = {reference.number: reference.length for reference in before if reference.number in self._known}
        left = dict(stored)
        for field, kind in self._fields:
            held = getattr(state, field.name)
            reference = reference_of(held)
            place, number = Entries(kind, key), kind.number
            if reference is not None and reference.number == number:
                log = bound(place, reference.length)
            elif reference is None or reference.number in stored:
                entries = held if reference is None else self._entries(reference.number, key, reference.length)
                log = bound(place, stored.get(number, 0), kept=0, tail=list(map(kind.codec.converted, entries)))
            else:
                log = bound(place, stored.get(number, 0), kept=0)
            left.pop(number, None)
            logs.append(log)
            setattr(state, field.name, log)
        return RowLogs(tuple(logs), [Reference(*one) for one in left.items()])

    def given(self, key: str, old: Any) -> Any:
        """The builtins of a stored state, for `migrate`: with logs that can be read in the place of references."""
        if not isinstance(old, dict):
            return old
        found = {name: reference_of(value) for name, value in old.items() if isinstance(value, msgspec.msgpack.Ext)}
        logs = {name: self._entries(one.number, key, one.length) for name, one in found.items() if one is not None}
        return {**old, **logs}

    def _entries(self, number: int, key: str, length: int) -> Log[Any]:
        """Entries of whatever type they are. There are none under a number that is gone."""
        place = Entries(LogKind(self._database, number, EntryCodec.of_any(), self._scan), key)
        return bound(place, length if number in self._known else 0)

    def renew(self, key: str, state: Any, held: RowLogs) -> RowLogs:
        """The logs of a key that starts anew: empty ones, which know what is stored of those before."""
        logs = []
        for (field, kind), before in zip(self._fields, held.logs):
            log = bound(Entries(kind, key), before._stored, kept=0)
            logs.append(log)
            setattr(state, field.name, log)
        return RowLogs(tuple(logs), held.left)

    def check(self, state: Any, held: RowLogs) -> None:
        """Raise `TypeError` where something else was put into the place of a log."""
        for (field, _), log in zip(self._fields, held.logs):
            found = getattr(state, field.name)
            if found is not log:
                msg = (
                    f"state.{field.name} is {found!r:.100}, expected the log that was there: a log belongs to its "
                    "field, and is changed with append, extend and clear"
                )
                raise TypeError(msg)

    def collect(self, key: str, state: Any, held: RowLogs, into: dict[bytes, Optional[bytes]]) -> None:
        """Put what this epoch has changed in the logs of a row into `into`; it counts as stored from here on."""
        self.check(state, held)
        for log in held.logs:
            stored, kept, tail = log._stored, log._kept, log._tail
            count = kept + len(tail)
            if stored == count == kept:
                continue
            place = log._place
            assert isinstance(place, Entries)
            prefix = place.prefix
            for number, entry in enumerate(tail, kept):
                into[prefix + _SEQUENCE.pack(number)] = VERSION_BYTE + entry
            for number in range(count, stored):
                into[prefix + _SEQUENCE.pack(number)] = None
            log._stored = log._kept = count
            log._tail = []
        for reference in held.left:
            prefix = id_bytes(reference.number) + escape(key)
            for number in range(reference.length):
                into[prefix + _SEQUENCE.pack(number)] = None
        held.left = []

    def keep(self, held: RowLogs) -> Undone:
        """What `undo` needs to make the logs of a row what they are now."""
        return Undone(held, [LogMark.of(log) for log in held.logs])

    def undo(self, state: Any, before: Undone) -> RowLogs:
        """Make the logs of a row what they were, and those of `state`."""
        for (field, _), log, mark in zip(self._fields, before.held.logs, before.marks):
            mark.restore(log)
            setattr(state, field.name, log)
        return before.held


class TableScan:
    """Reads entries of the rows of a table: the last epoch's from its delta, all others from RocksDB."""

    def __init__(self, database: Database, table: HasPending) -> None:
        self._database = database
        self._table = table
        self._get = database.family(ROWS).get

    def __call__(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries in a range of one log: those that the last epoch has changed come last."""
        pending = self._table.pending
        prefix, first, stop = start[: -_SEQUENCE.size], _sequence(start), _sequence(end)
        late: list[tuple[bytes, bytes]] = []
        while pending and stop > first:
            key = prefix + _SEQUENCE.pack(stop - 1)
            value = pending.get(key)
            if value is None:
                break
            late.append((key, value))
            stop -= 1
        if stop == first + 1:
            yield from self._one(start)
        elif stop > first:
            yield from self._database.scan(ROWS, start, prefix + _SEQUENCE.pack(stop))
        yield from reversed(late)

    def _one(self, stored_key: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            value: Optional[bytes] = self._get(stored_key)
        except Exception as error:  # rocksdict raises nothing more specific
            raise self._database.refusal(error, "read") from error
        if value is not None:
            yield stored_key, value


def _sequence(stored_key: bytes) -> int:
    found: int = _SEQUENCE.unpack(stored_key[-_SEQUENCE.size :])[0]
    return found


def references_in(state: Any) -> list[Reference]:
    """The logs that a stored state has, which is given as builtins."""
    values = state.values() if isinstance(state, dict) else ()
    found = [reference_of(value) for value in values if isinstance(value, msgspec.msgpack.Ext)]
    return [reference for reference in found if reference is not None]


def opened(database: Database, key: str, state: Any, kept: OperatorEntry, scan: ScanEntries) -> Any:
    """A stored state, given as builtins, with logs that can be read in the place of what the row holds of them."""
    if not isinstance(state, dict):
        return state
    found = {name for name, value in state.items() if isinstance(value, msgspec.msgpack.Ext)}
    found |= {name for name in kept.logs if name in state and state[name] is None}
    in_use = set(kept.log_numbers)
    logs = {}
    for name in found:
        reference = reference_of(state[name]) or Reference(0, 0)
        place = Entries(LogKind(database, reference.number, EntryCodec.of_any(), scan), key)
        logs[name] = bound(place, reference.length if reference.number in in_use else 0)
    return {**state, **logs}


def summary(log: Log[Any], most: int) -> dict[str, Any]:
    """A log for people and other services: how long it is, and its last entries.

    >>> summary(Log("abc"), 2)
    {'length': 3, 'last': ['b', 'c']}
    """
    count = len(log)
    return {"length": count, "last": log.read(max(0, count - most), count)}
