"""Reads every n-th stripe of a file, so that several readers go through it side by side."""

from __future__ import annotations

from typing import Final, Optional

from headway.connectors.base import Extent, Position
from headway.connectors.bytelog import FileLog, PlainLog, Tail
from headway.connectors.filereader import FileReader
from headway.connectors.linereader import MAX_LINE_BYTES
from headway.errors import InputError

__all__ = ["STRIPE_BYTES", "StripeReader"]

STRIPE_BYTES: Final = 4 * 1024 * 1024

_SCAN_BYTES: Final = 64 * 1024


class StripeReader(FileReader):
    """Reads the lines that start in stripes `index`, `index + split`, ... of a plain file.

    The offset of its position is the end of the last line that was read; the next stripe follows from it.
    Ordinals count the lines of this reader only.
    """

    def __init__(
        self,
        path: str,
        position: Optional[Position],
        *,
        index: int,
        split: int,
        header: bool = False,
        stripe_bytes: int = STRIPE_BYTES,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._index = index
        self._split = split
        self._stripe_bytes = stripe_bytes
        if position is not None and position.get("split") != split:
            msg = (
                f"{path} was read with split={position.get('split')} before, and is now with split={split}: "
                "its partitions would not be the same; put the former value back, or start with a new "
                "state directory"
            )
            raise InputError(msg)
        super().__init__(path, position, follow=False, header=header, max_line_bytes=max_line_bytes)
        self._first_ordinal = None  # How many lines are in the stripes of the other readers is not known.

    @property
    def extent(self) -> Optional[Extent]:
        """The reader's share of how far the file has been read."""
        extent = super().extent
        if extent is None:
            return None
        # At its end a reader stands before the stripes of others, or behind them.
        read = extent.total if self.at_end else extent.read
        return Extent(read // self._split, extent.total // self._split)

    def position(self) -> Position:
        """The position in the file, and over how many readers it is split."""
        return {**super().position(), "split": self._split}

    def _check(self, log: FileLog, place: Position) -> Tail:
        tail = super()._check(log, place)
        if isinstance(log, PlainLog):
            return tail
        log.close()
        msg = (
            f"{self._path} is compressed and cannot be split (split={self._split}); expected a plain file: "
            "decompress it, or use split=1"
        )
        raise InputError(msg)

    def _prepare(self) -> bool:
        """Go to the next line that starts in one of our stripes."""
        start = self._own(self._offset)
        while start % self._stripe_bytes == 0 and start > 0:
            line = self._line_start(start)
            if line is None:
                self._ends_here()
                return False
            start = self._own(line)
            if start == line:
                break
        self._offset = start
        return True

    def _own(self, offset: int) -> int:
        """`offset` if it is in one of our stripes, otherwise where the next one begins."""
        stripe = offset // self._stripe_bytes
        ahead = (self._index - stripe) % self._split
        return (stripe + ahead) * self._stripe_bytes if ahead else offset

    def _stripe_end(self, offset: int) -> int:
        return (offset // self._stripe_bytes + 1) * self._stripe_bytes

    def _line_start(self, stripe_start: int) -> Optional[int]:
        """Where a stripe's first line starts, or its end if none does; None if the log ends before."""
        offset, end = stripe_start - 1, self._stripe_end(stripe_start) - 1
        while offset < end:
            data = self._log.window(offset, min(_SCAN_BYTES, end - offset))
            if not data:
                return None
            found = data.find(b"\n")
            if found >= 0:
                return offset + found + 1
            offset += len(data)
        return end + 1

    def _cut(self, data: bytes) -> int:
        limit = self._stripe_end(self._offset) - self._offset
        if len(data) >= limit:
            last = data.find(b"\n", limit - 1)
            if last >= 0:
                return last + 1
        return data.rfind(b"\n", 0, limit) + 1
