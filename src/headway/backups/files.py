"""A folder as an object store: another disk, or one that other machines have too.

Each object is a file of mode 0600. It is written under another name, synced, and gets its own name then, so that all of
it is there or nothing, also after a loss of power. `create` uses a hard link: the file system makes one of two fail.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from headway.backups.store import StoreError
from headway.basics.syncing import sync_directory
from headway.state.private import make_private, open_private

__all__ = ["FileStore"]

_PARTIAL: Final = ".partial"
"""The folder of what is being written; no key begins so."""
_PARTIAL_LASTS_S: Final = 86_400.0
"""After which what a killed process has left there is removed."""
_CHUNK_BYTES: Final = 1 << 20


class FileStore:
    """Objects in a folder, which is made with the first of them; see `headway.backups.store.Store`."""

    def __init__(self, folder: Path) -> None:
        self.where = f"file:{folder}"
        self._folder = Path(os.path.abspath(folder))

    def read(self, key: str) -> bytes | None:
        """See `Store`."""
        path = self._path(key)
        with _told(path, "read"):
            try:
                with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, key: str) -> bool:
        """See `Store`."""
        path = self._path(key)
        with _told(path, "find"):
            return path.is_file()

    def create(self, key: str, data: bytes) -> bool:
        """See `Store`."""
        path = self._path(key)
        with _told(path, "write"), self._partial(lambda file: file.write(data)) as partial:
            make_private(path.parent)
            try:
                os.link(partial, path)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            sync_directory(path.parent)
        return True

    def write(self, key: str, data: bytes) -> None:
        """See `Store`."""
        self._put(key, lambda file: file.write(data))

    def send(self, key: str, path: Path) -> None:
        """See `Store`."""

        def copy(file: IO[bytes]) -> None:
            with os.fdopen(open_private(path, os.O_RDONLY), "rb") as source:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)

        self._put(key, copy)

    def chunks(self, key: str) -> Iterator[bytes] | None:
        """See `Store`."""
        path = self._path(key)
        with _told(path, "read"):
            try:
                descriptor = open_private(path, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _read(path, descriptor)

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        with _told(self._folder, "list"):
            for place, _, names in os.walk(self._path(prefix.rstrip("/"))):
                below = Path(place).relative_to(self._folder).as_posix()
                yield from (f"{below}/{name}" for name in names)
            self._sweep()

    def remove(self, keys: Sequence[str]) -> None:
        """See `Store`."""
        for key in keys:
            path = self._path(key)
            with _told(path, "remove"):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # Others are in it still.
                    path.parent.rmdir()

    def _path(self, key: str) -> Path:
        return self._folder / key

    def _put(self, key: str, fill: Callable[[IO[bytes]], object]) -> None:
        path = self._path(key)
        with _told(path, "write"), self._partial(fill) as partial:
            make_private(path.parent)
            partial.replace(path)
            sync_directory(path.parent)

    @contextmanager
    def _partial(self, fill: Callable[[IO[bytes]], object]) -> Iterator[Path]:
        """A synced file without a key yet; the block gives it one, or it is gone."""
        make_private(self._folder)
        make_private(self._folder / _PARTIAL)
        path = self._folder / _PARTIAL / secrets.token_hex(8)
        try:
            with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed processes have left."""
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder / _PARTIAL):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _PARTIAL_LASTS_S:
                        os.unlink(entry.path)


def _read(path: Path, descriptor: int) -> Iterator[bytes]:
    try:
        while True:
            with _told(path, "read"):
                data = os.read(descriptor, _CHUNK_BYTES)
            if not data:
                return
            yield data
    finally:
        os.close(descriptor)


@contextmanager
def _told(path: Path, action: str) -> Iterator[None]:
    """What the operating system refuses, as errors of the store."""
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(path)
        msg = (
            f"cannot {action} {where} in the place of backups: {error.strerror or error}; check that it is mounted, "
            "has room, and may be written by the user of the run"
        )
        raise StoreError(msg) from error
