"""Reads one file of lines, finished or still growing, and makes sure that it stays the same file."""

from __future__ import annotations

import os
from typing import Final, Optional

from headway.connectors.base import Chunk, Extent, Position
from headway.connectors.bytelog import FINGERPRINT_BYTES, ByteLog, check_fingerprint, fingerprint, reading
from headway.connectors.detect import open_log
from headway.connectors.linereader import MAX_LINE_BYTES, LineReader
from headway.errors import InputError

__all__ = ["FileReader"]

_Stamp = tuple[int, int, int, int]

_START: Final[Position] = {"offset": 0, "ordinal": 0}


class FileReader(LineReader):
    """Reads the lines of one file. While following, an idle read costs one `stat`.

    Raises `InputError` when the file is not (or no longer) the one that was read up to `position`.
    """

    def __init__(
        self,
        path: str,
        position: Optional[Position],
        *,
        follow: bool,
        label: str = "",
        may_vanish: bool = False,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        place = _START if position is None else position
        self._path = path
        self._follow = follow
        self._may_vanish = may_vanish
        self._fingerprint: str = place.get("id", fingerprint(b""))
        with reading(path):
            self._stamp = _stamp_of(os.stat(path))
        offset, taken = place["offset"], place.get("taken", 0)
        log = self._open(offset, taken)
        super().__init__(
            log,
            label=label,
            offset=offset,
            ordinal=place["ordinal"],
            taken=taken,
            max_line_bytes=max_line_bytes,
        )
        self._first_ordinal = place.get("first", 0)

    def finish(self) -> None:
        """Take the end of the file for final from now on."""
        self._follow = False

    @property
    def extent(self) -> Optional[Extent]:
        """How far the file has been read, which had its size when it was opened; None while it is followed."""
        if self._follow:
            return None
        size = self._stamp[2]
        return Extent(min(size, self._log.stored_bytes(self._offset + self._taken)), size)

    def position(self) -> Position:
        """Offset, ordinal and the fingerprint of what was read."""
        return {**super().position(), "id": self._fingerprint}

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next whole lines."""
        chunk = super().read(max_bytes)
        length = min(self._offset, FINGERPRINT_BYTES)
        if chunk is not None and not self._fingerprint.startswith(f"{length}:"):
            self._fingerprint = fingerprint(self._log.head(length))
        return chunk

    def _may_grow(self) -> bool:
        return self._follow

    def _prepare(self) -> bool:
        if not self._follow:
            return True
        stamp = self._look()
        if stamp == self._stamp:
            return not self._idle
        self._refresh(replaced=stamp[:2] != self._stamp[:2])
        self._stamp = stamp
        self._idle = False
        return True

    def _look(self) -> _Stamp:
        try:
            return _stamp_of(os.stat(self._path))
        except FileNotFoundError:
            if self._may_vanish:
                return self._stamp
            msg = (
                f"{self._path} is gone while it was being followed, at byte {self._offset}; logs may only be "
                "appended to: put it back, or for a log that is rotated use files(..., rotated=True)"
            )
            raise InputError(msg) from None

    def _refresh(self, *, replaced: bool) -> None:
        """Check that a file that has changed was only appended to."""
        if replaced or self._offset == 0:
            # Before anything was read, even the format may not be known yet.
            log = self._open(self._offset, self._taken)
            self._log.close()
            self._log = log
        else:
            self._log.require(self._offset, self._taken)
            check_fingerprint(self._path, self._log, self._fingerprint)

    def _open(self, offset: int, taken: int) -> ByteLog:
        log = open_log(self._path)
        try:
            check_fingerprint(self._path, log, self._fingerprint)
            if offset + taken:
                log.require(offset, taken)
        except BaseException:
            log.close()
            raise
        return log


def _stamp_of(found: os.stat_result) -> _Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
