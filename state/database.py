"""One key group's RocksDB: column families, atomic writes, and errors that say where.

All of rocksdict's own behaviour ends here: its exceptions, and that a database is only closed once no iterator
and no column family handle is alive: iterators do not outlive a call, and handles stay in this module.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from rocksdict import (
    AccessType,
    Checkpoint,
    ColumnFamily,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from headway.basics.crashpoints import reached, syncing
from headway.errors import CorruptStateError, LockedStateError, StateError
from headway.state.files import RESTORE, next_step, state_files
from headway.state.framing import endless_record
from headway.state.linking import link_open
from headway.state.options import StoreOptions
from headway.state.private import make_private
from headway.state.tuning import CONTROL, DELIVERIES, OUTBOX, PENDING, ROWS, TIMERS, WAITING, tuned

__all__ = [
    "CONTROL",
    "DELIVERIES",
    "OUTBOX",
    "PENDING",
    "ROWS",
    "TIMERS",
    "VERSION_BYTE",
    "WAITING",
    "Batch",
    "Database",
    "Writer",
    "group_path",
    "logs_mark",
]

VERSION_BYTE: Final = b"\x01"
"""The first byte of each stored value: the version of its format."""

_WRITER_PAIRS: Final = 2_000
_LINKING_TRIES: Final = 20

_HINTS: Final = {
    "open": "check that it is a Headway state directory and readable, then start again",
    "read": "check the disk and the rights, then start again",
    "write to": "check the disk's space and the rights, then start again",
    "copy": "check the disk's space and the rights, and that the file system has hard links, then try again",
    "close": "check the disk's space and the rights, then start again: what was made durable is kept",
}


def group_path(directory: Path, group: int) -> Path:
    """Where the database of `group` lies in a state directory.

    >>> group_path(Path("state"), 7).as_posix()
    'state/groups/007'
    """
    return directory / "groups" / f"{group:03d}"


def logs_mark(directory: Path, group: int) -> tuple[str, int]:
    """Which files the primary of a group writes to: its manifest, and the number of its last log. Lists a directory.

    A secondary may catch up only while they are the same as before it was opened. When the primary flushes, it begins
    another log, and a secondary that has read the old one in part keeps what it has read of it in front of the newer
    files, and goes on answering with that. So where the primary has another log, a secondary is to be opened anew.
    """
    path = group_path(directory, group)
    with state_files(path, "read"):
        numbers = [int(name[:-4]) for name in os.listdir(path) if name.endswith(".log")]
        return (path / "CURRENT").read_text().strip(), max(numbers, default=0)


class Batch:
    """Writes that become durable together or not at all."""

    def __init__(self, handles: dict[str, ColumnFamily | None]) -> None:
        self.raw = WriteBatch(raw_mode=True)
        self._handles = handles

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Store `value` under `key`."""
        self.raw.put(key, value, self._handles[family])

    def delete(self, family: str, key: bytes) -> None:
        """Remove `key`, which need not exist."""
        self.raw.delete(key, self._handles[family])

    def apply(self, family: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Store each value, removing the keys whose value is None."""
        put, delete, handle = self.raw.put, self.raw.delete, self._handles[family]
        for key, value in changes.items():
            if value is None:
                delete(key, handle)
            else:
                put(key, value, handle)


class Database:
    """The open RocksDB of one key group.

    Opening does not depend on how much is stored: log replay is bounded by some 2 MiB, files are opened
    when needed. Without `compacts` no file is written anew in the background: for what is open for a moment only.
    Raises `LockedStateError` when it is open already, `CorruptStateError` for a damaged log, `StateError` when RocksDB
    refuses for another reason.
    """

    def __init__(
        self,
        directory: Path,
        group: int,
        options: StoreOptions,
        *,
        secondary_path: Path | None = None,
        with_pending: bool = False,
        compacts: bool = True,
    ) -> None:
        self.directory = directory
        self.group = group
        self.path = group_path(directory, group)
        self._db: Rdict | None = None
        families: tuple[str, ...] = (ROWS, TIMERS, WAITING, OUTBOX, DELIVERIES, PENDING)
        if secondary_path:
            families = (ROWS, PENDING) if with_pending else (ROWS, TIMERS, WAITING, *self._if_there(DELIVERIES))
        access = AccessType.secondary(str(secondary_path)) if secondary_path else AccessType.read_write()
        # A secondary keeps all files open: what the primary deletes meanwhile could not be opened again.
        open_files_max = -1 if secondary_path else options.open_files
        if secondary_path is None:
            with state_files(self.path.parent, "make"):
                make_private(self.path.parent)
        self._check_framing()
        try:
            self._db = Rdict(
                str(self.path),
                tuned(CONTROL, options, open_files_max, compacts=compacts),
                column_families={
                    family: tuned(family, options, open_files_max, compacts=compacts) for family in families
                },
                access_type=access,
            )
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "open") from error
        # It never changes: the outbox's dispatcher writes from a thread of its own.
        self._write_options = WriteOptions()
        self._syncing = Lock()
        self._is_synced = True
        self._families = {CONTROL: self._db} | {name: self._db.get_column_family(name) for name in families}
        self._handles: dict[str, ColumnFamily | None] = {CONTROL: None} | {
            name: self._db.get_column_family_handle(name) for name in families
        }

    def has(self, family: str) -> bool:
        """Whether there is such a family: a secondary makes none."""
        return family in self._families

    def family(self, name: str) -> Rdict:
        """The column family itself, for reading single keys; it is closed with the database."""
        return self._families[name]

    def _check_framing(self) -> None:
        with state_files(self.path, "open"):
            found = endless_record(self.path)
        if found is not None:
            name, at = found
            what = f"{name} is damaged at byte {at:,}"
            raise self._corrupt(what)

    def _if_there(self, family: str) -> list[str]:
        """A family that a database has only once a run has opened it that knows of it."""
        try:
            return [family] if family in Rdict.list_cf(str(self.path), Options(raw_mode=True)) else []
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "open") from error

    def get(self, family: str, key: bytes) -> bytes | None:
        """The value of `key` without its version byte; None where there is none.

        Raises `CorruptStateError` when the version byte is not the known one, `StateError` when the disk refuses.
        """
        value: bytes | None
        try:
            value = self._families[family].get(key)
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "read") from error
        return None if value is None else self.unwrap(family, key, value)

    def unwrap(self, family: str, key: bytes, value: bytes) -> bytes:
        """`value` without its version byte; raises `CorruptStateError` when that is not the known one."""
        if value[:1] != VERSION_BYTE:
            found = f"version byte {value[:1].hex()}" if value else "an empty value"
            raise self.corrupt(family, key, f"found {found}, expected {VERSION_BYTE.hex()}")
        return value[1:]

    def scan(self, family: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of key and raw value with `start <= key < end`, in order, read as they are asked for.

        Raises `StateError`, `CorruptStateError` among them, where the next pair cannot be read.
        """
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(end)
        # rocksdict's own iteration takes a block that cannot be read for the end; a cursor tells the two apart.
        cursor = self._families[family].iter(bounds)
        cursor.seek(start)
        while cursor.valid():
            yield cursor.key(), cursor.value()
            cursor.next()
        self.check_end(cursor)

    def last_key(self, family: str, start: bytes, end: bytes) -> bytes | None:
        """The greatest key with `start <= key < end`; raises as `scan` does."""
        cursor = self._families[family].iter()
        cursor.seek_for_prev(end)
        if cursor.valid() and cursor.key() == end:
            cursor.prev()
        if not cursor.valid():
            self.check_end(cursor)
            return None
        key: bytes = cursor.key()
        return key if key >= start else None

    def check_end(self, cursor: RdictIter) -> None:
        """Raise `StateError` if a cursor that stands nowhere met something that cannot be read."""
        try:
            cursor.status()
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "read") from error

    def batch(self) -> Batch:
        """An empty batch for `write`; raises `StateError` when the database is closed."""
        if self._db is None:
            msg = f"the database {self.path} is closed: nothing can be written to it, open it again"
            raise StateError(msg)
        return Batch(self._handles)

    def write(self, batch: Batch, *, sync: bool) -> None:
        """Write all of `batch` or nothing; with `sync` it has reached the disk on return."""
        reached("database.before")
        try:
            self._families[CONTROL].write(batch.raw, self._write_options)
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "write to") from error
        self._is_synced = False
        if sync:
            self.sync()
        reached("database.after")

    def sync(self) -> None:
        """Return once all that was written has reached the disk; does nothing where it has.

        May be called by any thread. Who comes while another one is in it waits for that one.
        """
        with self._syncing:
            if self._is_synced:
                return
            # Before, and not after: what others write meanwhile may miss this sync, and says so itself.
            self._is_synced = True
            try:
                with syncing(self.path, "*.log"):
                    self._families[CONTROL].flush_wal(True)
            except Exception as error:  # rocksdict raises nothing more specific
                self._is_synced = False
                raise self.refusal(error, "write to") from error

    def catch_up(self) -> None:
        """As a secondary: see what the primary has written until now; raises `StateError` when it cannot be read."""
        try:
            self._families[CONTROL].try_catch_up_with_primary()
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "read") from error

    def checkpoint(self, path: Path) -> None:
        """Put all that has been written by now into a directory of its own, which must not exist; some milliseconds.

        Files that never change are hard links there, on the same file system; the others have not reached the disk on
        return. Writes that come meanwhile are in it or not, whole. Raises `StateError`.
        """
        with state_files(path, "copy"):
            for _ in range(_LINKING_TRIES):
                if link_open(self.path, path, self._living):
                    return
                shutil.rmtree(path)
        try:  # Files are written anew so fast that they never stand still: this one waits for the disk.
            Checkpoint(self._families[CONTROL]).create_checkpoint(str(path))
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "copy") from error

    def _living(self) -> list[str]:
        """The names of files of rows that are complete: those that counted a moment ago."""
        try:
            return [file["name"].lstrip("/") for file in self._families[CONTROL].live_files()]
        except Exception as error:  # rocksdict raises nothing more specific
            raise self.refusal(error, "copy") from error

    def corrupt(self, family: str, key: bytes, why: str) -> CorruptStateError:
        """The error for a stored value that cannot be read back."""
        return self._corrupt(f"column family {family!r}, key {key!r}: {why}")

    def refusal(self, error: Exception, action: str) -> StateError:
        """The error for what RocksDB refuses: to "open", "read", "write to", "copy" or "close" the database."""
        text = str(error)
        if "lock hold by" in text or "While lock file" in text:
            msg = f"key group {self.group:03d} of {self.directory} is open already ({text}): stop that run first"
            return LockedStateError(msg)
        if text.startswith("Corruption"):
            return self._corrupt(text)
        if "Too many open files" in text:
            msg = (
                f"cannot {action} {self.path}: this process may have no more open files ({text}): allow it more "
                "(ulimit -n), or spread the key groups over more workers"
            )
            return StateError(msg)
        msg = f"cannot {action} {self.path}: {text}; {next_step(text, _HINTS[action])}"
        return StateError(msg)

    def _corrupt(self, what: str) -> CorruptStateError:
        return CorruptStateError(f"corrupt state in {self.directory}, key group {self.group:03d}, {what}; {RESTORE}")

    def close(self) -> None:
        """Close; again does nothing.

        Raises `StateError` when something could not be written back, once all is closed that can be. What was
        written before is in the log all the same, and the next open reads it from there.
        """
        if self._db is None:
            return
        database, self._db = self._db, None
        self._handles.clear()
        del self._families[CONTROL]
        refused: list[Exception] = []
        for one in (*self._families.values(), database):
            try:
                one.close()
            except Exception as error:  # rocksdict raises nothing more specific
                refused.append(error)
        if refused:
            raise self.refusal(refused[0], "close") from refused[0]


class Writer:
    """Writes any number of pairs, some thousands at a time: for what need not become durable together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = database.batch()
        self._count = 0

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Store `value` under `key`, by the next `flush` at the latest."""
        self._batch.put(family, key, value)
        self._count += 1
        if self._count == _WRITER_PAIRS:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Write what has been put; with `sync` all that was ever written has reached the disk on return."""
        self._database.write(self._batch, sync=sync)
        self._batch = self._database.batch()
        self._count = 0
