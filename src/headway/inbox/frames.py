"""Segments and frames: the bytes of an inbox.

A segment begins with its version and the number of its first record. Then come frames. A frame is one batch: some
records, all of one receipt time, that are in the log together or not at all. Its checksum covers all of it but the mark
and itself. `synced_to` says up to which byte of the file everything was durable before the frame was written: so a hole
before it is damage, and one behind it only the torn end of what nobody was told of.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Optional

import msgspec

from headway.errors import CorruptStateError

__all__ = [
    "HEADER_BYTES",
    "SEGMENT_BYTES",
    "Entry",
    "Frame",
    "frame_at",
    "frames_in",
    "is_damaged",
    "pack_frame",
    "segment_head",
    "segment_name",
    "segment_start",
    "size_at",
]

VERSION: Final = 1
_SEGMENT: Final = struct.Struct("<4sBxxxQ")
_SEGMENT_MARK: Final = b"HwIn"
SEGMENT_BYTES: Final = _SEGMENT.size
_HEADER: Final = struct.Struct("<4sIIIQqQI")
_MARK: Final = b"HwFr"
HEADER_BYTES: Final = _HEADER.size
_COVERED: Final = 8
"""Where in a frame that begins which the checksum covers."""
_encode: Final = msgspec.msgpack.Encoder().encode


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of a frame: records that were given an idempotency key."""

    key: bytes
    """A hash of the key."""
    digest: bytes
    """A hash of the records."""
    first: int
    """Which record of the frame is its first one, from 0."""
    count: int


_decode_entries: Final = msgspec.msgpack.Decoder(list[Entry]).decode


class Frame(NamedTuple):
    """One batch, as found in a segment."""

    first: int
    """The number of its first record."""
    records: int
    received_ms: int
    synced_to: int
    keys: bytes
    lines: bytes
    """The records, each a line of JSON with its end."""
    start: int
    """At which byte of the file it begins."""

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.start + HEADER_BYTES + len(self.keys) + len(self.lines)

    @property
    def next(self) -> int:
        """The number of the record after its last one."""
        return self.first + self.records

    @property
    def entries(self) -> list[Entry]:
        """Its idempotency keys."""
        return _decode_entries(self.keys) if self.keys else []


def pack_frame(
    first: int, count: int, received_ms: int, synced_to: int, entries: Sequence[Entry], lines: bytes
) -> bytes:
    """A frame as bytes."""
    keys = _encode(entries) if entries else b""
    size = len(keys) + len(lines)
    head = _HEADER.pack(_MARK, 0, size, count, first, received_ms, synced_to, len(keys))
    checksum = zlib.crc32(lines, zlib.crc32(keys, zlib.crc32(head[_COVERED:])))
    return b"".join((_HEADER.pack(_MARK, checksum, size, count, first, received_ms, synced_to, len(keys)), keys, lines))


def frame_at(data: bytes, start: int, offset: int = 0) -> Optional[Frame]:
    """The frame at a byte of the data, which begin at byte `offset` of the file; None where there is no whole one."""
    if start < 0 or start + HEADER_BYTES > len(data):
        return None
    mark, checksum, size, count, first, received_ms, synced_to, keys = _HEADER.unpack_from(data, start)
    body = start + HEADER_BYTES
    if mark != _MARK or body + size > len(data) or keys > size:
        return None
    if zlib.crc32(memoryview(data)[start + _COVERED : body + size]) != checksum:
        return None
    return Frame(
        first, count, received_ms, synced_to, data[body : body + keys], data[body + keys : body + size], start + offset
    )


def size_at(data: bytes, start: int) -> Optional[int]:
    """How many bytes the frame says to have whose header is at a byte of the data; None where there is no header."""
    if start + HEADER_BYTES > len(data) or data[start : start + 4] != _MARK:
        return None
    return HEADER_BYTES + int(_HEADER.unpack_from(data, start)[2])


def frames_in(data: bytes) -> Iterator[Frame]:
    """The frames of a whole segment, up to its end or the first place where there is none."""
    start = SEGMENT_BYTES
    while (frame := frame_at(data, start)) is not None:
        yield frame
        start = frame.end


def is_damaged(data: bytes, end: int) -> bool:
    """Whether behind a hole at byte `end` there is a frame that knows of durable bytes at it or behind it."""
    found = data.find(_MARK, end)
    while found >= 0:
        frame = frame_at(data, found)
        if frame is not None and frame.synced_to > end:
            return True
        found = data.find(_MARK, found + 1)
    return False


def segment_name(first: int) -> str:
    """The name of a segment, whose order as text is that of its records.

    >>> segment_name(17)
    '00000000000000000017.log'
    """
    return f"{first:020}.log"


def segment_head(first: int) -> bytes:
    """How a segment begins."""
    return _SEGMENT.pack(_SEGMENT_MARK, VERSION, first)


def segment_start(data: bytes, where: object) -> Optional[int]:
    """The number of a segment's first record; None where its head is not whole.

    Raises `CorruptStateError` for another file, or one of a later version.
    """
    if len(data) < SEGMENT_BYTES:
        return None
    mark, version, first = _SEGMENT.unpack_from(data)
    if mark != _SEGMENT_MARK or version != VERSION:
        msg = f"{where} is no segment of an inbox of version {VERSION}: restore the whole state directory from a backup"
        raise CorruptStateError(msg)
    return int(first)
