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
_UNPACKED_BYTES: Final = 1 << 20
"""About how much is unpacked at once, however little it was unpacked from."""
_SIP_BYTES: Final = 512
"""How much zstd gets at once. Four bytes of it can stand for 128 KiB, and it unpacks all that it gets: 16 MiB."""
_WINDOW_BYTES: Final = 128 << 20
"""The largest window that a zstd frame may ask for, as of `zstd --long`; it is memory of the reader."""


class Decompressor(ABC):
    """Turns compressed bytes into plain ones, over any number of members (gzip) or frames (zstd).

    Memory does not depend on how much the bytes stand for: each `unpack` gives 16 MiB at most.
    """

    member: ClassVar[str]
    """What one self-contained part of the stream is called."""

    def __init__(self) -> None:
        self._part: Any = None
        self._fed = memoryview(b"")
        self.damage: Optional[str] = None
        """What is wrong with the stream, once its bytes make no sense; nothing more is unpacked then."""

    @property
    def hungry(self) -> bool:
        """True when all that was fed has been unpacked."""
        return not self._fed

    @property
    def whole(self) -> bool:
        """True when the stream may end here: no member is half read."""
        return self._part is None and self.hungry

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, once hungry."""
        assert self.hungry
        self._fed = memoryview(data)

    def unpack(self) -> bytes:
        """Some more of the content of what was fed; what cannot be decompressed is told in `damage`."""
        pieces = []
        size = 0
        while self._fed and size < _UNPACKED_BYTES:
            if self._part is None:
                self._fed = self._without_padding(self._fed)
                if not self._fed:
                    break
                self._part = self._new_part()
            try:
                piece, self._fed = self._unpack_some(self._fed)
            except (zlib.error, zstandard.ZstdError) as error:
                self.damage = self._what(error)
                break
            pieces.append(piece)
            size += len(piece)
            if self._part.eof:
                self._part = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _without_padding(self, data: memoryview) -> memoryview:
        return data

    def _what(self, error: Exception) -> str:
        return f"is damaged: {error}"

    @abstractmethod
    def _new_part(self) -> Any: ...

    @abstractmethod
    def _unpack_some(self, data: memoryview) -> tuple[bytes, memoryview]:
        """A bounded amount of content, and what is left of the data."""


class Gunzip(Decompressor):
    """Decompresses gzip. Zeros after a member are padding, as for the program gzip."""

    member = "gzip member"

    def __init__(self) -> None:
        super().__init__()
        self._started = False

    def _without_padding(self, data: memoryview) -> memoryview:
        return memoryview(bytes(data).lstrip(b"\0")) if self._started else data

    def _new_part(self) -> Any:
        self._started = True
        return zlib.decompressobj(wbits=31)

    def _unpack_some(self, data: memoryview) -> tuple[bytes, memoryview]:
        piece = self._part.decompress(data, _UNPACKED_BYTES)
        return piece, memoryview(self._part.unused_data if self._part.eof else self._part.unconsumed_tail)


class Unzstd(Decompressor):
    """Decompresses zstd, of windows of 128 MiB at most."""

    member = "zstd frame"

    def _new_part(self) -> Any:
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()

    def _unpack_some(self, data: memoryview) -> tuple[bytes, memoryview]:
        sip = data[:_SIP_BYTES]
        piece = self._part.decompress(sip)
        left = len(self._part.unused_data) if self._part.eof else 0
        return piece, data[len(sip) - left :]

    def _what(self, error: Exception) -> str:
        if "too much memory" in str(error):
            return f"asks for a window of more than {_WINDOW_BYTES >> 20} MiB of memory: compress it with `zstd --long`"
        return super()._what(error)


class CompressedLog(FileLog):
    """A compressed file.

    Holds the window, and up to 16 MiB that are unpacked and not asked for yet. To go to an offset everything before
    it is decompressed and dropped: seconds for each GB of content.
    """

    def __init__(self, path: str, fd: int, decompressor: Decompressor) -> None:
        super().__init__(path, fd)
        self._decompressor = decompressor
        self._raw_offset = 0
        self._piece_offset = 0
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
        """Decompress some more of the file; False where it ends for now or cannot be read on."""
        if self._failure is not None:
            return False
        if self._decompressor.hungry and not self._feed():
            return False
        content = self._decompressor.unpack()
        if self._decompressor.damage is not None:
            msg = (
                f"{self._path} {self._decompressor.damage} (within {self._raw_offset - self._piece_offset} bytes from "
                f"byte {self._piece_offset} of the file on); expected a {self._decompressor.member}: "
                "put an intact file there and run again"
            )
            self._failure = InputError(msg)
        if len(self._head) < FINGERPRINT_BYTES:
            self._head = (self._head + content)[:FINGERPRINT_BYTES]
        self._buffer += content
        return self._failure is None

    def _feed(self) -> bool:
        """Read the next piece of the file; False where it ends for now."""
        with reading(self._path):
            data = os.pread(self._fd, _PIECE_BYTES, self._raw_offset)
        if not data:
            return False
        if self._raw_offset == 0:
            self._raw_head = data[:FINGERPRINT_BYTES]
        self._decompressor.feed(data)
        self._piece_offset = self._raw_offset
        self._raw_tail = self._raw_tail.grown(self._raw_offset, data)
        self._raw_offset += len(data)
        return True
