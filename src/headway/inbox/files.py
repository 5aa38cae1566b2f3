"""The file operations of an inbox, in one object that tests put others in the place of."""

from __future__ import annotations

import os
from pathlib import Path

from headway.basics.syncing import sync_directory
from headway.state.private import open_private

__all__ = ["Files"]


class Files:
    """What the operating system does for an inbox. Each method raises `OSError` where that fails."""

    def create(self, path: Path) -> int:
        """A new file, open for writing and reading. There must be none of that name."""
        return open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open(self, path: Path) -> int:
        """A file that is there, open for writing and reading."""
        return open_private(path, os.O_RDWR)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write at an offset; returns how many bytes were written, perhaps not all."""
        return os.pwrite(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        """Make what was written durable. What fails here must never be tried again on the same file.

        The kernel marks pages that it could not write as clean: a second call would succeed, and nothing be on the
        disk.
        """
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, size)

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        sync_directory(directory)

    def free_bytes(self, directory: Path) -> int:
        """How much room there is."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()
