"""Reading an inbox's log in a flow: what is durable, in order, from any record on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Optional

from headway.connectors.base import Extent, PartitionReader, Position
from headway.connectors.lines import LinesChunk
from headway.errors import InputError, LockedStateError
from headway.inbox.cells import Cells
from headway.inbox.frames import SEGMENT_BYTES, Frame, frame_at, segment_start, size_at
from headway.inbox.log import InboxLog
from headway.inbox.recovery import segments_in
from headway.state.files import RESTORE, state_files
from headway.state.private import open_private

__all__ = ["InboxChunk", "InboxReader", "times_of"]

_RETRY_S: Final = 0.1
_BUFFER_BYTES: Final = 256 << 10


@dataclass(frozen=True)
class InboxChunk(LinesChunk):
    """Some whole batches of an inbox's log."""

    received: tuple[tuple[int, int], ...] = field(default=())
    """The number of a batch's first record and its receipt time, for each batch."""

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """The number of a record, and its bytes."""
        return f"record {ordinal}", super().record(ordinal)[1]

    def receipt_times(self, ordinals: Sequence[int]) -> list[int]:
        """When the log took the records, which are in order."""
        return times_of(self.received, ordinals)


def times_of(received: Sequence[tuple[int, int]], ordinals: Sequence[int]) -> list[int]:
    """The receipt times of records in order; `received` has the first record and the time of each batch.

    >>> times_of([(4, 1_000), (7, 2_000)], [4, 6, 7])
    [1000, 1000, 2000]
    """
    if len(received) == 1:
        return [received[0][1]] * len(ordinals)
    times = []
    index = 0
    for ordinal in ordinals:
        while index + 1 < len(received) and received[index + 1][0] <= ordinal:
            index += 1
        times.append(received[index][1])
    return times


