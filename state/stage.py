"""The state of one stage in one key group, committed an epoch at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from headway.basics.crashpoints import reached
from headway.errors import InternalError
from headway.state.database import CONTROL, ROWS, VERSION_BYTE, Database
from headway.state.deliveries import Deliveries
from headway.state.delivery_queue import DeliveryQueue
from headway.state.feed import Fed, FeedWriter
from headway.state.indexes import IndexSpec, RowIndex
from headway.state.inputs import InputCodec
from headway.state.instances import keys_gained
from headway.state.keys import id_bytes
from headway.state.options import StoreOptions
from headway.state.outbox import Outbox
from headway.state.redo import NO_STATE, Control, Delta, decode_meta, encode_meta
from headway.state.redolog import RedoLog
from headway.state.rows import RowTable
from headway.state.rowvalues import Migrate
from headway.state.syncs import Syncs
from headway.state.timers import TimerIndex
from headway.state.waiting import Waiting

__all__ = ["MARK", "OperatorSpec", "StageStore", "feeding"]

MARK: Final = b"mark"
"""What the key of a task's mark ends with, behind the prefix of the task."""


@dataclass(frozen=True)
class OperatorSpec:
    """An operator of a stage: its name (`[A-Za-z0-9_.-]+`) and the type of its state (a msgspec struct or `dict`)."""

    name: str
    state_type: type[Any]
    shared: bool = False
    """Whether its one row belongs to all keys: it then counts neither as a row nor as a workflow instance."""
    may_share: bool = False
    """Whether a state may hold one list, dict or struct in two places, since nobody changes it."""
    version: int = 1
    """The version of its state's schema, 1 to 65,535."""
    migrate: Migrate | None = None
    """What makes states of this version out of older ones."""
    id: int = 0
    """The number under which its rows and timers are stored."""
    indexes: Sequence[IndexSpec] = ()
    """What its rows are to be found by, besides their keys."""
    logs: Mapping[str, int] = field(default_factory=dict)
    """The numbers of the logs of its state, by the names under which their fields are stored."""
    former_logs: Sequence[int] = ()
    """Those of logs that states of older versions may have."""


