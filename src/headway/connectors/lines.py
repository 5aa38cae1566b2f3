"""Chunks of lines: decoded a buffer at a time, and line by line only around the bad ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, Optional

from headway.basics.scanning import count_ends
from headway.connectors.apart import bad_reason, decode_apart
from headway.connectors.base import BadRecord, Chunk, Decoded
from headway.formats.base import UNDECODABLE, Decoder, HeadedDecoder
from headway.types.decoding import LineCodec

__all__ = ["BLANKS", "LinesChunk", "OversizeChunk", "place_of"]

BLANKS: Final = b" \t\r"
"""What a blank line may hold: the white space of JSON, without the line end."""


@dataclass(frozen=True)
class LinesChunk(Chunk):
    r"""Consecutive lines of a log, as read: one record each. A blank one holds none but has a number.

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
    header: Optional[bytes] = None
    """The first line of its file, where that is no record but says how the others are to be read."""
    starts_file: bool = False

    @cached_property
    def count(self) -> int:
        """How many lines there are, blank ones included."""
        return self._ends[0] + (not self.data.endswith(b"\n") and bool(self.data))

    @cached_property
    def _ends(self) -> tuple[int, int]:
        return count_ends(self.data)

    def decode(self, decoder: Decoder) -> Decoded:
        """Decode all lines: one call of the decoder for the whole chunk unless a line is bad or blank.

        Bad lines are found by halving, so one of them costs about as much again as the whole chunk.
        """
        count = self.count
        if self.header is not None:
            return self._decode_below(self.header, decoder)
        if isinstance(decoder, LineCodec):
            with suppress(*UNDECODABLE):
                events = decoder.decode_block(self.data, count, self._ends[1])
                if events is not None:
                    return Decoded(events, range(self.first_ordinal, self.first_ordinal + count), [])
        return self._decode_lines(decoder, 0)

    def _decode_lines(self, decoder: Decoder, start: int) -> Decoded:
        present = [number for number, line in enumerate(self.lines) if line.strip(BLANKS) and number >= start]
        lines = [self.lines[number].removesuffix(b"\r") for number in present]
        return decode_apart(lines, [self.first_ordinal + number for number in present], decoder, self.record)

    def _decode_below(self, header: bytes, decoder: Decoder) -> Decoded:
        """Decode lines of a file whose first line, which is no record, is this one."""
        assert isinstance(decoder, HeadedDecoder)
        try:
            below = decoder.below(header)
        except UNDECODABLE as error:
            if not self.starts_file:
                return Decoded([], [], [])
            position, raw = self.record(self.first_ordinal)
            return Decoded([], [], [BadRecord(self.first_ordinal, position, bad_reason(error), raw)])
        return self._decode_lines(below, 1 if self.starts_file else 0)

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

    def decode(self, decoder: Decoder) -> Decoded:
        """Return the bad record; nothing is decoded."""
        return Decoded([], range(0), [self.bad])

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """That of the bad record."""
        return self.bad.position, self.bad.raw


def place_of(label: str, line: Optional[int], byte: int) -> str:
    """Where a line stands, for a person.

    >>> place_of("app.log.1 ", 18, 1024), place_of("", None, 1024)
    ('app.log.1 line 18, byte 1024', 'byte 1024')
    """
    return f"{label}byte {byte}" if line is None else f"{label}line {line}, byte {byte}"
