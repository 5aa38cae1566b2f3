"""A lock on a state directory, so that two runs cannot share it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from headway.errors import LockedStateError
from headway.state.files import state_files

__all__ = ["LOCK_NAME", "DirectoryLock"]

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
            Path(directory).mkdir(parents=True, exist_ok=True)
            path = Path(directory) / LOCK_NAME
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with state_files(path, "write"):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            msg = (
                f"state directory {directory} is in use by process {holder}: "
                "wait until it ends, or stop it, or give this run another state directory"
            )
            raise LockedStateError(msg) from None
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
