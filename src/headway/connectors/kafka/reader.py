"""One partition of a topic: what the session's thread has brought, read in step on the engine's thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Optional

from headway.connectors.base import Chunk, PartitionReader, Position
from headway.connectors.parts import RecordPart
from headway.connectors.records import RecordsChunk
from headway.errors import InputError

if TYPE_CHECKING:
    from headway.connectors.kafka.session import KafkaSession

__all__ = ["CommittingReader", "KafkaChunk", "KafkaReader"]

_QUEUED_MOST: Final = 20_000
_QUEUED_BYTES_MOST: Final = 8 << 20
"""What waits for the engine of one partition: beyond it the broker is asked for no more."""


class KafkaChunk(RecordsChunk):
    """Messages of one partition, as the client gives them."""

    def __init__(self, partition: str, messages: Sequence[Any]) -> None:
        self.ordinals = [message.offset() for message in messages]
        self.values = [message.value() for message in messages]
        self._messages = messages
        self._partition = partition

    def place_of(self, index: int) -> str:
        """Its offset."""
        return f"offset {self.ordinals[index]}"

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What the broker keeps beside the value."""
        message = self._messages[index]
        if part is RecordPart.TIME:
            kind, time_ms = message.timestamp()
            return time_ms if kind else None
        if part is RecordPart.KEY:
            return message.key()
        if part is RecordPart.HEADERS:
            return [(name, value) for name, value in message.headers() or ()]
        return self.ordinals[index] if part is RecordPart.OFFSET else self._partition


class KafkaReader(PartitionReader):
    """Reads one partition.

    The session's thread calls `take`, `starts_at`, `reached` and `fail`; all else is called by the engine's thread.
    What both touch is a deque and plain attributes, each of which is written by one of them.
    """

    def __init__(
        self, session: KafkaSession, name: str, number: int, position: Optional[Position], *, follow: bool
    ) -> None:
        self.name = name
        self.number = number
        self.wanted: Optional[int] = None if position is None else int(position["offset"])
        """The offset at which it was opened; None for where the input starts."""
        self.topic_id: Optional[str] = None if position is None else position.get("topic")
        """The topic that the position is of."""
        self.follow = follow
        self.is_paused = False
        """Whether the client was asked to bring no more of it for now; the session's."""
        self._session = session
        self._next = self.wanted
        self._queue: deque[tuple[Sequence[Any], int]] = deque()
        self._queued = self._taken = 0
        self._queued_bytes = self._taken_bytes = 0
        self._end: Optional[int] = None
        self._reached: Optional[int] = None
        self._failure: Optional[InputError] = None
        self._at_end = False

    def take(self, messages: Sequence[Any]) -> None:
        """Messages have come."""
        size = sum(map(len, messages))
        self._queued += len(messages)
        self._queued_bytes += size
        self._queue.append((messages, size))

    def starts_at(self, offset: int, end: int, topic_id: Optional[str]) -> None:
        """Where reading begins, and where the partition ends now."""
        self.topic_id = topic_id
        self._next = offset
        self._end = end

    def reached(self, offset: int) -> None:
        """Everything before this offset has come: for now there is no more."""
        self._reached = offset

    def fail(self, error: InputError) -> None:
        """It cannot be read on."""
        self._failure = error

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        waiting, size = self._queued - self._taken, self._queued_bytes - self._taken_bytes
        return waiting > _QUEUED_MOST or size > _QUEUED_BYTES_MOST

    @property
    def is_low(self) -> bool:
        """Whether there is room for more."""
        waiting, size = self._queued - self._taken, self._queued_bytes - self._taken_bytes
        return waiting < _QUEUED_MOST // 2 and size < _QUEUED_BYTES_MOST // 2

    def has_more(self) -> bool:
        """Whether something has come."""
        return bool(self._queue)

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """What has come next, some hundred messages."""
        self._session.check()
        reached = self._reached  # Before the queue is looked at: what it speaks of is in there.
        if self._queue:
            messages, size = self._queue.popleft()
            self._taken += len(messages)
            self._taken_bytes += size
            return self._chunk(messages)
        if self._failure is not None:
            raise self._failure
        if reached is not None and self._next is not None:
            # Behind the last record there may be marks of transactions, which nobody reads.
            self._next = max(self._next, reached)
            self._at_end = not self.follow
        elif self._is_over:
            self._at_end = True
        return None

    def _chunk(self, messages: Sequence[Any]) -> Optional[Chunk]:
        if not self.follow and self._end is not None and messages[-1].offset() >= self._end:
            messages = [message for message in messages if message.offset() < self._end]
            self._next = self._end
            self._at_end = True
            self._queue.clear()
            return KafkaChunk(self.name, messages) if messages else None
        self._next = messages[-1].offset() + 1
        self._at_end = self._is_over and not self._queue
        return KafkaChunk(self.name, messages)

    @property
    def _is_over(self) -> bool:
        """Whether a bounded run has all that there was when it began."""
        return not self.follow and self._end is not None and self._next is not None and self._next >= self._end

    @property
    def at_end(self) -> bool:
        """Whether a bounded run has read what there was when it began."""
        return self._at_end

    def position(self) -> Position:
        """The offset of the next record, and of which topic of that name."""
        position: Position = {"offset": self._next or 0}
        if self.topic_id is not None:
            position["topic"] = self.topic_id
        return position

    def close(self) -> None:
        """Ask the broker for no more."""
        self._session.release(self)


class CommittingReader(KafkaReader):
    """A reader whose offsets are committed to a group, so that tools see how far it is."""

    def committed(self, position: Position) -> None:
        """Hand the offset to the session's thread."""
        self._session.commit(self.number, position["offset"])
