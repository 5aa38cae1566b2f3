"""A reader that finds in its queue what the thread of a session has fetched. See `headway.connectors.remote`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Optional, Protocol

from headway.connectors.base import Chunk, PartitionReader, Position
from headway.connectors.records import RecordsChunk
from headway.errors import InputError

__all__ = ["BATCH", "QueuedReader", "SessionOfReaders"]

BATCH: Final = 256
"""Records in a chunk: few enough that their events stay in the processor's cache."""
_QUEUED_MOST: Final = 20_000
_QUEUED_BYTES_MOST: Final = 8 << 20


class SessionOfReaders(Protocol):
    """What a reader needs of its session."""

    def check(self) -> None:
        """Raise what has ended the session, if something has."""

    def release(self, reader: QueuedReader) -> None:
        """Fetch no more for a reader."""


class QueuedReader(PartitionReader):
    """Reads one partition out of a queue. The session's thread calls `take`, `reached`, `finish` and `fail`."""

    def __init__(self, session: SessionOfReaders, name: str, position: Optional[Position], *, follow: bool) -> None:
        self.name = name
        self.follow = follow
        self.wanted: Optional[Position] = position or None
        """Where it was opened; None for where the input starts."""
        self.fetched: Optional[Position] = self.wanted
        """Up to where records have been taken: where the session goes on. The session's."""
        self.unfetched: Optional[int] = None
        """How many records the server has that were not fetched, as far as the session knows."""
        self.is_paused = False
        """Whether no more is fetched for now; the session's."""
        self.on_low: Callable[[], None] = lambda: None
        """Called on the engine's thread when there is room again."""
        self.on_close: Callable[[], None] = lambda: None
        """Called when it has been closed."""
        self._session = session
        self._position = position or {}
        self._queue: deque[tuple[RecordsChunk, Position, int, int]] = deque()
        self._came = self._taken = self._came_bytes = self._taken_bytes = 0
        self._reached: Optional[Position] = None
        self._is_finished = False
        self._failure: Optional[InputError] = None

    def take(self, chunk: RecordsChunk, position: Position, size: int) -> None:
        """A chunk has come, of so many bytes; `position` is behind it."""
        count = len(chunk.ordinals)
        self._came += count
        self._came_bytes += size
        self._queue.append((chunk, position, count, size))
        self.fetched = position

    def reached(self, position: Position) -> None:
        """All that there is now has come: whoever goes on from `position` misses nothing."""
        self._reached = self.fetched = position

    def finish(self) -> None:
        """A bounded reader has all that there was when it was opened."""
        self._is_finished = True

    def fail(self, error: InputError) -> None:
        """It cannot be read on. What has come before is read first."""
        self._failure = error

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return self._came - self._taken > _QUEUED_MOST or self._came_bytes - self._taken_bytes > _QUEUED_BYTES_MOST

    @property
    def is_low(self) -> bool:
        """Whether there is room for more."""
        waiting, size = self._came - self._taken, self._came_bytes - self._taken_bytes
        return waiting < _QUEUED_MOST // 2 and size < _QUEUED_BYTES_MOST // 2

    @property
    def behind(self) -> Optional[int]:
        """What waits in the queue, and what the server has behind it."""
        return None if self.unfetched is None else self.unfetched + self._came - self._taken

    def has_more(self) -> bool:
        """Whether something has come."""
        return bool(self._queue)

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """What has come next."""
        self._session.check()
        reached = self._reached  # Before the queue is looked at: what it speaks of is in there.
        if not self._queue:
            if self._failure is not None:
                raise self._failure
            if reached is not None and reached is self.fetched:
                self._position = reached
            return None
        chunk, self._position, count, size = self._queue.popleft()
        self._taken += count
        self._taken_bytes += size
        if self.is_paused and self.is_low:
            self.on_low()
        return chunk

    @property
    def at_end(self) -> bool:
        """Whether a bounded reader has read all that there was."""
        return self._is_finished and not self._queue

    def position(self) -> Position:
        """Behind what was read last; empty before anything is known of where the input starts."""
        return self._position

    def close(self) -> None:
        """Fetch no more."""
        self._session.release(self)
        self.on_close()
