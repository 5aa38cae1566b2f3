"""Copies of files of a state directory: as hard links where a file never changes, else as files of their own."""

from __future__ import annotations

import os
import shutil
from errno import EMLINK, ENOTSUP, EPERM, EXDEV
from pathlib import Path
from typing import Final

from headway.basics.syncing import sync_directory
from headway.state.private import make_private, open_private

__all__ = ["FOREVER", "copy_file", "copy_group", "copy_tree", "link_file", "sync_tree"]

FOREVER: Final = ".sst"
"""What RocksDB writes once, and then only reads or deletes."""
_NO_LINKS: Final = (EXDEV, EMLINK, EPERM, ENOTSUP)
_CHUNK_BYTES: Final = 1 << 20


def copy_group(source: Path, target: Path) -> None:
    """Copy the closed database of a key group into a new directory; its large files are the same ones, as hard links.

    Copies them too where the file system has no hard links, or it is another one. Raises `OSError`.
    """
    make_private(target)
    for entry in os.scandir(source):
        if entry.name.endswith(FOREVER):
            link_file(Path(entry.path), target / entry.name)
        else:
            copy_file(Path(entry.path), target / entry.name)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, with files of their own; symbolic links in it are refused. Raises `OSError`, `StateError`."""
    make_private(target)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name)
        else:
            copy_file(Path(entry.path), target / entry.name)


def sync_tree(folder: Path) -> None:
    """Let all files below a folder, and their names, reach the disk; files with another name have. Raises `OSError`."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            sync_tree(Path(entry.path))
        elif entry.stat(follow_symlinks=False).st_nlink == 1:
            descriptor = open_private(entry.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_directory(folder)


def link_file(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where that cannot be. Raises `OSError`."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        copy_file(source, target)


def copy_file(source: Path, target: Path, size: int | None = None) -> None:
    """Copy a file, or its first `size` bytes, into a new one; not synced. Raises `OSError`."""
    with (
        os.fdopen(open_private(source, os.O_RDONLY), "rb") as read,
        os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as written,
    ):
        if size is None:
            shutil.copyfileobj(read, written, _CHUNK_BYTES)
            return
        left = size
        while left and (data := read.read(min(left, _CHUNK_BYTES))):
            written.write(data)
            left -= len(data)
