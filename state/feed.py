"""The feed of changes: what each epoch has changed in the rows that views show, for readers in other processes.

A reader could follow the database itself, as a RocksDB secondary. That replays the log of everything that the run
writes, twice each row, holds the interpreter meanwhile, and begins anew behind each flush. Here the run says what a
reader needs and no more: as an epoch's delta becomes pending, the rows in it that views show are appended to a file of
the key group. To move on by an epoch is to read these.

**What holds.** A feed is a help and nothing stands on it. It is not synced, and what is in it need not be committed: a
version of a task counts from when the cut names it (`headway.state.cut`). All of an epoch is in the feed before its cut
is written, and all of it stands before anything of the next epoch. A reader takes the versions of a task one after
the other; where the next one is missing or damaged, it turns to the database, and goes on from there.

**Runs.** After a crash a version may be made again, with other rows. So each run on a state directory has a number of
its own, which is drawn at its start, and is in its cuts and in the names of its files. A reader takes only files of the
run that wrote the cut; none of them has a version that was made twice.

**Bounds.** A file is ended once it has a megabyte, at the end of a version, and the one before it is then removed: that
is two files for each key group, 24 MiB for twelve of them, and as much as two epochs where that is more. A reader that
has a file open reads it to its end although it was removed; one that is further behind turns to the database.

What it costs the run: some 0.3 µs for each changed row. Most of what is written never reaches the disk,
for it is removed before the system writes it back.

**Rejected.** *A ring in shared memory*: a size must be chosen beforehand, and readers that are slow then read what is
being overwritten. *A socket to the server*: the run would wait for readers, or keep what they have not taken. *One file
for all key groups*: its writers, and the tasks of several workers, would have to take turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, Optional
from zlib import crc32

import msgspec

from headway.state.files import state_files
from headway.state.keys import ID_BYTES
from headway.state.private import make_private, open_private

__all__ = ["Fed", "FeedPart", "FeedReader", "FeedWriter", "forget_feeds"]

FEED_NAME: Final = "feed"
FILE_BYTES: Final = 1 << 20
PART_ROWS: Final = 4_096
"""Rows in one part: a reader takes one at a time, some milliseconds."""

_HEAD: Final = Struct("<IIIQI")
"""Of a part: a checksum of the rest of this and of the rows, the bytes of the rows, the task, its version, and how many
parts of the version are still to come."""
_UNCHECKED: Final = 4

Rows = Mapping[bytes, Optional[bytes]]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[bytes, Optional[bytes]]).decode


def forget_feeds(directory: Path) -> None:
    """Remove what runs that have ended have left. A reader that needs it reads the database."""
    place = directory / FEED_NAME
    with state_files(place, "write"):
        for path in place.glob("*-*-*"):
            path.unlink(missing_ok=True)


def _path(directory: Path, run: int, group: int, number: int) -> Path:
    return directory / FEED_NAME / f"{run:016x}-{group:03d}-{number}"


class Fed(NamedTuple):
    """What the feed is told of a task."""

    task: int
    prefixes: frozenset[bytes]
    """What the keys of rows and index entries begin with that views show."""
    is_whole: bool
    """Whether that is all that the task keeps."""


class FeedWriter:
    """Appends to the feed of one key group in one run. Raises `StateError` where the disk refuses."""

    def __init__(self, directory: Path, group: int, run: int) -> None:
        self._directory = directory
        self._group = group
        self._run = run
        self._number = 0
        self._size = 0
        self._file = -1

    def append(self, fed: Fed, version: int, rows: Rows) -> None:
        """Say what a version of a task has changed; also of one that has changed nothing."""
        if not fed.is_whole:
            prefixes = fed.prefixes
            rows = {key: value for key, value in rows.items() if key[:ID_BYTES] in prefixes}
        with state_files(self._directory / FEED_NAME, "write"):
            if self._file < 0 or self._size >= FILE_BYTES:
                self._begin()
            left = max(0, len(rows) - 1) // PART_ROWS
            pairs = iter(rows.items())
            for following in range(left, -1, -1):
                data = _encode(dict(islice(pairs, PART_ROWS)) if left else rows)
                rest = _HEAD.pack(0, len(data), fed.task, version, following)[_UNCHECKED:] + data
                self._write(crc32(rest).to_bytes(_UNCHECKED, "little") + rest)

    def close(self) -> None:
        """Close and remove the files: once the run has ended, readers find everything in the database."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            for number in (self._number - 1, self._number):
                _path(self._directory, self._run, self._group, number).unlink(missing_ok=True)

    def _begin(self) -> None:
        """Go on in another file, and remove the one before the last."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        else:
            make_private(self._directory / FEED_NAME)
        path = _path(self._directory, self._run, self._group, self._number + 1)
        self._file = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._number += 1
        self._size = 0
        _path(self._directory, self._run, self._group, self._number - 2).unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        done = os.write(self._file, data)
        while done < len(data):
            done += os.write(self._file, memoryview(data)[done:])


class FeedPart(NamedTuple):
    """A part of what a version has changed."""

    task: int
    version: int
    left: int
    """How many parts of this version are still to come."""
    rows: dict[bytes, Optional[bytes]]
    """Stored value by stored key, None where the key is to be removed."""
    size: int
    """Bytes of the rows, encoded."""


class FeedReader:
    """Reads the feed of one key group in one run from its oldest file on. What it cannot read it takes for missing."""

    def __init__(self, directory: Path, group: int, run: int) -> None:
        self._directory = directory
        self._group = group
        self._run = run
        self._number = 0
        self._offset = 0
        self._file = -1

    def take(self, reached: Mapping[int, int], wanted: Mapping[int, int]) -> Optional[FeedPart]:
        """The next part of what leads from the versions that are `reached` to those that are `wanted`, by task.

        None where there is none: what comes next is of no wanted version, or is not what follows. Parts of versions
        that are reached already are passed over.
        """
        while (head := self._head()) is not None:
            checksum, size, task, version, left = _HEAD.unpack(head)
            if task in wanted and version > reached.get(task, 0):
                if version > wanted[task] or version != reached.get(task, 0) + 1:
                    return None
                data = os.pread(self._file, size, self._offset + _HEAD.size)
                if len(data) < size or crc32(data, crc32(head[_UNCHECKED:])) != checksum:
                    return None
                try:
                    rows = _decode(data)
                except msgspec.DecodeError:
                    return None
                self._offset += _HEAD.size + size
                return FeedPart(task, version, left, rows, size)
            self._offset += _HEAD.size + size
        return None

    def close(self) -> None:
        """Let the file go; again does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _head(self) -> Optional[bytes]:
        """The head of the part that is next; None where there is none yet."""
        while True:
            head = b"" if self._file < 0 else os.pread(self._file, _HEAD.size, self._offset)
            if len(head) == _HEAD.size:
                return head
            following = self._following()
            if following is None:
                return None
            # Nothing is added to a file once there is another one; but it may have been since it was looked at.
            if self._file >= 0 and len(os.pread(self._file, _HEAD.size, self._offset)) == _HEAD.size:
                os.close(following)
                continue
            self.close()
            self._file, self._offset = following, 0
            self._number += 1

    def _following(self) -> Optional[int]:
        """The file behind this one, opened; at the beginning the oldest that there is."""
        for number in [self._number + 1] if self._file >= 0 else self._numbers():
            try:
                found = open_private(_path(self._directory, self._run, self._group, number), os.O_RDONLY)
            except FileNotFoundError:
                continue
            self._number = number - 1
            return found
        return None

    def _numbers(self) -> Iterator[int]:
        paths = (self._directory / FEED_NAME).glob(f"{self._run:016x}-{self._group:03d}-*")
        return iter(sorted(int(path.name.rpartition("-")[2]) for path in paths))
