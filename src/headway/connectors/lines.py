"""Chunks of JSON lines: decoded a buffer at a time, and line by line only around the bad ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, Optional

from headway.basics.scanning import count_ends
from headway.connectors.base import BadRecord, Chunk, Decoded
from headway.types.decoding import LineCodec

__all__ = ["BLANKS", "UNDECODABLE", "LinesChunk", "OversizeChunk", "bad_reason", "place_of"]

BLANKS: Final = b" \t\r"
"""What a blank line may hold: the white space of JSON, without the line end."""

UNDECODABLE: Final = (ValueError, RecursionError)
"""What decoders raise for a bad record, be it malformed, not UTF-8, or nested without end."""

_SMALL_BLOCK: Final = 8


@dataclass(frozen=True)
class LinesChunk(Chunk):
    r"""Consecutive lines of a log, as read: one JSON value each. A blank one holds none but has a number.

    >>> from headway.types.decoding import LineCodec
    >>> from headway.types.schema import Json
    >>> LinesChunk(b'{"n": 1}\n\n{"n": 2}\n', first_ordinal=7, first_byte=0).decode(LineCodec(Json))
    Decoded(events=[{'n': 1}, {'n': 2}], ordinals=[7, 9], bad=[])
    """

    data: bytes
    first_ordinal: int
    first_byte: int
    label: str = ""
    """What stands before the place in a `BadRecord.position`, such as a file's name and a space."""
    first_line: Optional[int] = None
    """The number of the first line in its file, from 1; None where that is not known."""

    @cached_property
    def count(self) -> int:
        """How many lines there are, blank ones included."""
        return self._ends[0] + (not self.data.endswith(b"\n") and bool(self.data))

    @cached_property
    def _ends(self) -> tuple[int, int]:
        return count_ends(self.data)

    def decode(self, codec: LineCodec[Any]) -> Decoded:
        """Decode all lines: one call of the codec for the whole chunk unless a line is bad or blank.

        Bad lines are found by halving, so one of them costs about as much again as the whole chunk.
        """
        count = self.count
        events = _decode_block(self.data, count, self._ends[1], codec)
        if events is not None:
            return Decoded(events, range(self.first_ordinal, self.first_ordinal + count), [])
        return _decode_by_halves(self, codec)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """The place of a line, and the line."""
        number = ordinal - self.first_ordinal
        line = None if self.first_line is None else self.first_line + number
        position = place_of(self.label, line, self.first_byte + self.starts[number])
        return position, self.lines[number].removesuffix(b"\r")

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines, without their ends; what follows the last end counts as one."""
        return self.data.split(b"\n")

    @cached_property
    def starts(self) -> list[int]:
        """Where in the data each line starts."""
        return list(accumulate((len(line) + 1 for line in self.lines), initial=0))


@dataclass(frozen=True)
class OversizeChunk(Chunk):
    """One line that is too long to be held in memory: always a bad record."""

    bad: BadRecord

    def decode(self, codec: LineCodec[Any]) -> Decoded:
        """Return the bad record; nothing is decoded."""
        return Decoded([], range(0), [self.bad])

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """That of the bad record."""
        return self.bad.position, self.bad.raw


def _decode_block(data: bytes, count: int, borders: int, codec: LineCodec[Any]) -> Optional[list[Any]]:
    """The events of `count` lines, one each; None when they must be looked at more closely.

    `borders` says how many line ends stand between `}` and `{`.

    Decoders of whole buffers take line ends for mere white space: they accept `{}{}` on one line and one
    object on two. Inside of a JSON value no `}` is followed by `{` with only white space between, so when
    each line end stands between the two, no value goes over a line end; and then as many events as lines is
    one for each.
    """
    if borders != count - 1 and borders + data.count(b"}\r\n{") != count - 1:
        return None
    try:
        if not data.isascii():
            data.decode()
        events = codec.decode_lines(data)
    except UNDECODABLE:
        return None
    return events if len(events) == count else None


def _decode_by_halves(chunk: LinesChunk, codec: LineCodec[Any]) -> Decoded:
    lines, starts = chunk.lines, chunk.starts
    events: list[Any] = []
    ordinals: list[int] = []
    bad: list[BadRecord] = []
    pending = [(0, chunk.count)]
    while pending:
        low, high = pending.pop()
        if high - low <= _SMALL_BLOCK:
            for number in range(low, high):
                line = lines[number]
                if not line.strip(BLANKS):
                    continue
                try:
                    events.append(_decode_line(line, codec))
                    ordinals.append(chunk.first_ordinal + number)
                except UNDECODABLE as error:
                    ordinal = chunk.first_ordinal + number
                    position, raw = chunk.record(ordinal)
                    bad.append(BadRecord(ordinal, position, bad_reason(error), raw))
            continue
        data = chunk.data[starts[low] : starts[high]]
        block = _decode_block(data, high - low, count_ends(data)[1], codec)
        if block is None:
            middle = (low + high) // 2
            pending += [(middle, high), (low, middle)]
            continue
        events += block
        ordinals.extend(range(chunk.first_ordinal + low, chunk.first_ordinal + high))
    return Decoded(events, ordinals, bad)


def _decode_line(line: bytes, codec: LineCodec[Any]) -> Any:
    if not line.isascii():
        line.decode()
    return codec.decode(line)


def place_of(label: str, line: Optional[int], byte: int) -> str:
    """Where a line stands, for a person.

    >>> place_of("app.log.1 ", 18, 1024), place_of("", None, 1024)
    ('app.log.1 line 18, byte 1024', 'byte 1024')
    """
    return f"{label}byte {byte}" if line is None else f"{label}line {line}, byte {byte}"


def bad_reason(error: Exception) -> str:
    """Why a record could not be decoded, from what the decoder raised."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"not UTF-8: byte 0x{byte:02x}, number {error.start} of the text ({error.reason})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)