class InboxReader(PartitionReader):
    """Reads one log from a record on: `position` None is its oldest one.

    To look whether there is more costs a microsecond, and no call of the operating system. Raises `InputError` when the
    record that is to be read has been deleted, and `CorruptStateError` for damage.
    """

    def __init__(self, directory: Path, name: str, position: Optional[Position], *, follow: bool) -> None:
        self._directory = directory
        self._name = name
        self._follow = follow
        self._next: Optional[int] = None if position is None else position["record"]
        self._ended = False
        self._fd: Optional[int] = None
        self._offset = 0
        self._stop_at: Optional[int] = None
        """The first record of the file after the open one, once there is one."""
        self._floor_ms = 0
        self._retry_at = 0.0
        self._buffer, self._buffer_at, self._buffer_durable = b"", 0, 0
        with state_files(directory):
            self._cells = Cells(directory)

    @property
    def at_end(self) -> bool:
        """Whether all that is durable has been read, where the end is final."""
        return self._ended

    def has_more(self) -> bool:
        """Whether there is something to be read now."""
        return self._cells.next > (self._next or 0)

    @property
    def behind(self) -> Optional[int]:
        """How many durable records were not read yet; None after a start of the machine, until somebody has looked."""
        try:
            return max(0, self._cells.next - (self._next or self._cells.oldest)) if self._cells.is_current else None
        except ValueError:  # Another thread asks, and the files were let go of meanwhile.
            return None

    def position(self) -> Position:
        """The number of the next record."""
        return {"record": self._next or 0}

    @property
    def extent(self) -> Optional[Extent]:
        """Not known in bytes."""
        return None

    def committed(self, position: Position) -> None:
        """What is before it may be deleted by the writer, once it is old enough."""
        self._cells.needed = max(self._cells.needed, position["record"])

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """No record that is yet to be read was received before this time; None when nothing is known yet."""
        if self._follow and self._cells.is_current:
            self._floor_ms = max(self._floor_ms, self._cells.claim(wall_ms, self._next or 0))
        return self._floor_ms or None

    def close(self) -> None:
        """Let go of the files."""
        self._close_segment()
        self._cells.close()

    def read(self, max_bytes: int) -> Optional[InboxChunk]:
        """The next batches, whole ones."""
        if not self._cells.is_current and not self._recover():
            return None
        durable = self._cells.next
        if self._next is None:
            self._next = self._cells.oldest
        if self._next >= durable:
            if self._next > durable:
                raise self._behind(durable)
            self._ended = not self._follow
            return None
        frames: list[Frame] = []
        size = 0
        with state_files(self._directory, "read"):
            while size < max_bytes and self._next < durable:
                frame = self._frame(durable)
                frames.append(frame)
                size += len(frame.lines)
                self._next, self._offset = frame.next, frame.end
        self._floor_ms = max(self._floor_ms, frames[-1].received_ms)
        return self._chunk(frames)

    def _chunk(self, frames: list[Frame]) -> InboxChunk:
        lines = b"".join(frame.lines for frame in frames)
        received = tuple((frame.first, frame.received_ms) for frame in frames)
        return InboxChunk(lines, frames[0].first, 0, received=received)

    def _frame(self, durable: int) -> Frame:
        """The frame whose first record is the next one."""
        assert self._next is not None
        while True:
            if self._fd is None or self._stop_at == self._next:
                self._open_segment()
            frame = self._look(durable)
            if frame is not None and (self._stop_at is None or frame.next <= self._stop_at):
                if frame.first == self._next and frame.next <= durable:
                    return frame
                if frame.next <= self._next:
                    self._offset = frame.end  # Looking for the record at which a reader begins.
                    continue
            # Perhaps the writer has begun another file since this one was opened.
            before, self._stop_at = self._stop_at, self._follower()
            if self._stop_at == before or self._stop_at != self._next:
                msg = (
                    f"the inbox {self._name} is damaged: record {self._next} of {durable} cannot be read at byte "
                    f"{self._offset} of its file; {RESTORE}"
                )
                raise InputError(msg)

    def _look(self, durable: int) -> Optional[Frame]:
        """The frame at the present byte of the open file; None where there is no whole one."""
        assert self._fd is not None
        # What was read before it was durable may have been cut off and written anew since.
        if durable == self._buffer_durable:
            frame = frame_at(self._buffer, self._offset - self._buffer_at, self._buffer_at)
            if frame is not None:
                return frame
        data = os.pread(self._fd, _BUFFER_BYTES, self._offset)
        size = size_at(data, 0)
        if size is not None and size > len(data):
            data = os.pread(self._fd, size, self._offset)
        self._buffer, self._buffer_at, self._buffer_durable = data, self._offset, durable
        return frame_at(data, 0, self._offset)

    def _open_segment(self) -> None:
        """Open the file that has the next record, at its beginning."""
        assert self._next is not None
        self._close_segment()
        for _ in range(2):
            found = [(first, path) for first, path in segments_in(self._directory) if first <= self._next]
            if not found:
                raise self._behind(self._cells.next)
            first, path = found[-1]
            try:
                self._fd = open_private(path, os.O_RDONLY)
                break
            except FileNotFoundError:
                continue  # It was deleted in between.
        else:
            raise self._behind(self._cells.next)
        segment_start(os.pread(self._fd, SEGMENT_BYTES, 0), path)
        self._first, self._offset = first, SEGMENT_BYTES
        self._buffer_durable = -1
        self._stop_at = self._follower()

    def _follower(self) -> Optional[int]:
        """The first record of the file after the open one."""
        return min((first for first, _ in segments_in(self._directory) if first > self._first), default=None)

    def _close_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _recover(self) -> bool:
        """Find out what is durable, after a start of the machine, where nobody writes; False while somebody does."""
        if self._retry_at > time.monotonic():
            return False
        try:
            InboxLog(self._directory).close()
        except LockedStateError:
            self._retry_at = time.monotonic() + _RETRY_S
        return self._cells.is_current

    def _behind(self, durable: int) -> InputError:
        oldest = self._cells.oldest
        msg = (
            f"the inbox {self._name} has the records {oldest} to {durable - 1}, and record {self._next} is to be read: "
            "its log is not the one that was read before, or older records were deleted; restore state and inbox "
            "together, or start with a new state directory"
        )
        return InputError(msg)
