"""A log as bytes at offsets: what the line readers read, whatever holds it.

Offsets count the bytes of the content, uncompressed.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE, ENFILE, ENOENT
from typing import Final

from headway.errors import InputError

__all__ = [
    "FINGERPRINT_BYTES",
    "ByteLog",
    "PlainLog",
    "check_fingerprint",
    "fingerprint",
    "not_same",
    "reading",
    "too_short",
]

FINGERPRINT_BYTES: Final = 1024
"""How much of a log's beginning tells it from others."""

_NEXT_STEPS: Final = {
    ENOENT: "check the path",
    EMFILE: "raise the limit of open files (`ulimit -n`)",
    ENFILE: "raise the limit of open files of the machine",
}


class ByteLog(ABC):
    """The bytes of one log. Reads go forward only, except within one window."""

    start: int = 0
    """The offset of the first byte of all."""

    @abstractmethod
    def window(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, or fewer where the log ends for now. Offsets never go back."""

    @abstractmethod
    def head(self, size: int) -> bytes:
        """The first `size` bytes, or fewer where the log is shorter."""

    @abstractmethod
    def require(self, offset: int, size: int) -> None:
        """Raise `InputError` unless `size` bytes are at `offset` and what was read before is still there."""

    def stored_bytes(self, offset: int) -> int:
        """How many bytes of what is stored have been read, when the content has been read up to `offset`."""
        return offset

    @abstractmethod
    def check_end(self, *, final: bool) -> None:
        """Raise `InputError` when a window ended early for another reason than the end of the log.

        `final`: no more will come, so a compressed stream that stops in the middle is an error.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""


class PlainLog(ByteLog):
    """A file that is not compressed. Takes over the descriptor."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def window(self, offset: int, size: int) -> bytes:
        """Read at `offset`, also backwards."""
        with reading(self._path):
            return os.pread(self._fd, size, offset)

    def head(self, size: int) -> bytes:
        """Read at the beginning."""
        return self.window(0, size)

    def require(self, offset: int, size: int) -> None:
        """Compare with the size of the file."""
        with reading(self._path):
            found = os.fstat(self._fd).st_size
        if found < offset + size:
            raise too_short(self._path, expected=offset + size, found=found)

    def check_end(self, *, final: bool) -> None:
        """Do nothing: a plain file ends where it ends."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def fingerprint(head: bytes) -> str:
    """The length and the checksum of a log's first bytes.

    >>> fingerprint(b"abc")
    '3:352441c2'
    """
    return f"{len(head)}:{zlib.crc32(head):08x}"


def check_fingerprint(path: str, log: ByteLog, expected: str) -> None:
    """Raise `InputError` unless the log begins with the bytes that `expected` was made of."""
    length = int(expected.partition(":")[0])
    found = fingerprint(log.head(length)[:length])
    if found != expected:
        raise not_same(path, expected=expected, found=found)


def not_same(path: str, *, expected: str, found: str) -> InputError:
    """The error for a log that does not begin as it did before."""
    msg = (
        f"{path} is not the log that was read before: expected fingerprint {expected} "
        f"(length and checksum of its first bytes), found {found}; logs may only be appended to: "
        "put the former file back, or start with a new state directory"
    )
    return InputError(msg)


def too_short(path: str, *, expected: int, found: int) -> InputError:
    """The error for a log that lost some of what was read already."""
    msg = (
        f"{path} was truncated or replaced: expected at least the {expected} bytes that were read before, "
        f"found {found}; put the former file back, or start with a new state directory"
    )
    return InputError(msg)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the operating system's errors into `InputError`."""
    try:
        yield
    except OSError as error:
        next_step = _NEXT_STEPS.get(error.errno or 0, "check the file, its directory and their permissions")
        msg = f"cannot read {path} ({os.path.abspath(path)}): {error.strerror or error}; {next_step}"
        raise InputError(msg) from error
