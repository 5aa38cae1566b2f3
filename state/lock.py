"""A lock on a state directory, so that two runs cannot share it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from headway.errors import LockedStateError, StateError
from headway.state.files import state_files
from headway.state.private import make_private, open_private

__all__ = ["LOCK_NAME", "DirectoryLock", "Premises"]

LOCK_NAME = "lock"


class DirectoryLock:
    r"""Holds `<directory>/lock`, which contains the number of the process; a context manager.

    It is a lock of the operating system (`flock`): it ends with the process, however that ends.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory, DirectoryLock.acquire(directory):
    ...     (Path(directory) / "lock").read_text() == f"{os.getpid()}\n"
    True
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, directory: Path | str) -> DirectoryLock:
        """Take the lock (creating the directory); raises `LockedStateError` naming the holder's process.

        Raises `StateError` when the directory cannot be made or written.
        """
        with state_files(Path(directory)):
            make_private(Path(directory))
            path = Path(directory) / LOCK_NAME
            descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            with state_files(path, "lock"):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                    msg = (
                        f"state directory {directory} is in use by process {holder}: "
                        "wait until it ends, or stop it, or give this run another state directory"
                    )
                    raise LockedStateError(msg) from None
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def fileno(self) -> int:
        """The descriptor of the lock: a process that inherits it holds the lock too, until it ends."""
        assert self._descriptor is not None
        return self._descriptor

    def release(self) -> None:
        """Give the lock back; again does nothing. The file stays: removing it would race with others."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Premises:
    """A state directory and its lock as they were found: to notice when others are in their place.

    Whoever moves or removes the directory of a living run, or its lock, makes room for a second run there; the first
    one must then write no more.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._lock = self._directory / LOCK_NAME
        self._found = self._look()

    def check(self) -> None:
        """Raise `StateError` unless they are still the same. Costs two `stat`."""
        if self._look() != self._found:
            msg = (
                f"state directory {self._directory} was moved, removed or replaced, or the file {LOCK_NAME} in it, "
                "while this run was using it: the run ends and leaves it alone; put back what was there and start "
                "again, and stop a run before its directory is touched"
            )
            raise StateError(msg)

    def _look(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        return _identity(self._directory), _identity(self._lock)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
