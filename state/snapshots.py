"""Snapshots of a flow's committed state in another process: all key groups at one epoch, and kept for as long as asked.

The groups are open as RocksDB secondaries, which follow the files of the run without locks. To move on is to read the
cut, to let each group catch up whose version is another one, and to find in it either that version or the pending delta
that leads to it (`headway.state.cut` says why one of the two is there). What has not changed is not touched, so a step
costs what the epoch has changed: some milliseconds for each group of a flow at full speed, 2 µs where nothing happened.

A secondary may catch up only as long as the run appends to the same log (`headway.state.database.logs_mark`). Behind a
flush it is opened anew, which takes about as long as to catch up with the log: a group at full speed flushes every
other second, a quiet one hardly ever.

A snapshot stands on one iterator of each group. An iterator of a secondary goes on seeing what there was when it was
made, whatever the database catches up with later, and keeps the files that it needs open. So a snapshot can be read
while the next one is being made, and kept while a client reads it page by page; it costs the files and the memory that
a run would otherwise have let go of.

**Rejected.** *Waiting until all groups have promoted the same epoch*: under load there is hardly such a moment, and
after a crash there may be none before the next start. *Opening the databases anew for each epoch*: 10 ms for each.
*Reading single keys from the database itself*: it sees what it has caught up with, so that nothing could be answered
while groups are at different epochs; a look-up by an iterator takes no longer.
"""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from heapq import merge
from pathlib import Path
from typing import Final, Optional

import msgspec
from rocksdict import RdictIter

from headway.errors import StateError
from headway.state.cut import Cut
from headway.state.database import CONTROL, PENDING, ROWS, Database, group_path, logs_mark
from headway.state.groups import group_of
from headway.state.keys import id_bytes, task_prefix
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.redo import Control, Delta
from headway.state.redolog import chunk_key

__all__ = ["Follower", "Snapshot"]

_TRIES: Final = 8
_REOPENED_MAX: Final = 4


class _Stand:
    """One key group as it was at one moment."""

    def __init__(self, database: Database, controls: Mapping[int, Control]) -> None:
        self.database = database
        self.cursor: RdictIter = database.family(ROWS).iter()
        self.controls = dict(controls)
        """Of each task where its main rows stand."""
        self.pending: dict[int, Delta] = {}
        """Of tasks, the delta behind that, where somebody has asked for it."""
        self._merged: tuple[frozenset[int], dict[bytes, Optional[bytes]], list[bytes]] = frozenset(), {}, []

    def version(self, task: int) -> int:
        control = self.controls.get(task)
        return 0 if control is None else control.version

    def over(self, tasks: frozenset[int]) -> tuple[dict[bytes, Optional[bytes]], list[bytes]]:
        """What the pending deltas of some tasks put over the rows, and the keys of that in order."""
        if self._merged[0] != tasks:
            changes: dict[bytes, Optional[bytes]] = {}
            for task in tasks:
                changes |= self.pending[task].rows
            self._merged = tasks, changes, sorted(changes)
        return self._merged[1:]


class _Part:
    """One key group at the epoch of a snapshot."""

    __slots__ = ("_changes", "_cursor", "_keys", "controls", "database")

    def __init__(self, stand: _Stand, versions: Mapping[int, int]) -> None:
        ahead = frozenset(task for task, version in versions.items() if version > stand.version(task))
        self._changes, self._keys = stand.over(ahead)
        self._cursor = stand.cursor
        self.database = stand.database
        self.controls = stand.controls | {task: stand.pending[task].control for task in ahead}

    def get(self, stored_key: bytes) -> Optional[bytes]:
        if stored_key in self._changes:
            return self._changes[stored_key]
        cursor = self._cursor
        cursor.seek(stored_key)
        if not cursor.valid():
            self.database.check_end(cursor)
            return None
        value: Optional[bytes] = cursor.value() if cursor.key() == stored_key else None
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs in order. Nothing else may use the part between two of them."""
        changes, keys, cursor = self._changes, self._keys, self._cursor
        at, stop = bisect_left(keys, start), bisect_left(keys, end)
        cursor.seek(start)
        while cursor.valid():
            key = cursor.key()
            if key >= end:
                break
            while at < stop and keys[at] < key:
                changed = changes[keys[at]]
                if changed is not None:
                    yield keys[at], changed
                at += 1
            if key not in changes:
                yield key, cursor.value()
            cursor.next()
        else:
            self.database.check_end(cursor)
        for key in keys[at:stop]:
            changed = changes[key]
            if changed is not None:
                yield key, changed


class Snapshot:
    """All key groups at one committed epoch. Reads are of one thread, and not interleaved with others of it."""

    def __init__(self, cut: Cut, parts: Sequence[Optional[_Part]]) -> None:
        self.cut = cut
        self._parts = parts

    def get(self, number: int, key: str) -> Optional[bytes]:
        """The stored value of a row of the operator with this number; None where there is none. Some 5 µs.

        Raises `StateError`, `CorruptStateError` among them, for what cannot be read.
        """
        part = self._parts[group_of(key, len(self._parts))]
        return None if part is None else part.get(id_bytes(number) + key.encode())

    def database(self, key: str) -> Optional[Database]:
        """What holds the rows of a key, for messages; None while nothing does."""
        part = self._parts[group_of(key, len(self._parts))]
        return None if part is None else part.database

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Stored rows with `start <= key < end`, in order; read as they are asked for, some 2 µs each.

        Nothing else may be read from the snapshot between two of them. Raises as `get` does.
        """
        return merge(*(part.scan(start, end) for part in self._parts if part is not None))

    def rows_of(self, task: int) -> int:
        """How many rows all operators of a task keep together."""
        found = [part.controls.get(task) for part in self._parts if part is not None]
        return sum(control.rows for control in found if control is not None)


