"""The form of a savepoint: a folder with a flow's state at one committed epoch, and `savepoint.json`, written last.

**What is in it.** It is laid out as a state directory is: `flow.json`, `positions.json`, `groups/NNN`, and what lies
beside them (`inbox`, `dead-letters`, `redrive`, `histories`). It is *settled*: nothing is pending in a group, and where
everything stands is written down, so that nothing of the engine's log is needed (`headway.state.evolve`). So whoever
reads a state directory can read a savepoint.

**What says that it is whole.** `savepoint.json` names every other file with its size and SHA-256, and has a checksum of
its own. It is the last file to be written, and then the folder gets its name: what has a name is whole. Before anything
of a savepoint is opened, all of it is compared with that list: a file that is missing, cut, changed, from another
savepoint, or not in the list is refused by its name.

RocksDB's own checksums say that a block is what was written, and not that it belongs to this moment: a file of another
savepoint would pass. CRC-32 would do for damage, but a copy that comes from elsewhere should be known for what it is;
SHA-256 takes about as long, a gigabyte a second where the processor knows it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from headway.errors import CorruptStateError, StateError
from headway.state.copies import FOREVER
from headway.state.files import state_files
from headway.state.private import open_private, read_private, write_private
from headway.state.seal import seal_json, unseal_json

__all__ = [
    "SAVEPOINT_NAME",
    "FileEntry",
    "Known",
    "SavepointInfo",
    "SumsAhead",
    "check_savepoint",
    "check_sizes",
    "check_sum",
    "decode_info",
    "known_files",
    "list_files",
]

SAVEPOINT_NAME: Final = "savepoint.json"
_FORMAT: Final = 1
_CHUNK_BYTES: Final = 1 << 20
_READERS: Final = 2
"""Threads that read files: most of the time goes into checksums, beside which others can run."""
_OTHER: Final = "take another savepoint"


class FileEntry(msgspec.Struct, frozen=True, array_like=True):
    """What a file must be."""

    size: int
    """In bytes."""
    sha256: str


class SavepointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a savepoint says of itself: `savepoint.json`."""

    name: str
    flow: str
    made_ms: int
    """When, in epoch milliseconds."""
    origin: str
    """The state directory that it was made of, as an absolute path."""
    by: str
    """The version of Headway that made it."""
    automatic: bool = False
    """Whether a run or a command has made it by itself, and not a person."""
    running: bool = False
    """Whether the flow was running."""
    generation: int
    key_groups: int
    versions: list[tuple[int, int, int]]
    """Task, key group, and the version that it has there."""
    events: int = 0
    """Records that had been read."""
    rows: int = 0
    timers: int = 0
    waiting: int = 0
    """Records that wait for time to go on, without those that wait in memory."""
    written: list[str] = []
    """Outputs that have written something, and stand where the state does: without the dead letters' own."""
    files: dict[str, FileEntry] = {}
    """All other files, by their path in the savepoint."""
    format: int = _FORMAT
    checksum: str = ""
    """In the file: of all the rest."""

    @property
    def size_bytes(self) -> int:
        """All files together, also those that are hard links."""
        return sum(entry.size for entry in self.files.values())

    def versions_by_task(self) -> dict[tuple[int, int], int]:
        """The versions, by task and key group."""
        return {(task, group): version for task, group, version in self.versions}

    def encoded(self) -> bytes:
        """The file."""
        return msgspec.json.format(seal_json(self), indent=2) + b"\n"

    def store(self, folder: Path) -> None:
        """Write it, durably: from now on the folder is a savepoint."""
        with state_files(folder, "write"):
            write_private(folder / SAVEPOINT_NAME, self.encoded(), sync=True)

    @classmethod
    def load(cls, folder: Path) -> SavepointInfo:
        """What a folder says of itself; of the other files nothing is looked at.

        Raises `CorruptStateError` when it is damaged or missing, `IncompatibleStateError` for another format.
        """
        path = folder / SAVEPOINT_NAME
        with state_files(path, "read"):
            try:
                data = read_private(path)
            except (FileNotFoundError, NotADirectoryError):
                msg = f"{folder} is no savepoint: it has no {SAVEPOINT_NAME}; check the path, or {_OTHER}"
                raise CorruptStateError(msg) from None
        return decode_info(data, path)


def decode_info(data: bytes, path: Path) -> SavepointInfo:
    """What was `encoded`; `path` is for messages. Raises as `SavepointInfo.load` does."""
    return unseal_json(data, SavepointInfo, _FORMAT, str(path), _OTHER)


def check_savepoint(folder: Path) -> SavepointInfo:
    """Make sure that a savepoint is whole and its own; reads all of it, about a gigabyte a second.

    Raises `CorruptStateError` that names the file for whatever is not as it was made.
    """
    info = check_sizes(folder)
    with state_files(folder, "read"), ThreadPoolExecutor(_READERS) as readers:
        for name, found in zip(info.files, readers.map(_sum_of, (folder / name for name in info.files))):
            check_sum(folder / name, info.files[name], found)
    return info


