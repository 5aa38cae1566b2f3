"""A read-only view of a state directory, also while a run is using it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from headway.basics.times import MAX_TIME_MS
from headway.errors import StateError, UsageError
from headway.state.database import CONTROL, DELIVERIES, ROWS, TIMERS, Database, group_path, logs_mark
from headway.state.delivery_queue import DeliveryQueue
from headway.state.groups import group_of
from headway.state.keys import decode_timer, encode_timer, id_bytes, successor, task_prefix
from headway.state.logs import opened
from headway.state.manifest import MANIFEST_NAME, Manifest
from headway.state.options import StoreOptions
from headway.state.redo import Control, decode_meta
from headway.state.rowvalues import read_payload
from headway.state.tasks import output_task

__all__ = ["StateReader", "StoredRow"]

_RETRIES: Final = 4


@dataclass(frozen=True)
class StoredRow:
    """A committed row: `state` in plain builtins, as it was stored, `timers` as name to due time in milliseconds.

    Logs of the state are there as `hw.Log`s that can be read until the reader is closed or refreshed.
    """

    key: str
    state: Any
    timers: dict[str, int]
    touched_ms: int
    """The time of the last event or timer of the key by then, when something of the row was last changed and stored."""
    group: int
    version: int
    """That of the state's schema under which it was stored: an older one is migrated only when the flow reads it."""


