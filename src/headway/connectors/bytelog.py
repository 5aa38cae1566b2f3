"""A log as bytes at offsets: what the line readers read, whatever holds it.

Offsets count the bytes of the content, uncompressed.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EMFILE, ENFILE, ENOENT
from typing import Final

from headway.errors import InputError

__all__ = [
    "FINGERPRINT_BYTES",
    "TOO_MANY_FILES",
    "ByteLog",
    "FileLog",
    "OtherLogError",
    "PlainLog",
    "Tail",
    "changed",
    "check_fingerprint",
    "check_tail",
    "fingerprint",
    "not_same",
    "reading",
    "too_short",
]

FINGERPRINT_BYTES: Final = 1024
"""How much of a log's beginning tells it from others, and how much of what was read last."""

TOO_MANY_FILES: Final = {
    EMFILE: "raise the limit of open files (`ulimit -n`)",
    ENFILE: "raise the limit of open files of the machine",
}
"""What to do about errors of the operating system that inputs and outputs have alike."""
_NEXT_STEPS: Final = {**TOO_MANY_FILES, ENOENT: "check the path"}


class OtherLogError(InputError):
    """A log is not, or no longer, the one that was read before."""


@dataclass(frozen=True)
class Tail:
    """The last bytes that were read of a log, at most a KiB: they must still be there when it is read on.

    They are kept as they were read, and so they tell a log that has been replaced since.
    """

    end: int = 0
    """The offset after them."""
    data: bytes = b""

    def grown(self, offset: int, data: bytes) -> Tail:
        """With `data`, read at `offset`; what was read there before counts no more.

        >>> Tail(3, b"abc").grown(2, b"CD")
        Tail(end=4, data=b'abCD')
        """
        if len(data) < FINGERPRINT_BYTES:
            kept = max(0, offset - (self.end - len(self.data))) if offset <= self.end else 0
            return Tail(offset + len(data), (self.data[:kept] + data)[-FINGERPRINT_BYTES:])
        return Tail(offset + len(data), data[-FINGERPRINT_BYTES:])

    def __str__(self) -> str:
        """As positions hold it: end, length and checksum."""
        return f"{self.end}:{fingerprint(self.data)}"


class ByteLog(ABC):
    """The bytes of one log. Reads go forward only, except within one window."""

    start: int = 0
    """The offset of the first byte of all."""
    rewinds: bool = False
    """Whether a window may be anywhere."""

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


class FileLog(ByteLog):
    """A log in an open file. Takes over the descriptor."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def status(self) -> os.stat_result:
        """The status of the open file, whatever its name is by now."""
        with reading(self._path):
            return os.fstat(self._fd)

    def duplicate(self) -> int:
        """Another descriptor of the open file; it belongs to the caller."""
        with reading(self._path):
            return os.dup(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class PlainLog(FileLog):
    """A file that is not compressed."""

    rewinds = True

    def window(self, offset: int, size: int) -> bytes:
        """Read at `offset`, also backwards."""
        with reading(self._path):
            return os.pread(self._fd, size, offset)

    def head(self, size: int) -> bytes:
        """Read at the beginning."""
        return self.window(0, size)

    def require(self, offset: int, size: int) -> None:
        """Compare with the size of the file."""
        found = self.status().st_size
        if found < offset + size:
            raise too_short(self._path, expected=offset + size, found=found)

    def check_end(self, *, final: bool) -> None:
        """Do nothing: a plain file ends where it ends."""


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


def check_tail(path: str, log: ByteLog, offset: int, taken: int, expected: str) -> Tail:
    """Raise `InputError` unless what was read last is there still; `expected` is a `Tail` as text, returned whole.

    For a log that has just been opened, to be read on at `offset`, of which `taken` bytes were read beyond.
    """
    end, length = (int(number) for number in expected.split(":")[:2])
    start = end - length
    first = start if log.rewinds else min(start, offset)
    data = log.window(first, end - first)[start - first :]
    if len(data) < length:
        log.require(offset, taken)
    found = Tail(end, data)
    if str(found) != expected:
        raise changed(path, end)
    return found


def not_same(path: str, *, expected: str, found: str) -> InputError:
    """The error for a log that does not begin as it did before."""
    msg = (
        f"{path} is not the log that was read before: expected fingerprint {expected} "
        f"(length and checksum of its first bytes), found {found}; logs may only be appended to: "
        "put the former file back, or start with a new state directory"
    )
    return OtherLogError(msg)


def changed(path: str, end: int) -> InputError:
    """The error for a log that begins as before, but has other bytes where the last ones were read."""
    msg = (
        f"{path} is not the log that was read before: it begins alike, but the bytes before byte {end}, up to which "
        "it was read, are others; logs may only be appended to: put the former file back, or start with a new "
        "state directory"
    )
    return OtherLogError(msg)


def too_short(path: str, *, expected: int, found: int) -> InputError:
    """The error for a log that lost some of what was read already."""
    msg = (
        f"{path} was truncated or replaced: expected at least the {expected} bytes that were read before, "
        f"found {found}; put the former file back, or start with a new state directory"
    )
    return OtherLogError(msg)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the operating system's errors into `InputError`."""
    try:
        yield
    except OSError as error:
        next_step = _NEXT_STEPS.get(error.errno or 0, "check the file, its directory and their permissions")
        msg = f"cannot read {path} ({os.path.abspath(path)}): {error.strerror or error}; {next_step}"
        raise InputError(msg) from error