class StageStore:
    """Rows, timers, waiting records and outbox of one stage in one key group; made by `GroupStore.stage`.

    First comes `resume`. `commit` closes an epoch: one atomic and synced write moves the delta of the epoch before into
    the main column families and stores this epoch's as pending. The engine, at its next start, names the version
    that all its workers committed, which is the last one or the one before, and both can be returned to without
    reading anything but the pending delta. Readers of the main column families see only what is committed everywhere.

    `tables` are in the order of the operators' ranks. After an error in `commit` the store is of no more use: close
    the group, and resume.
    """

    def __init__(
        self,
        name: str,
        prefix: bytes,
        operators: Sequence[OperatorSpec],
        inputs: Sequence[InputCodec],
        database: Database,
        options: StoreOptions,
        carried: int = 0,
        feed: Callable[[int, Mapping[bytes, bytes | None]], None] | None = None,
        syncs: Syncs | None = None,
    ) -> None:
        self.name = name
        self._feed = feed
        self._database = database
        self._sync = options.sync
        self._syncs = syncs
        self._prefix = prefix
        self._redo = RedoLog(database, name, prefix)
        self.timers = TimerIndex(database, [operator.id for operator in operators], options.timer_window)
        self.waiting = Waiting(inputs, database, prefix, options.waiting_bound, carried)
        self.outbox = Outbox(database, prefix)
        self.deliveries = Deliveries(database)
        self.tables = [
            RowTable(
                operator.name,
                rank,
                operator.state_type,
                database,
                id_bytes(operator.id),
                self.timers,
                may_share=operator.may_share,
                version=operator.version,
                migrate=operator.migrate,
                logs=operator.logs,
                former_logs=operator.former_logs,
            )
            for rank, operator in enumerate(operators)
        ]
        self._indexes = [RowIndex(index, operator.id) for operator in operators for index in operator.indexes]
        self._counted = [table for table, operator in zip(self.tables, operators) if not operator.shared]
        for table in self.tables:
            table.budget.set(options.cache_bytes)
        self._usable = False

    @property
    def version(self) -> int:
        """The last committed version: what `commit` returned last, or what `resume` went to."""
        return self._redo.control.version

    @property
    def meta(self) -> Any:
        """What was given with the last commit, as builtins (tuples become lists); None at version 0."""
        return decode_meta(self._redo.control.meta)

    @property
    def row_count(self) -> int:
        """Rows stored as of the last commit: of each operator one for each key of which it keeps something."""
        return self._redo.control.rows

    @property
    def key_count(self) -> int:
        """Workflow instances as of the last commit: keys of which at least one operator keeps something."""
        return self._redo.control.keys if len(self._counted) > 1 else self._redo.control.rows

    @property
    def timer_count(self) -> int:
        """Timers armed now."""
        return len(self.timers)

    def resume(self, token_version: int | None) -> Any:
        """Go to the version that is committed everywhere, None when the engine knows of none; returns its `meta`.

        Reads the pending delta at most. Drops whatever the store holds in memory. Raises `IncompatibleStateError`
        when that version is neither stored nor pending, `CorruptStateError` when something cannot be read.
        """
        main = self._redo.resume(token_version)
        self.outbox.restore()
        self.deliveries.restore()
        for table in self.tables:
            table.clear()
            table.has_stored = main is not NO_STATE
        self.timers.restore(main.timer_floor, main.timers)
        self.waiting.restore(main.spill_floor, main.spilled, main.spill_sequence, main.spill_front)
        self._usable = True
        return self.meta

    def commit(self, meta: Any) -> int:
        """Close the epoch; returns the version to resume from, which is the former one if nothing has changed.

        `meta` is the engine's own (builtins), stored with the version. One write; it takes about 3 µs per changed row.
        It is synced, or where the group has `Syncs`, will be once these have been waited for: nobody may be told of
        the version before. Raises `UserCodeError` for a state that cannot be stored, `StateError` when the disk
        refuses.
        """
        self._check_usable()
        self._usable = False
        encoded_meta = _encoded(meta)
        rows: dict[bytes, bytes | None] = {}
        grown, keys = self._encode_rows(rows)
        for index in self._indexes:
            index.update(rows, self._stored)
        changed = self._has_changed_besides_rows
        if rows or changed or encoded_meta != self._redo.control.meta:
            control = Control(
                version=self._redo.control.version + 1,
                meta=encoded_meta,
                rows=self._redo.control.rows + grown,
                keys=self._redo.control.keys + keys,
                timers=len(self.timers),
                timer_floor=self.timers.floor,
                spill_floor=self.waiting.stored_floor,
                spilled=self.waiting.spilled,
                spill_sequence=self.waiting.spill_sequence,
                spill_front=self.waiting.spill_front,
            )
            outbox = self.outbox.delta(control.version)
            deliveries = self.deliveries.delta()
            self._write(Delta(control, rows, self.timers.delta(), self.waiting.delta(), outbox, deliveries))
        for table in self.tables:
            table.shrink_cache()
        self._usable = True
        return self._redo.control.version

    def settle(self, *, sync: bool | None = None) -> None:
        """Move the pending delta into the main column families; only once its version is committed everywhere.

        Readers see it from then on. While the run goes on this need not be synced: if it is lost, the delta is still
        pending. With `sync` (by default as the options say) also all that was settled before is on the disk then; where
        the group has `Syncs`, once these have been waited for.
        """
        self._check_usable()
        sync = self._sync if sync is None else sync
        if self._redo.pending is not None:
            self._promote()
        if sync:
            self._sync_all()

    def _promote(self) -> None:
        self._usable = False
        self._note_stored()
        self._redo.promote(keeps_outbox=self.outbox.undelivered)
        for table in self.tables:
            table.pending = {}
        self.timers.settle()
        self.waiting.settle()
        self.outbox.settle()
        self._usable = True

    def delivery_queue(self, output: int) -> DeliveryQueue:
        """What waits to be delivered of an output, by its number: for the dispatcher, once `resume` was called."""
        return DeliveryQueue(self._database, output)

    @property
    def mark(self) -> str | None:
        """What was held last; None where nothing was. Reads it: for the start of a run."""
        payload = self._database.get(CONTROL, self._prefix + MARK)
        try:
            return None if payload is None else payload.decode()
        except UnicodeDecodeError as error:
            raise self._database.corrupt(CONTROL, self._prefix + MARK, f"not a mark ({error})") from error

    def hold(self, mark: str) -> None:
        """Store what tells our output from others in its place, at once and synced: no epoch is waited for."""
        if mark == (self.mark or ""):
            return
        batch = self._database.batch()
        batch.put(CONTROL, self._prefix + MARK, VERSION_BYTE + mark.encode())
        reached("mark.before")
        self._database.write(batch, sync=self._sync)
        reached("mark.after")

    def shrink_cache(self) -> None:
        """Shrink the row caches to their budget; call once per batch."""
        for table in self.tables:
            table.shrink_cache()

    def max_due_ms(self) -> int | None:
        """The latest time of all armed timers and waiting records, None when there are none.

        Reads all rows. For a settled store without changes: raises `InternalError` otherwise.
        """
        self._check_usable()
        if self._redo.pending is not None or self._changed:
            msg = f"stage {self.name!r} holds changes that are not settled: commit and settle it first"
            raise InternalError(msg)
        latest = [] if (last_ms := self.waiting.last_ms()) is None else [last_ms]
        for table in self.tables:
            latest += [due_ms for timers in table.stored_timers() for due_ms in timers.values()]
        return max(latest, default=None)

    @property
    def _changed(self) -> bool:
        return self._has_changed_besides_rows or any(table.changed for table in self.tables)

    @property
    def _has_changed_besides_rows(self) -> bool:
        return self.timers.changed or self.waiting.changed or self.outbox.changed or self.deliveries.changed

    def _encode_rows(self, into: dict[bytes, bytes | None]) -> tuple[int, int]:
        """Put the changed rows into `into`; returns by how many rows and keys there are more."""
        moved: dict[str, int] | None = {} if len(self._counted) > 1 else None
        grown = 0
        for table in self.tables:
            if table in self._counted:
                grown += table.encode_dirty(into, moved)
            else:
                table.encode_dirty(into, None)
        return grown, keys_gained(self._counted, moved, into) if moved else 0

    def _stored(self, key: bytes) -> bytes | None:
        """The value of a row as of the last commit."""
        pending = self._redo.pending
        if pending is not None and key in pending.rows:
            return pending.rows[key]
        try:
            value: bytes | None = self._database.family(ROWS).get(key)
        except Exception as error:  # rocksdict raises nothing more specific
            raise self._database.refusal(error, "read") from error
        return value

    def _write(self, delta: Delta) -> None:
        """Make `delta` pending and the one before final."""
        self._note_stored()
        self._redo.write(delta, keeps_outbox=self.outbox.undelivered)
        if self._sync:
            self._sync_all()
        if self._feed is not None:
            self._feed(delta.control.version, delta.rows)
        for table in self.tables:
            table.pending = delta.rows
        self.timers.commit()
        self.waiting.commit()
        self.outbox.commit(delta.outbox)

    def _sync_all(self) -> None:
        """Make durable what has been written by now, or have it made durable."""
        if self._syncs is None:
            self._database.sync()
        else:
            self._syncs.start(self._database.sync)

    def _note_stored(self) -> None:
        """The rows of the pending delta, if there are any, go into the main column family."""
        if self._redo.pending is not None and self._redo.pending.rows:
            for table in self.tables:
                table.has_stored = True

    def _check_usable(self) -> None:
        if not self._usable:
            msg = f"stage {self.name!r} was not resumed, or a commit has failed: resume it first"
            raise InternalError(msg)


def feeding(
    feed: FeedWriter, task: int, operators: Sequence[OperatorSpec], shown: Collection[int]
) -> Callable[[int, Mapping[bytes, bytes | None]], None] | None:
    """What tells a feed of each version of a task; None where views show nothing of it. `shown` are numbers."""
    kept = {operator.id for operator in operators}
    kept.update(index.number for operator in operators for index in operator.indexes)
    kept.update(number for operator in operators for number in (*operator.logs.values(), *operator.former_logs))
    ours = kept.intersection(shown)
    if not ours:
        return None
    return partial(feed.append, Fed(task, frozenset(map(id_bytes, ours)), ours == kept))


def _encoded(meta: Any) -> bytes:
    try:
        return encode_meta(meta)
    except Exception as error:
        msg = f"the commit's meta {meta!r:.300} cannot be stored ({error}): expected builtins; please report this"
        raise InternalError(msg) from error