def check_sum(path: Path, entry: FileEntry, found: str) -> None:
    """Raise `CorruptStateError` when the checksum that was found of a file is not the one it must have."""
    if found != entry.sha256:
        raise _damaged(path, "is not what was written: its checksum differs")


def check_sizes(folder: Path) -> SavepointInfo:
    """As `check_savepoint`, without reading: that all files are there with the right sizes, and no others."""
    info = SavepointInfo.load(folder)
    if info.name != folder.name:
        msg = (
            f"{folder / SAVEPOINT_NAME} is that of the savepoint {info.name!r}, expected {folder.name!r}: it was moved "
            f"there from elsewhere; {_OTHER}"
        )
        raise CorruptStateError(msg)
    expected = info.files
    with state_files(folder, "read"):
        found = {name for name, _ in _files_in(folder) if name != SAVEPOINT_NAME}
        for name in sorted({*expected, *found}):
            path = folder / name
            if name not in found:
                raise _damaged(path, "is missing")
            if name not in expected:
                raise _damaged(path, "does not belong to it")
            size = os.stat(path, follow_symlinks=False).st_size
            if size != expected[name].size:
                raise _damaged(path, f"has {size:,} bytes, expected {expected[name].size:,}")
    return info


Known = dict[tuple[int, int, int, int], FileEntry]
"""What files are, by device, inode, size and the time of the last write: an inode may have become another file's."""


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def known_files(folder: Path) -> Known:
    """The large files of a savepoint, which never change: another one that has them too need not read them."""
    info = SavepointInfo.load(folder)
    known = {}
    with state_files(folder, "read"):
        for name, entry in info.files.items():
            if name.endswith(FOREVER):
                with suppress(FileNotFoundError):
                    known[_identity(os.stat(folder / name, follow_symlinks=False))] = entry
    return known


class SumsAhead:
    """Reads the large files of a state directory that is in use, in a thread, as long as its block lasts.

    What a savepoint will have is mostly there before the end of its epoch has come. `known` is what need not be read.
    """

    def __init__(self, directory: Path, known: Known) -> None:
        self._directory = directory
        self._known = known
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="headway-checksums", daemon=True)

    def known(self) -> Known:
        """What files are, as far as has been read; the rest is left to whoever asks."""
        self._ended.set()
        self._thread.join()
        return self._known

    def __enter__(self) -> SumsAhead:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.known()

    def _read(self) -> None:
        paths: list[Path] = []
        with suppress(OSError):
            paths = sorted(self._directory.glob(f"groups/*/*{FOREVER}"))
        for path in paths:
            if self._ended.is_set():
                return
            # Files go while they are read; what else is wrong with one is said by whoever has to read it.
            with suppress(OSError, StateError):
                before = os.stat(path, follow_symlinks=False)
                if _identity(before) not in self._known:
                    found = _sum_of(path)
                    if _identity(os.stat(path, follow_symlinks=False)) == _identity(before):
                        self._known[_identity(before)] = FileEntry(before.st_size, found)


def list_files(folder: Path, known: Known | None = None) -> dict[str, FileEntry]:
    """All files of a folder as they are. They have reached the disk on return, and so have their names.

    Of those that are `known` the checksum is taken from there: what has happened to them since is found out.
    """

    def entry_of(path: Path) -> FileEntry:
        status = os.stat(path, follow_symlinks=False)
        entry = (known or {}).get(_identity(status))
        return entry or FileEntry(status.st_size, _sum_of(path, sync=True))

    with state_files(folder, "read"):
        found = dict(_files_in(folder))
        with ThreadPoolExecutor(_READERS) as readers:
            listed = dict(zip(found, readers.map(entry_of, found.values())))
        for place in {folder, *(path.parent for path in found.values())}:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    return listed


def _files_in(folder: Path, below: str = "") -> Iterator[tuple[str, Path]]:
    """The files of a folder and its folders, by their path in it; a link counts as a file, and is opened as none."""
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_in(Path(entry.path), f"{below}{entry.name}/")
        else:
            yield f"{below}{entry.name}", Path(entry.path)


def _sum_of(path: Path, *, sync: bool = False) -> str:
    digest = sha256()
    descriptor = open_private(path, os.O_RDONLY)
    try:
        while data := os.read(descriptor, _CHUNK_BYTES):
            digest.update(data)
        if sync and os.fstat(descriptor).st_nlink == 1:  # What has two names was made durable under the first.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _damaged(path: Path, how: str) -> CorruptStateError:
    return CorruptStateError(f"{path} {how}: the savepoint is damaged and nothing of it was opened; {_OTHER}")
