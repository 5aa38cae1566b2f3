"""Reads a byte log line by line: where lines end, what is half written, and where to go on."""

from __future__ import annotations

from typing import Final, Optional

from headway.connectors.base import BadRecord, Chunk, PartitionReader, Position
from headway.connectors.bytelog import FINGERPRINT_BYTES, ByteLog, Tail
from headway.connectors.lines import BLANKS, LinesChunk, OversizeChunk, place_of

__all__ = ["MAX_LINE_BYTES", "LineReader"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A longer line is a bad record of which only the first KiB is kept."""

_KEPT_BYTES: Final = 1024
_SCAN_BYTES: Final = 1024 * 1024
_SCANS_PER_READ: Final = 64
_BOM: Final = b"\xef\xbb\xbf"


class LineReader(PartitionReader):
    """Reads lines from a log of which the end is final.

    A line's ordinal is its number, blank lines included. A last line without a line end is a record too, but
    the position stays at its beginning and remembers how much of it was taken: if the line has been completed
    when the log is read on, the whole of it is read again, and otherwise nothing is read twice.
    """

    def __init__(
        self, log: ByteLog, *, label: str = "", offset: int = 0, ordinal: int = 0, taken: int = 0,
        header: bool = False, max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:  # fmt: skip
        self._log = log
        self._label = label
        self._offset = offset
        self._ordinal = ordinal
        self._first_ordinal: Optional[int] = 0
        self._taken = taken
        self._has_header = header
        self._header: Optional[bytes] = None
        self._max_line_bytes = max_line_bytes
        self._scanned = 0
        self._scanned_end = b""
        self._tail = Tail()
        self._at_end = False
        self._idle = False

    @property
    def at_end(self) -> bool:
        """True once the final end has been reached."""
        return self._at_end

    @property
    def untouched(self) -> bool:
        """Whether nothing has been read yet."""
        return self._offset == self._log.start and not self._taken

    @property
    def ordinal(self) -> int:
        """The ordinal of the line at the position."""
        return self._ordinal

    @property
    def next_ordinal(self) -> int:
        """The ordinal that a line after all that were read would have."""
        return self._ordinal + (1 if self._taken else 0)

    def position(self) -> Position:
        """Offset and ordinal of the next line, and the length of what was taken of it."""
        position: Position = {"offset": self._offset, "ordinal": self._ordinal}
        if self._taken:
            position["taken"] = self._taken
        return position

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next whole lines; a single longer one grows the chunk."""
        if self._at_end or not self._prepare():
            return None
        if self._scanned:
            return self._read_oversize_line(b"")
        size = min(max(max_bytes, 1), self._max_line_bytes + 1)
        while True:
            data = self._log.window(self._offset, size)
            cut = self._cut(data)
            if cut:
                chunk = self._take(data[:cut])
                return chunk if chunk is not None else self.read(max_bytes)
            if len(data) < size:
                return self._read_tail(data)
            if size > self._max_line_bytes:
                return self._read_oversize_line(data)
            size = min(4 * size, self._max_line_bytes + 1)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _prepare(self) -> bool:
        """Get ready to read at the offset; False when there can be nothing new."""
        return True

    def _may_grow(self) -> bool:
        """Whether the end of the log is not final."""
        return False

    def _cut(self, data: bytes) -> int:
        """How much of the window, in whole lines, belongs to this reader."""
        return data.rfind(b"\n") + 1

    def _take(self, data: bytes) -> Optional[Chunk]:
        """The chunk of these whole lines; None when the only one has been read before."""
        self._tail = self._tail.grown(self._offset, data)
        if self._taken:
            data = self._without_taken(data)
            if not data:
                return None
        chunk = self._chunk(data)
        self._offset += len(data)
        self._ordinal += chunk.count
        return chunk

    def _without_taken(self, data: bytes) -> bytes:
        first = data.index(b"\n") + 1
        complete = not data[self._taken : first - 1].strip(BLANKS)
        self._taken = 0
        if not complete:
            return data
        self._offset += first
        self._ordinal += 1
        return data[first:]

    def _chunk(self, data: bytes) -> LinesChunk:
        offset = self._offset
        first = offset == self._log.start
        if first and data.startswith(_BOM):
            data, offset = data[len(_BOM) :], offset + len(_BOM)
        header = self._header_line() if self._has_header else None
        return LinesChunk(data, self._ordinal, offset, self._label, self._line(), header=header, starts_file=first)

    def _header_line(self) -> bytes:
        """The first line of the log, of which something has been read: what follows it is read as it says."""
        if self._header is None:
            line = self._log.window(self._log.start, _SCAN_BYTES).partition(b"\n")[0]
            self._header = line.removeprefix(_BOM)
        return self._header

    def _line(self) -> Optional[int]:
        """The number of the next line in its file, from 1; None where that is not known."""
        return None if self._first_ordinal is None else self._ordinal - self._first_ordinal + 1

    def _read_tail(self, data: bytes) -> Optional[Chunk]:
        """What to do with a line that has no end, where the log ends."""
        if not self._ends_here():
            return None
        chunk = self._chunk(data)
        new = data[self._taken :] if self._taken else chunk.data
        if not new.strip(BLANKS):
            return None
        self._taken = len(data)
        self._tail = self._tail.grown(self._offset, data)
        return chunk

    def _ends_here(self) -> bool:
        final = not self._may_grow()
        self._log.check_end(final=final)
        self._idle = not final
        if final:
            self._log.require(self._offset, self._taken)
            self._at_end = True
        return final

    def _read_oversize_line(self, beginning: bytes) -> Optional[Chunk]:
        """Look for the end of a line too long to hold, a bounded way at a time; at first it is given its beginning."""
        if not self._scanned:
            self._scanned = len(beginning)
            self._oversize_head = beginning[:_KEPT_BYTES]
            self._scanned_end = beginning[-FINGERPRINT_BYTES:]
        for _ in range(_SCANS_PER_READ):
            data = self._log.window(self._offset + self._scanned, _SCAN_BYTES)
            end = data.find(b"\n")
            if end >= 0:
                return self._oversize_chunk(data[: end + 1], ended=True)
            if len(data) < _SCAN_BYTES:
                if not self._ends_here():
                    return None
                return self._oversize_chunk(data, ended=False)
            self._scanned += len(data)
            self._scanned_end = data[-FINGERPRINT_BYTES:]
        return None

    def _oversize_chunk(self, rest: bytes, *, ended: bool) -> Optional[Chunk]:
        length = self._scanned + len(rest) - ended
        last = self._scanned_end + rest
        self._tail = self._tail.grown(self._offset + self._scanned + len(rest) - len(last), last)
        head = self._oversize_head[:length]
        reason = (
            f"line of {length} bytes: expected at most {self._max_line_bytes}; "
            f"of its bytes only the first {len(head)} are kept"
        )
        record = BadRecord(self._ordinal, place_of(self._label, self._line(), self._offset), reason, head)
        known = length == self._taken
        self._scanned = 0
        self._taken = 0 if ended else length
        if ended:
            self._offset += length + 1
            self._ordinal += 1
        return None if known else OversizeChunk(record)
