"""The state of one stage in one key group, committed an epoch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headway.errors import IncompatibleStateError, InternalError
from headway.state.database import CONTROL, OUTBOX, PENDING, ROWS, TIMERS, VERSION_BYTE, WAITING, Batch, Database
from headway.state.instances import keys_gained
from headway.state.options import StoreOptions
from headway.state.outbox import Outbox
from headway.state.redo import NO_STATE, Control, Delta, decode_meta, encode_meta
from headway.state.rows import RowTable
from headway.state.timers import TimerIndex
from headway.state.waiting import InputCodec, Waiting

__all__ = ["OperatorSpec", "StageStore", "stage_prefix"]

_VERSION_BYTES: Final = 8
_CHUNK_BYTES: Final = 4
_MARK: Final = b"mark"


@dataclass(frozen=True)
class OperatorSpec:
    """An operator of a stage: its name (`[A-Za-z0-9_.-]+`) and the type of its state (a msgspec struct or `dict`)."""

    name: str
    state_type: type[Any]
    shared: bool = False
    """Whether its one row belongs to all keys: it then counts neither as a row nor as a workflow instance."""
    may_share: bool = False
    """Whether a state may hold one list, dict or struct in two places, since nobody changes it."""


class StageStore:
    """Rows, timers, waiting records and outbox of one stage in one key group; made by `GroupStore.stage`.

    First comes `resume`. `commit` closes an epoch: one atomic, synced write moves the delta of the epoch before into
    the main column families and stores this epoch's as pending. The engine, at its next start, names the version
    that all its workers committed, which is the last one or the one before, and both can be returned to without
    reading anything but the pending delta. Readers of the main column families see only what is committed everywhere.

    `tables` are in the order of the operators' ranks. After an error in `commit` the store is of no more use: close
    the group, and resume.
    """

    def __init__(
        self,
        name: str,
        operators: Sequence[OperatorSpec],
        inputs: Sequence[InputCodec],
        database: Database,
        options: StoreOptions,
    ) -> None:
        self.name = name
        self._database = database
        self._sync = options.sync
        self._prefix = stage_prefix(name)
        self.timers = TimerIndex(database, self._prefix, options.timer_window)
        self.waiting = Waiting(inputs, database, self._prefix, options.waiting_bound)
        self.outbox = Outbox(database, self._prefix)
        self.tables = [
            RowTable(
                operator.name,
                rank,
                operator.state_type,
                database,
                self._prefix,
                self.timers,
                may_share=operator.may_share,
            )
            for rank, operator in enumerate(operators)
        ]
        self._counted = [table for table, operator in zip(self.tables, operators) if not operator.shared]
        for table in self.tables:
            table.set_budget(options.cache_bytes)
        self._committed = NO_STATE
        self._pending: Delta | None = None
        self._pending_keys: list[bytes] = []
        self._usable = False

    @property
    def version(self) -> int:
        """The last committed version: what `commit` returned last, or what `resume` went to."""
        return self._committed.version

    @property
    def meta(self) -> Any:
        """What was given with the last commit, as builtins (tuples become lists); None at version 0."""
        return decode_meta(self._committed.meta)

    @property
    def row_count(self) -> int:
        """Rows stored as of the last commit: of each operator one for each key of which it keeps something."""
        return self._committed.rows

    @property
    def key_count(self) -> int:
        """Workflow instances as of the last commit: keys of which at least one operator keeps something."""
        return self._committed.keys if len(self._counted) > 1 else self._committed.rows

    @property
    def timer_count(self) -> int:
        """Timers armed now."""
        return len(self.timers)

    def resume(self, token_version: int | None) -> Any:
        """Go to the version that is committed everywhere, None when the engine knows of none; returns its `meta`.

        Reads the pending delta at most. Drops whatever the store holds in memory. Raises `IncompatibleStateError`
        when that version is neither stored nor pending, `CorruptStateError` when something cannot be read.
        """
        main = self._read_control()
        pending = self._read_pending(main.version)
        self._check_token(token_version, main.version, pending is not None)
        batch = self._database.batch()
        for key in self._pending_keys:
            batch.delete(PENDING, key)
        if pending is not None and token_version == main.version + 1:
            self._promote(batch, pending)
            main = pending.control
        self._database.write(batch, sync=False)
        self._pending, self._pending_keys = None, []
        self._committed = main
        self.outbox.restore()
        for table in self.tables:
            table.clear()
            table.has_stored = main.version > 0
        self.timers.restore(main.timer_floor, main.timers)
        self.waiting.restore(main.spill_floor, main.spilled, main.spill_sequence, main.spill_front)
        self._usable = True
        return self.meta

    def commit(self, meta: Any) -> int:
        """Close the epoch; returns the version to resume from, which is the former one if nothing has changed.

        `meta` is the engine's own (builtins), stored with the version. One synced write; it takes about 3 µs per
        changed row. Raises `UserCodeError` for a state that cannot be stored, `StateError` when the disk refuses.
        """
        self._check_usable()
        self._usable = False
        encoded_meta = _encoded(meta)
        rows: dict[bytes, bytes | None] = {}
        grown, keys = self._encode_rows(rows)
        changed = self.timers.changed or self.waiting.changed or self.outbox.changed
        if rows or changed or encoded_meta != self._committed.meta:
            control = Control(
                version=self._committed.version + 1,
                meta=encoded_meta,
                rows=self._committed.rows + grown,
                keys=self._committed.keys + keys,
                timers=len(self.timers),
                timer_floor=self.timers.floor,
                spill_floor=self.waiting.spill_floor,
                spilled=self.waiting.spilled,
                spill_sequence=self.waiting.spill_sequence,
                spill_front=self.waiting.spill_front,
            )
            outbox = self.outbox.delta(control.version)
            self._write(Delta(control, rows, self.timers.delta(), self.waiting.delta(), outbox))
        for table in self.tables:
            table.maybe_rotate()
        self._usable = True
        return self._committed.version

    def settle(self, *, sync: bool | None = None) -> None:
        """Move the pending delta into the main column families; only once its version is committed everywhere.

        Readers see it from then on. While the run goes on this need not be synced: if it is lost, the delta is still
        pending. With `sync` (by default as the options say) also all that was settled before is on the disk.
        """
        self._check_usable()
        sync = self._sync if sync is None else sync
        if self._pending is None:
            if sync:
                self._database.sync()
            return
        self._usable = False
        batch = self._database.batch()
        self._promote_pending(batch)
        self._database.write(batch, sync=sync)
        self._pending, self._pending_keys = None, []
        for table in self.tables:
            table.pending = {}
        self.timers.settle()
        self.waiting.settle()
        self.outbox.settle()
        self._usable = True

    @property
    def mark(self) -> str | None:
        """What was held last; None where nothing was. Reads it: for the start of a run."""
        payload = self._database.get(CONTROL, self._prefix + _MARK)
        try:
            return None if payload is None else payload.decode()
        except UnicodeDecodeError as error:
            raise self._database.corrupt(CONTROL, self._prefix + _MARK, f"not a mark ({error})") from error

    def hold(self, mark: str) -> None:
        """Store what tells our output from others in its place, at once and synced: no epoch is waited for."""
        if mark == (self.mark or ""):
            return
        batch = self._database.batch()
        batch.put(CONTROL, self._prefix + _MARK, VERSION_BYTE + mark.encode())
        self._database.write(batch, sync=self._sync)

    def maybe_rotate(self) -> None:
        """Age the row caches that have outgrown their budget; call once per batch."""
        for table in self.tables:
            table.maybe_rotate()

    def max_due_ms(self) -> int | None:
        """The latest time of all armed timers and waiting records, None when there are none.

        Reads all rows. For a settled store without changes: raises `InternalError` otherwise.
        """
        self._check_usable()
        if self._pending is not None or self._changed:
            msg = f"stage {self.name!r} holds changes that are not settled: commit and settle it first"
            raise InternalError(msg)
        latest = [] if (last_ms := self.waiting.last_ms()) is None else [last_ms]
        end = self._prefix[:-1] + b"\x01"
        for stored_key, value in self._database.scan(ROWS, self._prefix, end):
            rank = int.from_bytes(stored_key[len(self._prefix) : len(self._prefix) + 2], "big")
            if rank >= len(self.tables):
                raise self._database.corrupt(ROWS, stored_key, f"operator {rank} of {len(self.tables)}")
            _, timers, _, _ = self.tables[rank].decode(stored_key, value)
            latest.extend((timers or {}).values())
        return max(latest, default=None)

    @property
    def _changed(self) -> bool:
        changed = self.timers.changed or self.waiting.changed or self.outbox.changed
        return changed or any(table.changed for table in self.tables)

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

    def _write(self, delta: Delta) -> None:
        """Make `delta` pending and the one before final."""
        batch = self._database.batch()
        self._promote_pending(batch)
        chunks = delta.encode()
        keys = [self._chunk_key(delta.control.version, index) for index in range(len(chunks))]
        for key, chunk in zip(keys, chunks, strict=True):
            batch.put(PENDING, key, chunk)
        self._database.write(batch, sync=self._sync)
        self._pending, self._pending_keys, self._committed = delta, keys, delta.control
        for table in self.tables:
            table.pending = delta.rows
        self.timers.commit()
        self.waiting.commit()
        self.outbox.commit(delta.outbox)

    def _promote_pending(self, batch: Batch) -> None:
        if self._pending is not None:
            self._promote(batch, self._pending, keeps_outbox=self.outbox.undelivered)
            for key in self._pending_keys:
                batch.delete(PENDING, key)

    def _promote(self, batch: Batch, delta: Delta, *, keeps_outbox: bool = True) -> None:
        for table in self.tables:
            table.has_stored = True
        batch.apply(ROWS, delta.rows)
        batch.apply(TIMERS, delta.timers)
        batch.apply(WAITING, delta.waiting)
        if keeps_outbox:
            batch.apply(OUTBOX, delta.outbox)
        batch.put(CONTROL, self._prefix, delta.control.encode())

    def _chunk_key(self, version: int, index: int) -> bytes:
        return self._prefix + version.to_bytes(_VERSION_BYTES, "big") + index.to_bytes(_CHUNK_BYTES, "big")

    def _read_control(self) -> Control:
        payload = self._database.get(CONTROL, self._prefix)
        if payload is None:
            return NO_STATE
        try:
            return Control.decode(payload)
        except msgspec.DecodeError as error:
            raise self._database.corrupt(CONTROL, self._prefix, f"not a control record ({error})") from error

    def _read_pending(self, main_version: int) -> Delta | None:
        """The delta behind the main version; searched from there on, to pass no deleted ones."""
        start, end = self._chunk_key(main_version + 1, 0), self._prefix[:-1] + b"\x01"
        found = list(self._database.scan(PENDING, start, end))
        self._pending_keys = [key for key, _ in found]
        if not found:
            return None
        payloads = [self._database.unwrap(PENDING, key, value) for key, value in found]
        try:
            delta = Delta.decode(payloads)
        except msgspec.DecodeError as error:
            raise self._database.corrupt(PENDING, found[0][0], f"not a pending delta ({error})") from error
        if delta.control.version != main_version + 1:
            why = f"the pending delta has version {delta.control.version}, expected {main_version + 1}"
            raise self._database.corrupt(PENDING, found[0][0], why)
        return delta

    def _check_token(self, token: int | None, main: int, has_pending: bool) -> None:
        if token == main or (token == main + 1 and has_pending) or (token is None and main == 0):
            return
        database = self._database
        where = f"state directory {database.directory}, key group {database.group:03d}, stage {self.name!r}"
        held = f"version {main}" + (f" and a pending version {main + 1}" if has_pending else "")
        if token is None:
            msg = (
                f"{where}: it holds data of {held}, but the recovery log knows nothing of it; put the recovery log "
                "back that belongs to it, or start with an empty state directory"
            )
        else:
            msg = (
                f"{where}: the recovery log says version {token}, expected one that is there: it holds {held}; "
                "recovery log and state are from different times or runs: restore both from the same backup"
            )
        raise IncompatibleStateError(msg)

    def _check_usable(self) -> None:
        if not self._usable:
            msg = f"stage {self.name!r} was not resumed, or a commit has failed: resume it first"
            raise InternalError(msg)


def stage_prefix(name: str) -> bytes:
    """What all keys of a stage begin with."""
    return name.encode() + b"\0"


def _encoded(meta: Any) -> bytes:
    try:
        return encode_meta(meta)
    except Exception as error:
        msg = f"the commit's meta {meta!r:.300} cannot be stored ({error}): expected builtins; please report this"
        raise InternalError(msg) from error