class Follower:
    """Follows what a run commits, for one generation of a state directory. A context manager.

    `tasks` are those whose rows are asked for.
    """

    def __init__(self, directory: Path, manifest: Manifest, tasks: Sequence[int]) -> None:
        self.newest: Optional[Snapshot] = None
        """The last snapshot; None before the first."""
        self._directory = directory
        self._manifest = manifest
        self._tasks = sorted(set(tasks))
        self._databases: dict[int, tuple[Database, tuple[str, int]]] = {}
        """Each with the files that its primary wrote to when it was opened."""
        self._stands: dict[int, _Stand] = {}
        self._opened = 0
        self._scratches: dict[int, Path] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="headway-views-")

    def advance(self) -> Generator[None, None, Optional[Snapshot]]:
        """Make a snapshot of the newest epoch, or return the last one where there is no newer.

        Pauses between the groups, so that others have their turn. None where there is no cut of this generation, or
        none could be reached: a run commits faster than this process reads, or has written no cut since it started.
        Raises `StateError` for what cannot be read.
        """
        for _ in range(_TRIES):
            cut = Cut.load(self._directory)
            if cut is None or cut.generation != self._manifest.generation:
                return None
            if self.newest is not None and self.newest.cut.epoch == cut.epoch:
                self.newest.cut = cut  # It was touched.
                return self.newest
            if (yield from self._reach(cut)):
                parts = [self._part(group, cut) for group in range(self._manifest.key_groups)]
                self.newest = Snapshot(cut, parts)
                return self.newest
        return None

    def snapshot(self) -> Optional[Snapshot]:
        """As `advance`, at once."""
        steps = self.advance()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Optional[Snapshot] = end.value
                return found

    def close(self) -> None:
        """Let everything go. Snapshots that somebody still holds stay as they are."""
        self.newest = None
        self._stands.clear()
        self._databases.clear()
        self._scratch.cleanup()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reach(self, cut: Cut) -> Generator[None, None, bool]:
        """Whether each group has the version that the cut names."""
        for group in range(self._manifest.key_groups):
            wanted = self._wanted(cut, group)
            stand = self._stands.get(group)
            if stand is not None and _has(stand, wanted):
                continue
            found = self._catch_up(group, wanted)
            if not (any(wanted.values()) if found is None else not _has(found, wanted)):
                yield
                continue
            return False
        return True

    def _wanted(self, cut: Cut, group: int) -> dict[int, int]:
        return {task: cut.versions[task][group] for task in self._tasks}

    def _part(self, group: int, cut: Cut) -> Optional[_Part]:
        stand = self._stands.get(group)
        return None if stand is None else _Part(stand, self._wanted(cut, group))

    def _catch_up(self, group: int, wanted: Mapping[int, int]) -> Optional[_Stand]:
        """The group as it is now; None while the run has not made it."""
        for attempt in range(_REOPENED_MAX + 1):
            try:
                database = self._current(group)
                if database is None:
                    return None
                stand = self._stands[group] = self._look(database, wanted)
                return stand
            except StateError:
                # A file that the run has deleted while its name was being read: what is opened anew knows better.
                self._databases.pop(group, None)
                if attempt == _REOPENED_MAX:
                    raise
        return None

    def _current(self, group: int) -> Optional[Database]:
        """The database of a group as it is now: caught up, or opened anew where it must be."""
        known = self._databases.get(group)
        if known is not None:
            database, mark = known
            database.catch_up()
            if logs_mark(self._directory, group) == mark:
                return database
        if not (group_path(self._directory, group) / "CURRENT").exists():
            return None
        while True:
            mark = logs_mark(self._directory, group)
            database = self._open(group)
            if logs_mark(self._directory, group) == mark:
                self._databases[group] = database, mark
                return database

    def _open(self, group: int) -> Database:
        """A new secondary. What the one before had written for itself is removed; it need not be closed for that."""
        former = self._scratches.pop(group, None)
        if former is not None:
            shutil.rmtree(former)
        self._opened += 1
        scratch = self._scratches[group] = Path(self._scratch.name) / f"{group:03d}-{self._opened}"
        return Database(self._directory, group, StoreOptions(), secondary_path=scratch, with_pending=True)

    def _look(self, database: Database, wanted: Mapping[int, int]) -> _Stand:
        controls = {}
        for task in self._tasks:
            key = task_prefix(self._manifest.generation, task)
            payload = database.get(CONTROL, key)
            if payload is not None:
                try:
                    controls[task] = Control.decode(payload)
                except msgspec.DecodeError as error:
                    raise database.corrupt(CONTROL, key, f"not a control record ({error})") from error
        stand = _Stand(database, controls)
        for task, version in wanted.items():
            if version == stand.version(task) + 1:
                delta = self._pending(database, task, version)
                if delta is not None:
                    stand.pending[task] = delta
        return stand

    def _pending(self, database: Database, task: int, version: int) -> Optional[Delta]:
        prefix = task_prefix(self._manifest.generation, task)
        start, end = chunk_key(prefix, version, 0), chunk_key(prefix, version + 1, 0)
        found = list(database.scan(PENDING, start, end))
        if not found:
            return None
        try:
            return Delta.decode([database.unwrap(PENDING, key, value) for key, value in found])
        except msgspec.DecodeError as error:
            raise database.corrupt(PENDING, found[0][0], f"not a pending delta ({error})") from error


def _has(stand: _Stand, wanted: Mapping[int, int]) -> bool:
    """Whether a group has these versions of its tasks: promoted, or as the pending delta."""
    for task, version in wanted.items():
        behind = version - stand.version(task)
        if behind and not (behind == 1 and task in stand.pending):
            return False
    return True