class StateReader:
    """Committed rows of all key groups as of when it was made, or last refreshed; a context manager.

    Groups are opened when first asked for, as RocksDB secondaries: this neither locks nor slows down a run that is
    writing. What a run has committed shows once its next epoch is committed too, or when it ends cleanly.
    Raises `StateError` when `directory` holds no flow's state.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        manifest = Manifest.load(self._directory)
        if manifest is None:
            msg = f"{directory} holds no {MANIFEST_NAME}: expected the state directory of a flow, check the path"
            raise StateError(msg)
        if manifest.moves:
            msg = f"the key groups of {directory} are being put in their place: run its flow once, and look again"
            raise StateError(msg)
        self.manifest = manifest
        known = {**manifest.retired.operators, **manifest.operators}
        self._prefixes = {name: id_bytes(entry.id) for name, entry in known.items()}
        self._kept = known
        self._databases: dict[int, Database] = {}
        self._marks: dict[int, tuple[str, int]] = {}
        """Which files the primary wrote to when a database was opened."""
        self._opened = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="headway-reader-")

    def operators(self) -> list[str]:
        """The names of all operators, in the order of the flow."""
        return list(self.manifest.operators)

    def kept(self) -> list[str]:
        """As `operators`, with those that the flow no longer has, of which something may be kept."""
        return list(self._prefixes)

    def rows(
        self, operator: str, prefix: str = "", limit: int | None = None, *, start: str = ""
    ) -> Iterator[StoredRow]:
        """Rows of `operator` whose key starts with `prefix`, ordered by key, from `start` on, at most `limit`.

        Raises `UsageError` for an operator that the flow does not have, `CorruptStateError` for what cannot be read.
        """
        first = self._prefix(operator) + max(prefix, start).encode()
        end = successor(self._prefix(operator) + prefix.encode())
        parts = [self._group_rows(group, first, end, operator) for group in range(self.manifest.key_groups)]
        return islice(merge(*parts, key=_row_key), limit)

    def get(self, operator: str, key: str) -> StoredRow | None:
        """The row of `key`, or None; one read of RocksDB."""
        group = group_of(key, self.manifest.key_groups)
        stored_key = self._prefix(operator) + key.encode()
        database = self._database(group)
        payload = None if database is None else database.get(ROWS, stored_key)
        if payload is None or database is None:
            return None
        return self._decoded(database, operator, stored_key, key, payload)

    def indexed_timers(self, operator: str, until_ms: int) -> Iterator[tuple[int, str, str]]:
        """The index of an operator's timers up to a time: time, key, name, in order; see `headway.state.queries`."""
        prefix = self._prefix(operator)
        end = successor(prefix) if until_ms >= MAX_TIME_MS else prefix + encode_timer((until_ms + 1, "", 0, ""))
        parts = [self._group_timers(group, prefix, end) for group in range(self.manifest.key_groups)]
        return merge(*parts)

    def _group_timers(self, group: int, prefix: bytes, end: bytes) -> Iterator[tuple[int, str, str]]:
        database = self._database(group)
        for stored_key, _ in () if database is None else database.scan(TIMERS, prefix, end):
            due_ms, key, _, name = decode_timer(stored_key, len(prefix), 0)
            yield due_ms, key, name

    def output_position(self, name: str) -> Any:
        """Where an output stood at the last epoch that is durable everywhere, as it says it itself; None before one.

        Raises `UsageError` for an output that the flow does not have.
        """
        outputs = self.manifest.outputs
        if name not in outputs:
            msg = f"flow {self.manifest.flow!r} has no output {name!r}: expected one of {', '.join(outputs)}"
            raise UsageError(msg)
        number = outputs[name].id
        database = self._database(self.manifest.output_group(number))
        key = task_prefix(self.manifest.generation, output_task(number))
        payload = None if database is None else database.get(CONTROL, key)
        if payload is None or database is None:
            return None
        try:
            return (decode_meta(Control.decode(payload).meta) or {}).get("position")
        except msgspec.DecodeError as error:
            raise database.corrupt(CONTROL, key, f"not a control record ({error})") from error

    def deliveries(self, output: int) -> Iterator[DeliveryQueue]:
        """What waits of an output that is delivered, by its number, group by group; groups without any are left out."""
        for group in range(self.manifest.key_groups):
            database = self._database(group)
            if database is not None and database.has(DELIVERIES):
                yield DeliveryQueue(database, output)

    def refresh(self) -> None:
        """See what has been committed since. A group that the run has flushed is opened anew when it is asked for."""
        for group, database in list(self._databases.items()):
            mark = self._marks[group]
            try:
                database.catch_up()
                is_current = logs_mark(self._directory, group) == mark
            except StateError:  # A file that the run has deleted meanwhile: what is opened anew knows better.
                is_current = False
            if not is_current:
                del self._databases[group]  # Rows may still be read from it; who reads them holds it.

    def close(self) -> None:
        """Close all databases; again does nothing."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()
        self._scratch.cleanup()

    def __enter__(self) -> StateReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prefix(self, operator: str) -> bytes:
        if operator not in self._prefixes:
            listed = ", ".join(self.operators()) or "it has none"
            msg = f"flow {self.manifest.flow!r} has no operator {operator!r}: expected one of {listed}"
            raise UsageError(msg)
        return self._prefixes[operator]

    def _group_rows(self, group: int, start: bytes, end: bytes, operator: str) -> Iterator[StoredRow]:
        database = self._database(group)
        if database is None:
            return
        key_start = len(self._prefixes[operator])
        for stored_key, value in database.scan(ROWS, start, end):
            payload = database.unwrap(ROWS, stored_key, value)
            yield self._decoded(database, operator, stored_key, stored_key[key_start:].decode(), payload)

    def _decoded(self, database: Database, operator: str, stored_key: bytes, key: str, payload: bytes) -> StoredRow:
        stored = read_payload(database, stored_key, payload, operator)
        state = opened(database, key, stored.state, self._kept[operator], partial(database.scan, ROWS))
        return StoredRow(key, state, stored.timers or {}, stored.touched_ms, database.group, stored.version)

    def _database(self, group: int) -> Database | None:
        """The database of `group`; None when the run has not made it yet."""
        if group not in self._databases:
            if not (group_path(self._directory, group) / "CURRENT").exists():
                return None
            self._databases[group] = self._open(group)
        return self._databases[group]

    def _open(self, group: int) -> Database:
        # A file that the writer deletes while it is being listed makes opening fail; the next listing is new.
        for attempt in range(_RETRIES + 1):
            try:
                mark = logs_mark(self._directory, group)
                database = self._open_once(group)
                if logs_mark(self._directory, group) == mark or attempt == _RETRIES:
                    self._marks[group] = mark
                    return database
            except StateError:
                if attempt == _RETRIES:
                    raise
        raise AssertionError

    def _open_once(self, group: int) -> Database:
        self._opened += 1
        scratch = Path(self._scratch.name) / f"{group:03d}-{self._opened}"
        return Database(self._directory, group, StoreOptions(), secondary_path=scratch)


def _row_key(row: StoredRow) -> str:
    return row.key
