"""Opens a file as the log it is: plain, gzip or zstd, told by its first bytes and its suffix."""

from __future__ import annotations

import os
import stat
from typing import Final

from headway.connectors.bytelog import FileLog, PlainLog, reading
from headway.connectors.compressed import GZIP_MAGIC, CompressedLog, Gunzip, Unzstd
from headway.errors import InputError

__all__ = ["COMPRESSED_SUFFIXES", "log_in", "open_log"]

COMPRESSED_SUFFIXES: Final = (".gz", ".zst")

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_FOREIGN: Final = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}


def open_log(path: str) -> FileLog:
    """Open a file. A suffix .gz or .zst demands that format; otherwise the first bytes decide.

    An empty file is an empty log, whatever its name. Raises `InputError` when the file cannot be read, is not
    a regular file, or is not what its suffix says.
    """
    with reading(path):
        # Without O_NONBLOCK, a named pipe would make this wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return log_in(path, fd)


def log_in(path: str, fd: int) -> FileLog:
    """The log in an open file, whose descriptor it takes over; raises as `open_log` does."""
    try:
        with reading(path):
            kind = os.fstat(fd).st_mode
            head = os.pread(fd, 8, 0) if stat.S_ISREG(kind) else b""
        if not stat.S_ISREG(kind):
            msg = f"{path} is not a regular file; expected one to read lines from (for a pipe use stdin())"
            raise InputError(msg)
        return _log_of(path, fd, head)
    except BaseException:
        os.close(fd)
        raise


def _log_of(path: str, fd: int, head: bytes) -> FileLog:
    suffix = os.path.splitext(path)[1].lower()
    gzip = _may_begin(head, GZIP_MAGIC, certain=suffix != ".gz")
    zstd = any(_may_begin(head, magic, certain=suffix != ".zst") for magic in (_ZSTD_MAGIC, *_ZSTD_SKIPPABLE))
    if (suffix == ".gz" and not gzip) or (suffix == ".zst" and not zstd):
        program = "gzip" if suffix == ".gz" else "zstd"
        msg = (
            f"{path} is named {suffix} but is not {program}: it begins with {head!r}; "
            f"compress it with {program}, or name it for what it is"
        )
        raise InputError(msg)
    if gzip:
        return CompressedLog(path, fd, Gunzip())
    if zstd:
        return CompressedLog(path, fd, Unzstd())
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            msg = f"{path} is a {name} file; expected plain text, gzip or zstd: compress it with one of these"
            raise InputError(msg)
    return PlainLog(path, fd)


def _may_begin(head: bytes, magic: bytes, *, certain: bool) -> bool:
    return head.startswith(magic) or (not certain and magic.startswith(head))
