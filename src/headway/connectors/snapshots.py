"""Snapshots of tables: files of the state directory, made once, complete or not there at all, and never changed.

A table cannot be read again as it was. So all of its rows are written down, as lines of JSON, before any of them is
used; from then on they are a log like others, read by position. A second snapshot would be another log under the same
positions: so the first one that is complete counts, for all processes and all later runs.

A snapshot is two files in the folder of histories, which savepoints and backups keep: its rows, and what is known of
them. They are written elsewhere and get their names when they have reached the disk, the rows first. So a run that is
killed leaves a draft, or rows that nothing speaks of, which the next one removes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, Optional

import msgspec

from headway.basics.crashpoints import reached, synced
from headway.basics.syncing import sync_directory
from headway.errors import InputError

__all__ = ["Draft", "Snapshot", "Snapshots"]

_KEPT: Final = "histories"
"""Of a state directory; savepoints keep it."""
_DRAFTS: Final = "snapshots"
"""Of a state directory; only what is being made."""
_BUFFER_BYTES: Final = 1 << 20
_ALL_BACK: Final = "restore the whole state directory from one backup, or start with a new one"


class Snapshot(msgspec.Struct, frozen=True):
    """What is known of a snapshot whose rows are all there."""

    id: str
    """Its name, of which no other one has ever the same."""
    input: str
    rows: int
    bytes: int
    checksum: int
    about: dict[str, str]
    """What its maker has to know: of which table it is, and where what has changed since begins."""


class Draft:
    """The rows of a snapshot that is being made. Its methods raise `InputError` where they cannot be written."""

    def __init__(self, described: str, path: Path) -> None:
        self.path = path
        self.rows = self.bytes = self.checksum = 0
        self._described = described
        with self._writing():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _new(path)

    def add(self, rows: Sequence[bytes]) -> None:
        """Add rows, each JSON without a line end."""
        lines = b"\n".join((*rows, b""))
        with self._writing():
            self._file.write(lines)
        self.rows += len(rows)
        self.bytes += len(lines)
        self.checksum = zlib.crc32(lines, self.checksum)

    def finish(self) -> None:
        """Let all of it reach the disk."""
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        synced(self.path)

    def discard(self) -> None:
        """Remove the file, or this name of it."""
        with suppress(OSError):  # What it holds counts no more, and the next run removes what is left.
            self._file.close()
        with suppress(OSError):
            self.path.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"a snapshot of {self._described} cannot be written to {self.path}: {error.strerror}; free some space"
            raise InputError(msg) from error


class Snapshots:
    """The snapshot of one input, in a state directory; without one in a folder that lasts as long as this does.

    `described` tells the input from others of the flow.
    """

    def __init__(self, described: str, directory: Optional[Path]) -> None:
        self._described = described
        self._passing = Path(tempfile.mkdtemp(prefix="headway-")) if directory is None else None
        self._directory = directory or self._passing or Path()
        self._stem = blake2b(described.encode(), digest_size=8).hexdigest()

    def find(self) -> Optional[Snapshot]:
        """The snapshot, if it has been made. Raises `InputError` where that cannot be told."""
        path = self._known_at
        try:
            return msgspec.json.decode(path.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            msg = f"{path}, which says what is in a snapshot of {self._described}, cannot be read: {error}; {_ALL_BACK}"
            raise InputError(msg) from error

    def named(self, name: str) -> Snapshot:
        """The snapshot of this name. Raises `InputError` where it is not there any more."""
        found = self.find()
        if found is None or found.id != name:
            msg = (
                f"the snapshot of {self._described} in which the flow stands, {name}, is lost: "
                f"{self._directory / _KEPT} has {'none' if found is None else f'{found.id} in its place'}; {_ALL_BACK}"
            )
            raise InputError(msg)
        return found

    def rows_of(self, snapshot: Snapshot) -> str:
        """The path of its rows."""
        return str(self._directory / _KEPT / f"{self._stem}.{snapshot.id}.jsonl")

    def check(self, snapshot: Snapshot) -> None:
        """Read all rows once. Raises `InputError` where they are not those that were written down."""
        path = self.rows_of(snapshot)
        size = checksum = 0
        try:
            with open(path, "rb") as file:
                while data := file.read(_BUFFER_BYTES):
                    size += len(data)
                    checksum = zlib.crc32(data, checksum)
        except OSError as error:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error.strerror
            msg = f"{path}, a snapshot of {self._described}, cannot be read: {why}; {_ALL_BACK}"
            raise InputError(msg) from error
        if (size, checksum) != (snapshot.bytes, snapshot.checksum):
            msg = (
                f"{path}, a snapshot of {self._described}, is damaged: expected {snapshot.bytes:,} bytes with the "
                f"checksum {snapshot.checksum:08x}, found {size:,} with {checksum:08x}; {_ALL_BACK}"
            )
            raise InputError(msg)

    def draft(self) -> Draft:
        """A new file for rows."""
        return Draft(self._described, self._directory / _DRAFTS / f"{self._stem}.{uuid.uuid4().hex}")

    def keep(self, draft: Draft, about: dict[str, str]) -> Snapshot:
        """Give a draft, which is complete, its name, unless there is a snapshot already; returns the one that counts.

        Raises `InputError` where it cannot be made durable.
        """
        name = uuid.uuid4().hex[:12]
        made = Snapshot(name, self._described, draft.rows, draft.bytes, draft.checksum, about)
        draft.finish()
        known = draft.path.with_suffix(".json")
        kept = self._directory / _KEPT
        rows = Path(self.rows_of(made))
        reached("snapshot.before")
        try:
            kept.mkdir(mode=0o700, exist_ok=True)
            with _new(known) as file:
                file.write(msgspec.json.encode(made))
                file.flush()
                os.fsync(file.fileno())
            os.link(draft.path, rows)
            sync_directory(kept)  # Nothing may speak of rows that are not there.
            try:
                os.link(known, self._known_at)
            except FileExistsError:  # Another process was faster.
                rows.unlink()
            known.unlink()
            sync_directory(kept)
        except OSError as error:
            msg = f"a snapshot of {self._described} cannot be kept in {kept}: {error.strerror}; free some space"
            raise InputError(msg) from error
        reached("snapshot.after")
        found = self.find()
        assert found is not None
        return found

    def clean(self) -> None:
        """Remove what runs that were killed have left. Called while no process makes a snapshot."""
        shutil.rmtree(self._directory / _DRAFTS, ignore_errors=True)
        found = self.find()
        for path in (self._directory / _KEPT).glob(f"{self._stem}.*.jsonl"):
            if found is None or path != Path(self.rows_of(found)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is kept in no state directory."""
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)

    @property
    def _known_at(self) -> Path:
        return self._directory / _KEPT / f"{self._stem}.snapshot.json"


def _new(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb", _BUFFER_BYTES)
