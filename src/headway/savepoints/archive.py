"""A savepoint as one file, to be carried elsewhere: a tar archive that begins with `savepoint.json`.

What comes from elsewhere is not believed. `savepoint.json` says which files there must be, how large they are and what
their checksums are; an archive that has others, a link, a path that leads out of the folder, too little or too much is
refused, and so is one that was cut. All of it is read into a draft and checked before it gets a name. Whatever is
written is checked on its way, so each file is read once. The files are compressed already, so the archive is not.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, Optional

import msgspec
from typing_extensions import override

from headway.basics.syncing import sync_directory
from headway.errors import CorruptStateError, UsageError
from headway.savepoints.shelf import Shelf, check_name
from headway.state.copies import sync_tree
from headway.state.files import state_files
from headway.state.private import make_private, open_private
from headway.state.savepoint import SAVEPOINT_NAME, SavepointInfo, check_sizes, check_sum, decode_info

__all__ = ["export_savepoint", "import_savepoint"]

_INFO_BYTES_MOST: Final = 256 << 20
_MODE: Final = 0o600
_CHUNK_BYTES: Final = 1 << 20
_WAIT_S: Final = 60.0


def export_savepoint(savepoint: Path, archive: Path) -> SavepointInfo:
    """Write a savepoint to a new file of mode 0600, checking it meanwhile. Reads it once.

    Raises `UsageError` when there is a file already, `CorruptStateError` for a damaged savepoint, and `StateError` when
    the disk or the rights do not let it. Whoever is killed leaves no file of that name.
    """
    info = check_sizes(savepoint)
    if archive.exists():
        msg = f"{archive} is there already: give another name, or remove it"
        raise UsageError(msg)
    partial = archive.with_name(archive.name + ".tmp")
    with state_files(archive, "write"):
        partial.unlink(missing_ok=True)  # A killed process has left it.
        try:
            with os.fdopen(open_private(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                _write(savepoint, info, file)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(archive)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(archive.absolute().parent)
    return info


def _write(savepoint: Path, info: SavepointInfo, file: BinaryIO) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        data = info.encoded()
        tar.addfile(_member(SAVEPOINT_NAME, len(data), info), io.BytesIO(data))
        for name, entry in sorted(info.files.items()):
            with os.fdopen(open_private(savepoint / name, os.O_RDONLY), "rb") as content:
                summing = _Summing(content)
                tar.addfile(_member(name, entry.size, info), summing)
            check_sum(savepoint / name, entry, summing.sum)


class _Summing(io.RawIOBase):
    """What is read of a file, with its checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = sha256()

    @override
    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    @property
    def sum(self) -> str:
        """Of what has been read so far."""
        return self._digest.hexdigest()


def _member(name: str, size: int, info: SavepointInfo) -> tarfile.TarInfo:
    """Nothing of this machine: two archives of one savepoint are the same."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, _MODE, info.made_ms // 1_000
    return member


def import_savepoint(archive: Path, directory: Path, name: Optional[str] = None) -> SavepointInfo:
    """Put the savepoint of an archive among those of a state directory, under its name or another one.

    Raises `CorruptStateError` that says what is wrong with the archive, `UsageError` where the name is taken.
    """
    with _reading(archive) as tar:
        info = _info_of(tar, archive)
        name = info.name if name is None else name
        check_name(name)
        shelf = Shelf(directory)
        shelf.check_free(name)
        with shelf.held(time.monotonic() + _WAIT_S), shelf.draft() as draft:
            with state_files(draft, "write"):
                _unpack(tar, info, archive, draft)
                sync_tree(draft)
            info = msgspec.structs.replace(info, name=name)
            shelf.place(draft, info)
    return info


@contextmanager
def _reading(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with state_files(archive, "read"), tarfile.open(archive, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise _damaged(archive, f"cannot be read: {error}") from error


def _info_of(tar: tarfile.TarFile, archive: Path) -> SavepointInfo:
    first = tar.next()
    if first is None or first.name != SAVEPOINT_NAME or not first.isreg() or first.size > _INFO_BYTES_MOST:
        raise _damaged(archive, f"does not begin with a {SAVEPOINT_NAME}: it is no savepoint")
    content = tar.extractfile(first)
    assert content is not None
    data = content.read()
    if len(data) != first.size:
        raise _damaged(archive, f"was cut within {SAVEPOINT_NAME}")
    return decode_info(data, archive / SAVEPOINT_NAME)


def _unpack(tar: tarfile.TarFile, info: SavepointInfo, archive: Path, draft: Path) -> None:
    found: set[str] = set()
    while (member := tar.next()) is not None:
        entry = info.files.get(member.name)
        parts = PurePosixPath(member.name).parts
        if entry is None or ".." in parts or PurePosixPath(member.name).is_absolute() or not member.isreg():
            raise _damaged(archive, f"has {member.name!r:.200}, which does not belong to it")
        if member.name in found or member.size != entry.size:
            raise _damaged(archive, f"has {member.name!r:.200} twice, or not of {entry.size:,} bytes")
        found.add(member.name)
        content = tar.extractfile(member)
        assert content is not None
        summing = _Summing(content)
        target = draft / member.name
        for parent in reversed(target.relative_to(draft).parents[:-1]):
            make_private(draft / parent)
        with os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            while data := summing.read(_CHUNK_BYTES):
                file.write(data)
        if summing.sum != entry.sha256:
            raise _damaged(archive, f"has {member.name!r:.200} otherwise than it was written: its checksum differs")
    missing = sorted(set(info.files) - found)
    if missing:
        raise _damaged(archive, f"lacks {missing[0]!r}")


def _damaged(archive: Path, how: str) -> CorruptStateError:
    return CorruptStateError(f"{archive} {how}; nothing of it was placed: export the savepoint anew")
