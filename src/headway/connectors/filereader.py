"""Reads one file of lines, finished or still growing, and makes sure that it stays the same file."""

from __future__ import annotations

import os
from typing import Final, Optional

from headway.connectors.base import Chunk, Extent, Position
from headway.connectors.bytelog import (
    FINGERPRINT_BYTES,
    FileLog,
    Tail,
    changed,
    check_fingerprint,
    check_tail,
    fingerprint,
    reading,
)
from headway.connectors.detect import log_in, open_log
from headway.connectors.linereader import MAX_LINE_BYTES, LineReader
from headway.errors import InputError

__all__ = ["FileReader"]

_Stamp = tuple[int, int, int, int]

_START: Final[Position] = {"offset": 0, "ordinal": 0}


class FileReader(LineReader):
    """Reads the lines of one file. While following, an idle read costs one `stat`.

    A `held` file may be renamed, compressed or removed while it is read: what counts is the file that was opened.

    Raises `OtherLogError` when the file is not (or no longer) the one that was read up to `position`, as far as its
    size, its first KiB and the last KiB before the position tell.
    """

    _log: FileLog

    def __init__(
        self,
        path: str,
        position: Optional[Position],
        *,
        follow: bool,
        label: str = "",
        held: bool = False,
        header: bool = False,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        place = _START if position is None else position
        self._path = path
        self._follow = follow
        self._held = held
        self._fingerprint: str = place.get("id", fingerprint(b""))
        with reading(path):
            self._stamp = _stamp_of(os.stat(path))
        log = open_log(path)
        tail = self._check(log, place)
        if held:
            self._stamp = _stamp_of(log.status())
        super().__init__(
            log,
            label=label,
            offset=place["offset"],
            ordinal=place["ordinal"],
            taken=place.get("taken", 0),
            header=header,
            max_line_bytes=max_line_bytes,
        )
        self._tail = tail
        self._first_ordinal = place.get("first", 0)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file that is read."""
        return self._stamp[:2]

    @property
    def first_ordinal(self) -> int:
        """The ordinal of the file's first line."""
        return self._first_ordinal or 0

    def finish(self) -> None:
        """Take the end of the file for final from now on."""
        self._follow = False

    def go_on(self, ordinal: int) -> None:
        """Take the end of the file for preliminary from now on; the next line has this ordinal."""
        self._follow = True
        self._at_end = False
        self._shift(ordinal - self._ordinal)

    def skip_ordinals(self, count: int) -> None:
        """Leave out so many ordinals: records of another file have got them."""
        self._shift(count)

    def _shift(self, count: int) -> None:
        """Let the next line have a later ordinal, and the same number in its file."""
        self._ordinal += count
        if self._first_ordinal is not None:
            self._first_ordinal += count

    @property
    def extent(self) -> Optional[Extent]:
        """How far the file has been read, which had its size when it was opened; None while it is followed."""
        if self._follow:
            return None
        size = self._stamp[2]
        return Extent(min(size, self._log.stored_bytes(self._offset + self._taken)), size)

    def position(self) -> Position:
        """Offset and ordinal, and what tells the file: the fingerprint of its beginning and of what was read last."""
        position = {**super().position(), "id": self._fingerprint}
        if self._tail.end:
            position["tail"] = str(self._tail)
        return position

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
        if self._held:
            return _stamp_of(self._log.status())
        try:
            with reading(self._path):
                return _stamp_of(os.stat(self._path))
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            msg = (
                f"{self._path} is gone while it was being followed, at byte {self._offset}; logs may only be "
                "appended to: put it back, or for a log that is rotated use files(..., rotated=True)"
            )
            raise InputError(msg) from None

    def _refresh(self, *, replaced: bool) -> None:
        """Check that a file that has changed was only appended to."""
        if replaced or self._offset == 0:
            # Before anything was read, even the format may not be known yet.
            log = log_in(self._path, self._log.duplicate()) if self._held else open_log(self._path)
            self._check(log, self.position())
            self._log.close()
            self._log = log
            return
        self._log.require(self._offset, self._taken)
        check_fingerprint(self._path, self._log, self._fingerprint)
        data = self._tail.data
        if self._log.rewinds and self._log.window(self._tail.end - len(data), len(data)) != data:
            raise changed(self._path, self._tail.end)

    def _check(self, log: FileLog, place: Position) -> Tail:
        """Make sure that a log can be read on at a place, or close it; returns what was read last."""
        offset, taken = place["offset"], place.get("taken", 0)
        try:
            check_fingerprint(self._path, log, self._fingerprint)
            tail = check_tail(self._path, log, offset, taken, place["tail"]) if "tail" in place else Tail()
            if offset + taken:
                log.require(offset, taken)
        except BaseException:
            log.close()
            raise
        return tail


def _stamp_of(found: os.stat_result) -> _Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
