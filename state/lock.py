"""A lock on a state directory, so that two runs cannot share it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """Holds `<directory>/lock`; a context manager. The lock ends with the process at the latest."""

    @classmethod
    def acquire(cls, directory: Path | str) -> DirectoryLock:
        """Take the lock (creating the directory); raises `LockedStateError` naming the process that holds it."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the lock back; again does nothing."""
        raise NotImplementedError
