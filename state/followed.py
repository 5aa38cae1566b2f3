"""One key group as a reader in another process follows it: a base from the database, and over it what came since.

The **base** is an iterator of a RocksDB secondary: it goes on seeing what there was when it was made, whatever the
database catches up with later, and keeps the files that it needs. Over it lie layers of what epochs have changed
(`headway.state.overlay`), which come from the feed (`headway.state.feed`). To have read a change twice does no harm: so
the base may stand anywhere between where the layers begin and where they end.

**Where the feed does not lead on**, the group turns to the database: it catches up, and finds there the version that is
wanted, or the pending delta that leads to it. That is so at the beginning, when a run has started, and for a reader
that has fallen behind. A secondary may catch up only as long as the run appends to the same log
(`headway.state.database.logs_mark`); behind a flush it is opened anew.

**Renewal.** Layers grow with the keys that are changed, and a base keeps files that the run would have let go of. So
now and then the layers are put aside, and others begin. Once the database stands where these begin, or later, a base is
made of it, and the ones that were put aside are gone: answers go on meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final, Optional

import msgspec
from rocksdict import RdictIter

from headway.errors import StateError
from headway.state.database import CONTROL, PENDING, ROWS, Database, group_path, logs_mark
from headway.state.feed import FeedReader
from headway.state.keys import task_prefix
from headway.state.options import StoreOptions
from headway.state.overlay import ROW_BYTES, Layer, Layers, Part, stacked
from headway.state.redo import Control, Delta
from headway.state.redolog import chunk_key

__all__ = ["FollowedGroup"]

_REOPENED_MAX: Final = 4

Versions = dict[int, int]
"""By task."""


class _Base:
    """The main rows of a group at one moment, and where its tasks stand there."""

    def __init__(self, database: Database, versions: Versions) -> None:
        self.database = database
        self.cursor: RdictIter = database.family(ROWS).iter()
        self.versions = versions


class FollowedGroup:
    """Follows the rows of some tasks in one key group, under one generation.

    `scratch` is a directory for what secondaries write for themselves.
    """

    def __init__(self, directory: Path, group: int, generation: int, tasks: Sequence[int], scratch: Path) -> None:
        self._directory = directory
        self._group = group
        self._generation = generation
        self._tasks = tasks
        self._scratch = scratch
        self._opened = 0
        self._database: Optional[tuple[Database, tuple[str, int]]] = None
        """With the files that its primary wrote to when it was opened."""
        self._base: Optional[_Base] = None
        self._layers: Layers = ()
        self._aside: Layers = ()
        """Below `_layers`, for as long as the base does not stand where those begin."""
        self._aside_to: Versions = {}
        """Up to which versions those lead that are put aside."""
        self._next_base: Optional[_Base] = None
        self._reached: Versions = {}
        self._run = 0
        self._feed: Optional[FeedReader] = None

    @property
    def size(self) -> int:
        """Bytes that the layers take."""
        return sum(layer.size for layer in (*self._layers, *self._aside))

    def part(self) -> Optional[Part]:
        """The group where it stands; None while the run has not made it."""
        base = self._base
        return None if base is None else Part(base.database, base.cursor, (*self._layers, *self._aside))

    def reach(self, wanted: Versions, run: int) -> Generator[None, None, bool]:
        """Go to the versions of a cut of a run; returns whether that could be done. Pauses between parts of the feed.

        Raises `StateError` for what cannot be read.
        """
        is_led = run == self._run
        if not is_led:
            self._drop_feed()
            self._run = run
        if is_led and self._has(wanted):
            return True
        if not (is_led and (yield from self._read_feed(wanted))) and not self._look(wanted):
            return False
        self._take_next_base()
        return True

    def renew(self) -> None:
        """Put the layers aside; or, if that was done before, look for a base that stands where others began."""
        if not self._aside:
            self._aside, self._layers, self._aside_to = self._layers, (), dict(self._reached)
        elif self._next_base is None:
            self._next_base = self._current()
            self._take_next_base()

    @property
    def is_renewing(self) -> bool:
        """Whether layers are put aside."""
        return bool(self._aside)

    def close(self) -> None:
        """Let everything go, but for what parts hold."""
        self._drop_feed()
        self._base = self._next_base = self._database = None
        self._layers = self._aside = ()

    def _has(self, versions: Versions) -> bool:
        return all(self._reached.get(task, 0) == version for task, version in versions.items())

    def _read_feed(self, wanted: Versions) -> Generator[None, None, bool]:
        """Whether the feed leads to these versions; nothing is changed where it does not."""
        if self._base is None or self._run == 0:
            return False
        if self._feed is None:
            self._feed = FeedReader(self._directory, self._group, self._run)
        reached = dict(self._reached)
        rows: dict[bytes, Optional[bytes]] = {}
        size = 0
        while any(reached.get(task, 0) != version for task, version in wanted.items()):
            part = self._feed.take(reached, wanted)
            if part is None:
                return False
            rows.update(part.rows)
            size += part.size + ROW_BYTES * len(part.rows)
            if part.left:
                yield
            else:
                reached[part.task] = part.version
        self._lay(rows, size)
        self._reached = reached
        return True

    def _lay(self, rows: Mapping[bytes, Optional[bytes]], size: int) -> None:
        if rows:
            self._layers = stacked(Layer(rows, size), self._layers)

    def _take_next_base(self) -> None:
        """Stand on the next base, unless it stands before the layers that would be left, or behind what is reached."""
        base = self._next_base
        if base is None:
            return
        if any(base.versions.get(task, 0) < version for task, version in self._aside_to.items()):
            self._next_base = None  # A later look finds more.
        elif all(version <= self._reached.get(task, 0) for task, version in base.versions.items()):
            self._base, self._next_base, self._aside = base, None, ()

    def _look(self, wanted: Versions) -> bool:
        """Read the database as it is now; returns whether it has the versions, promoted or as a pending delta."""
        self._drop_feed()
        base = self._current()
        if base is None:
            return not any(wanted.values())
        self._base, self._next_base = base, None
        self._layers = self._aside = ()
        self._reached = dict(base.versions)
        for task, version in wanted.items():
            if version == self._reached.get(task, 0) + 1:
                delta = self._pending(base.database, task, version)
                if delta is not None:
                    self._lay(delta.rows, sum(_size(*row) for row in delta.rows.items()))
                    self._reached[task] = version
        return self._has(wanted)

    def _drop_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _current(self) -> Optional[_Base]:
        """The database as it is now; None while the run has not made it."""
        for attempt in range(_REOPENED_MAX + 1):
            try:
                database = self._caught_up()
                return None if database is None else _Base(database, self._versions(database))
            except StateError:
                # A file that the run has deleted while its name was being read: what is opened anew knows better.
                self._database = None
                if attempt == _REOPENED_MAX:
                    raise
        return None

    def _caught_up(self) -> Optional[Database]:
        """The database of the group as it is now: caught up, or opened anew where it must be."""
        if self._database is not None:
            database, mark = self._database
            database.catch_up()
            if logs_mark(self._directory, self._group) == mark:
                return database
        if not (group_path(self._directory, self._group) / "CURRENT").exists():
            return None
        while True:
            mark = logs_mark(self._directory, self._group)
            database = self._open()
            if logs_mark(self._directory, self._group) == mark:
                self._database = database, mark
                return database

    def _open(self) -> Database:
        """A new secondary. What the one before had written for itself is removed; it need not be closed for that."""
        former = self._scratch / f"{self._group:03d}-{self._opened}"
        if former.exists():
            shutil.rmtree(former)
        self._opened += 1
        place = self._scratch / f"{self._group:03d}-{self._opened}"
        return Database(self._directory, self._group, StoreOptions(), secondary_path=place, with_pending=True)

    def _versions(self, database: Database) -> Versions:
        """Where the main rows of the tasks stand."""
        versions = {}
        for task in self._tasks:
            key = task_prefix(self._generation, task)
            payload = database.get(CONTROL, key)
            if payload is not None:
                try:
                    versions[task] = Control.decode(payload).version
                except msgspec.DecodeError as error:
                    raise database.corrupt(CONTROL, key, f"not a control record ({error})") from error
        return versions

    def _pending(self, database: Database, task: int, version: int) -> Optional[Delta]:
        prefix = task_prefix(self._generation, task)
        start, end = chunk_key(prefix, version, 0), chunk_key(prefix, version + 1, 0)
        found = list(database.scan(PENDING, start, end))
        if not found:
            return None
        try:
            return Delta.decode([database.unwrap(PENDING, key, value) for key, value in found])
        except msgspec.DecodeError as error:
            raise database.corrupt(PENDING, found[0][0], f"not a pending delta ({error})") from error


def _size(key: bytes, value: Optional[bytes]) -> int:
    return ROW_BYTES + len(key) + len(value or b"")
