"""Logs compressed with gzip or zstd, read as a stream; several members or frames in a row are one log."""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Optional

import zstandard

from headway.connectors.bytelog import (
    FINGERPRINT_BYTES,
    FileLog,
    Tail,
    changed,
    fingerprint,
    not_same,
    reading,
    too_short,
)
from headway.errors import InputError

__all__ = ["GZIP_MAGIC", "CompressedLog", "Decompressor", "Gunzip", "Unzstd"]

GZIP_MAGIC: Final = b"\x1f\x8b"

_PIECE_BYTES: Final = 128 * 1024


class Decompressor(ABC):
    """Turns compressed bytes into plain ones, over any number of members (gzip) or frames (zstd)."""

    member: ClassVar[str]
    """What one self-contained part of the stream is called."""

    def __init__(self) -> None:
        self._part: Any = None
        self.damage: Optional[str] = None
        """What is wrong with the stream, once its bytes make no sense; nothing can be fed then."""

    @property
    def whole(self) -> bool:
        """True when the stream may end here: no member is half read."""
        return self._part is None

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the content; what cannot be decompressed is told in `damage`."""
        pieces = []
        while data:
            if self._part is None:
                data = self._skip_padding(data)
                if not data:
                    break
                self._part = self._new_part()
            try:
                pieces.append(self._part.decompress(data))
            except (zlib.error, zstandard.ZstdError) as error:
                self.damage = str(error)
                break
            data = self._part.unused_data if self._part.eof else b""
            if self._part.eof:
                self._part = None
        return b"".join(pieces)

    def _skip_padding(self, data: bytes) -> bytes:
        return data

    @abstractmethod
    def _new_part(self) -> Any: ...


class Gunzip(Decompressor):
    """Decompresses gzip. Zeros after a member are padding, as for the program gzip."""

    member = "gzip member"

    def __init__(self) -> None:
        super().__init__()
        self._started = False

    def _skip_padding(self, data: bytes) -> bytes:
        return data.lstrip(b"\0") if self._started else data

    def _new_part(self) -> Any:
        self._started = True
        return zlib.decompressobj(wbits=31)


class Unzstd(Decompressor):
    """Decompresses zstd."""

    member = "zstd frame"

    def _new_part(self) -> Any:
        return zstandard.ZstdDecompressor().decompressobj()


class CompressedLog(FileLog):
    """A compressed file.

    Holds the window and what one piece of 128 KiB unpacks to. To go to an offset everything before it is
    decompressed and dropped: seconds for each GB of content.
    """

    def __init__(self, path: str, fd: int, decompressor: Decompressor) -> None:
        super().__init__(path, fd)
        self._decompressor = decompressor
        self._raw_offset = 0
        self._raw_head = b""
        self._raw_tail = Tail()
        self._buffer = bytearray()
        self._buffer_offset = 0
        self._head = b""
        self._failure: Optional[InputError] = None

    def window(self, offset: int, size: int) -> bytes:
        """Decompress as far as needed."""
        self._reach(offset, offset + size)
        first = offset - self._buffer_offset
        with memoryview(self._buffer) as view:
            return bytes(view[first : first + size])

    def head(self, size: int) -> bytes:
        """Answer from the first KiB, which is kept."""
        while len(self._head) < min(size, FINGERPRINT_BYTES) and self._unpack_more():
            pass
        return self._head[:size]

    def require(self, offset: int, size: int) -> None:
        """Decompress up to there; this may take long."""
        self._check_raw()
        found = self._reach(offset, offset + size)
        if found < offset + size:
            self.check_end(final=True)
            raise too_short(self._path, expected=offset + size, found=found)

    def check_end(self, *, final: bool) -> None:
        """Raise what went wrong, or complain about an end inside of a member."""
        if self._failure is not None:
            raise self._failure
        if final and not self._decompressor.whole:
            msg = (
                f"{self._path} is truncated: it ends in the middle of a {self._decompressor.member}, after "
                f"{self._raw_offset} bytes; expected its end: put the whole file there and run again "
                "(all whole lines before were read), or follow it if it is still being written"
            )
            raise InputError(msg)

    def stored_bytes(self, offset: int) -> int:
        """How many compressed bytes have been unpacked."""
        return self._raw_offset

    def _check_raw(self) -> None:
        with reading(self._path):
            size = os.fstat(self._fd).st_size
            head = os.pread(self._fd, len(self._raw_head), 0)
            tail = os.pread(self._fd, len(self._raw_tail.data), self._raw_offset - len(self._raw_tail.data))
        if size < self._raw_offset:
            raise too_short(self._path, expected=self._raw_offset, found=size)
        if head != self._raw_head:
            raise not_same(self._path, expected=fingerprint(self._raw_head), found=fingerprint(head))
        if tail != self._raw_tail.data:
            raise changed(self._path, self._raw_offset)

    def _reach(self, start: int, end: int) -> int:
        """Decompress up to `end`, keep what is from `start` on, and return how far it went."""
        self._drop_before(start)
        while self._buffer_offset + len(self._buffer) < end and self._unpack_more():
            self._drop_before(start)
        return self._buffer_offset + len(self._buffer)

    def _drop_before(self, offset: int) -> None:
        excess = max(0, min(offset - self._buffer_offset, len(self._buffer)))
        del self._buffer[:excess]
        self._buffer_offset += excess

    def _unpack_more(self) -> bool:
        """Decompress the next piece of the file; False where it ends for now or cannot be read on."""
        if self._failure is not None:
            return False
        with reading(self._path):
            data = os.pread(self._fd, _PIECE_BYTES, self._raw_offset)
        if not data:
            return False
        if self._raw_offset == 0:
            self._raw_head = data[:FINGERPRINT_BYTES]
        content = self._decompressor.feed(data)
        if self._decompressor.damage is not None:
            msg = (
                f"{self._path} is damaged: {self._decompressor.damage} (within {len(data)} bytes from byte "
                f"{self._raw_offset} of the file on); expected a {self._decompressor.member}: "
                "put an intact file there and run again"
            )
            self._failure = InputError(msg)
        self._raw_tail = self._raw_tail.grown(self._raw_offset, data)
        self._raw_offset += len(data)
        if len(self._head) < FINGERPRINT_BYTES:
            self._head = (self._head + content)[:FINGERPRINT_BYTES]
        self._buffer += content
        return self._failure is None
