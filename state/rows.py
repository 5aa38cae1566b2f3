"""The rows of one operator in one key group: the state and the timers of each workflow instance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from headway.basics.times import LAST_TIMER_MS, other_unit
from headway.errors import FlowError, InternalError, UserCodeError
from headway.state.budget import RowBudget
from headway.state.database import ROWS, Database
from headway.state.keys import successor
from headway.state.logs import LogTable, TableScan
from headway.state.rowvalues import HEAD_BYTES, INTEGER_BYTES, Migrate, RowValues, Timers, shorten, timers_of
from headway.state.timers import TimerEntry, TimerIndex, timer_name
from headway.types.logtypes import encode_log
from headway.types.misfits import misfit_of
from headway.types.typekinds import can_repeat, floats_of
from headway.types.values import shape_of

__all__ = ["Row", "RowTable"]

_NO_TIMERS: Final = b"\xc0\xc0"
_NOT_PENDING: Final = b""


class Row:
    """One workflow instance of one operator.

    `state` and `touched_ms` are the caller's to change, who then marks the row. A timer has two times: when it is due,
    and where the index has it, which may be earlier: a timer that is put off again and again leaves the index alone.
    Most rows have one timer at most, so the first has its place in the row itself: it is named `timer`, due at
    `due_ms`, indexed at `at_ms`; `others` has both times of the others. Timers belong to the table's `set_timer` and
    `cancel_timer`; who only puts one off may call `put_off`. `stored` says whether the last commit left something under
    the key, and `value` what that was, where it is known, to tell whether anything has changed. `logs` are those of the
    state, None where it has none.
    """

    __slots__ = ("at_ms", "dirty", "due_ms", "key", "logs", "others", "state", "stored", "timer", "touched_ms", "value")

    def __init__(self, key: str, state: Any, touched_ms: int, stored: bool) -> None:
        self.key = key
        self.state = state
        self.touched_ms = touched_ms
        self.stored = stored
        self.dirty = False
        self.value: bytes | None = None
        self.logs: Any = None
        self.timer: str | None = None
        self.due_ms = 0
        self.at_ms = 0
        self.others: dict[str, tuple[int, int]] | None = None

    @property
    def timers(self) -> Timers:
        """When each timer is due."""
        found = {} if self.timer is None else {self.timer: self.due_ms}
        if self.others is not None:
            found.update({name: due_ms for name, (due_ms, _) in self.others.items()})
        return found or None

    @property
    def indexed(self) -> Timers:
        """Where the index still has an earlier time for a timer."""
        found = {} if self.timer is None or self.at_ms == self.due_ms else {self.timer: self.at_ms}
        if self.others is not None:
            found.update({name: at_ms for name, (due_ms, at_ms) in self.others.items() if at_ms != due_ms})
        return found or None

    def find_timer(self, name: str) -> tuple[int, int] | None:
        """When a timer is due, and where the index has it; None when it is not armed."""
        if self.timer == name:
            return self.due_ms, self.at_ms
        return None if self.others is None else self.others.get(name)

    def put_timer(self, name: str, due_ms: int, at_ms: int) -> None:
        """Arm a timer, or change its times."""
        if self.timer == name or (self.timer is None and name not in (self.others or ())):
            self.timer, self.due_ms, self.at_ms = name, due_ms, at_ms
            return
        if self.others is None:
            self.others = {}
        self.others[name] = due_ms, at_ms

    def put_off(self, name: str, due_ms: int) -> bool:
        """Move a timer to a later time; False when it is not armed, or due later than that."""
        if self.timer == name:
            if self.due_ms > due_ms:
                return False
            self.due_ms = due_ms
            return True
        times = (self.others or {}).get(name)
        if times is None or times[0] > due_ms:
            return False
        self.put_timer(name, due_ms, times[1])
        return True

    def drop_timer(self, name: str) -> None:
        """Disarm a timer; raises `InternalError` when it is not armed."""
        if self.timer == name:
            self.timer = None
        elif self.others is not None and name in self.others:
            del self.others[name]
            if not self.others:
                self.others = None
        else:
            msg = f"{self!r} has no timer {name!r}; please report this"
            raise InternalError(msg)

    def __repr__(self) -> str:
        return f"Row({self.key!r}, {self.state!r}, timers={self.timers!r}, touched_ms={self.touched_ms})"


class RowTable:
    """The rows of one operator, decoded when needed, cached within a budget.

    `row = table.young.get(key) or table.fetch(key)` finds a row; `if not row.dirty: table.mark(row)` says that it
    may have changed. `shrink_cache` and `commit` may put another dict in the place of `young`: take it anew each time.

    There is one `Row` object per key: `young` and `_old` are the cache, `_dirty` is what this epoch touched; what the
    last epoch changed is found as bytes in its delta, `pending`, everything else in RocksDB, unless `has_stored` says
    that nothing is there yet.

    The cache evicts as CLOCK does. Its order is that of two dicts: a row that is fetched moves from `_old` to `young`,
    and rows are evicted from the end of `_old`. Once the budget is full and `young` holds half of it, the rows of
    `young` go into `_old`, in reverse order, before those that are left there. So no row is evicted while all fit, and
    a row stays that is used again before half a budget of others is fetched.
    """

    def __init__(
        self,
        name: str,
        rank: int,
        state_type: type[Any],
        database: Database,
        prefix: bytes,
        timers: TimerIndex,
        *,
        may_share: bool = False,
        version: int = 1,
        migrate: Migrate | None = None,
        logs: Mapping[str, int] | None = None,
        former_logs: Collection[int] = (),
    ) -> None:
        self.name = name
        self.rank = rank
        self.young: dict[str, Row] = {}
        self.pending: dict[bytes, bytes | None] = {}
        self.has_stored = True
        self._old: dict[str, Row] = {}
        self._dirty: dict[str, Row] = {}
        self._new_state = state_type
        self._database = database
        self._stored = database.family(ROWS).get
        self._prefix = prefix
        self._timers = timers
        try:
            self.logs = LogTable.of(name, state_type, logs or {}, former_logs, database, TableScan(database, self))
            self._encode = msgspec.msgpack.Encoder(enc_hook=None if self.logs is None else encode_log).encode
            self._values = RowValues(name, state_type, version, migrate, database, prefix, self.logs)
            fresh = state_type()
            if self.logs is not None:
                self.logs.bind("", fresh)
            self._fresh = self._encode(fresh)
        except TypeError as error:
            msg = (
                f"operator {name!r}: {state_type.__name__} cannot be a state ({error}): "
                "expected a msgspec struct whose fields all have defaults, or dict"
            )
            raise FlowError(msg) from error
        self._head = self._values.head
        self._shape = shape_of(state_type, f"the state of the operator {name!r}", has_logs=True)
        self._sees_repeats = not may_share and can_repeat(state_type)
        floats = floats_of(state_type)
        self.settle = None if floats is None else floats.settle
        self.budget = RowBudget(0 if self.logs is None else self.logs.row_bytes)

    def fetch(self, key: str) -> Row:
        """The row of `key`, from whatever layer holds it; a fresh one where there is none. Puts it into `young`.

        A read of RocksDB at most. Raises `IncompatibleStateError` when what is stored does not fit the state's
        type, `CorruptStateError` when it cannot be read at all, `UserCodeError` when `migrate` fails. A state of an
        older version is migrated, and stays as it is stored until something changes the row.
        """
        row = self.young.get(key) or self._old.pop(key, None) or self._dirty.get(key) or self._load(key)
        self.young[key] = row
        return row

    def mark(self, row: Row) -> None:
        """Count `row` among those that this epoch has touched: the commit looks whether it has changed."""
        row.dirty = True
        self._dirty[row.key] = row

    def forget(self, row: Row) -> None:
        """End the workflow instance: cancel all timers of `row` and put a fresh state into it.

        The object stays the row of its key, so whoever goes on with it, or fetches it again, starts anew; unless
        something is put into it, the commit removes what is stored.
        """
        if row.timer is not None:
            self._timers.discard((row.at_ms, row.key, self.rank, row.timer))
            row.timer = None
        for name in list(row.others or ()):
            self.cancel_timer(row, name)
        row.state = self._new_state()
        if self.logs is not None:
            row.logs = self.logs.renew(row.key, row.state, row.logs)
        if not row.dirty:
            self.mark(row)

    def set_timer(self, row: Row, name: str, due_ms: int) -> None:
        """Arm timer `name` of `row`, or move it, to `due_ms`. Marks the row. Putting off leaves the index alone.

        Raises `UserCodeError` for a time after the year 9999; `TypeError` or `ValueError` for a name that is no text.
        """
        name = timer_name(name)
        if due_ms > LAST_TIMER_MS:
            msg = (
                f"operator {self.name!r}, key {row.key!r}: timer {name!r} is set to {due_ms}, which is after the year "
                f"9999{other_unit(due_ms)}; check the event's time and what is added to it, in milliseconds"
            )
            raise UserCodeError(msg)
        times = row.find_timer(name)
        at_ms = due_ms
        if times is not None and times[1] <= due_ms:
            at_ms = times[1]
        else:
            if times is not None:
                self._timers.discard((times[1], row.key, self.rank, name))
            self._timers.add((due_ms, row.key, self.rank, name))
        row.put_timer(name, due_ms, at_ms)
        if not row.dirty:
            self.mark(row)

    def cancel_timer(self, row: Row, name: str) -> bool:
        """Disarm timer `name` of `row`; False when it was not armed. Marks the row if it was."""
        times = row.find_timer(name)
        if times is None:
            return False
        self._timers.discard((times[1], row.key, self.rank, name))
        row.drop_timer(name)
        if not row.dirty:
            self.mark(row)
        return True

    def due_row(self, entry: TimerEntry) -> Row | None:
        """What an entry just popped means: the row whose timer is due, or None when it has been put off meanwhile.

        The timer is disarmed by this; the caller calls its handler. One that was put off is indexed at its new time.
        """
        at_ms, key, _, name = entry
        row = self.young.get(key) or self.fetch(key)
        times = row.find_timer(name)
        if times is None or times[1] != at_ms:
            msg = f"operator {self.name!r}: the index holds {entry!r}, but the row says {row!r}; please report this"
            raise InternalError(msg)
        if not row.dirty:
            self.mark(row)
        due_ms = times[0]
        if due_ms > at_ms:
            self._timers.add((due_ms, key, self.rank, name))
            row.put_timer(name, due_ms, due_ms)
            return None
        row.drop_timer(name)
        return row

    def shrink_cache(self) -> None:
        """Shrink the cache to its budget; call once per batch. O(1) for each row that has come since."""
        excess = len(self.young) + len(self._old) - self.budget.rows_max
        if excess <= 0:
            return
        if len(self.young) * 2 >= self.budget.rows_max:
            self._old = dict(reversed(self.young.items())) | self._old
            self.young = {}
        for _ in range(excess):
            self._old.popitem()

    def encode_dirty(self, into: dict[bytes, bytes | None], moved: dict[str, int] | None) -> int:
        """Put this epoch's changes into `into`, by stored key; returns by how many the stored rows become more.

        With `moved`, it is said there too by how many those of each key become more. A row without timers whose state
        is what a new one would be is not stored, and one that is what is stored already is not stored again. From here
        on the rows count as stored, so the caller must not go on if it fails to store them. Raises `UserCodeError` for
        a state that is not what its type says, and would not come back as it is.
        """
        encode, prefix, head, fresh, shape = self._encode, self._prefix, self._head, self._fresh, self._shape
        sees_repeats, logs = self._sees_repeats, self.logs
        fresh_end = _NO_TIMERS + fresh
        grown = count = size = 0
        for key, row in self._dirty.items():
            row.dirty = False
            has_timers = row.timer is not None or row.others is not None
            try:
                is_fresh = not has_timers and not row.stored and encode(row.state) == fresh
                if not is_fresh:
                    timers = row.timers if has_timers else None
                    indexed = row.indexed if has_timers else None
                    value = encode((row.touched_ms, timers, indexed, row.state))
                    # The end of a value says whether it may be as new, so that large states are not encoded twice.
                    is_fresh = not has_timers and value.endswith(fresh_end) and encode(row.state) == fresh
                if not shape.fits(row.state, set() if sees_repeats else None):
                    raise TypeError(misfit_of(shape, row.state, "state"))
                if logs is not None:
                    logs.collect(key, row.state, row.logs, into)
            except Exception as error:
                raise self.unencodable(row, error) from None
            change = 0
            if is_fresh:
                row.value = None
                if not row.stored:
                    continue
                into[prefix + key.encode()] = None
                change = -1
            else:
                count += 1
                size += len(value)
                before = row.value
                if before is not None:
                    # What is behind the time of the last touch.
                    start, start_before = 1 + INTEGER_BYTES[value[1]], 1 + INTEGER_BYTES[before[1]]
                    if len(value) - start == len(before) - start_before and value[start:] == before[start_before:]:
                        continue
                row.value = value
                into[prefix + key.encode()] = head + value
                if row.stored:
                    continue
                change = 1
            row.stored = not row.stored
            grown += change
            if moved is not None:
                moved[key] = moved.get(key, 0) + change
        self.budget.learn(count, size)
        self._dirty = {}
        return grown

    def holds(self, key: str, changes: Mapping[bytes, bytes | None]) -> bool:
        """Whether a row of `key` is stored once `changes` are, which `encode_dirty` has just given."""
        row = self.young.get(key) or self._old.get(key)
        if row is not None:
            return row.stored
        stored_key = self._prefix + key.encode()
        value = changes.get(stored_key, self.pending.get(stored_key, _NOT_PENDING))
        if value == _NOT_PENDING:
            value = self._read(stored_key) if self.has_stored else None
        return value is not None

    def clear(self) -> None:
        """Drop all rows from memory."""
        self.young, self._old, self._dirty, self.pending = {}, {}, {}, {}

    @property
    def changed(self) -> bool:
        """Whether rows are marked."""
        return bool(self._dirty)

    def stored_timers(self) -> Iterator[dict[str, int]]:
        """When the timers of each stored row are due, of those that have any; reads all rows."""
        for stored_key, value in self._database.scan(ROWS, self._prefix, successor(self._prefix)):
            timers = timers_of(self._database, stored_key, value, self.name)
            if timers:
                yield timers

    def _load(self, key: str) -> Row:
        value: bytes | None = None
        if self.has_stored or self.pending:
            stored_key = self._prefix + key.encode()
            value = self.pending.get(stored_key, _NOT_PENDING)
            if value == _NOT_PENDING:
                value = self._read(stored_key) if self.has_stored else None
        if value is None:
            row = Row(key, self._new_state(), 0, False)
            if self.logs is not None:
                row.logs = self.logs.bind(key, row.state)
            return row
        touched_ms, timers, indexed, state = self._values.read(stored_key, value)
        row = Row(key, state, touched_ms, True)
        if value.startswith(self._head):
            row.value = value[HEAD_BYTES:]
        if self.logs is not None:
            row.logs = self._values.bind(stored_key, value, state)
        for name, due_ms in (timers or {}).items():
            row.put_timer(name, due_ms, (indexed or {}).get(name, due_ms))
        return row

    def _read(self, stored_key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._stored(stored_key)
        except Exception as error:  # rocksdict raises nothing more specific
            raise self._database.refusal(error, "read") from error
        return value

    def unencodable(self, row: Row, error: Exception) -> UserCodeError:
        """The error for a state that cannot be stored."""
        return UserCodeError(
            f"operator {self.name!r}, key {row.key!r}: the state cannot be stored ({error}), as its handlers "
            f"left it at time {row.touched_ms}: {shorten(repr(row.state))}; the epoch is not committed. Keep what "
            "the fields' types say: text, numbers of 64 bits, bytes, times, lists, dicts and msgspec structs"
        )
