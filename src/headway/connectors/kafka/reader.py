"""Messages of one partition, and the reader that finds them in its queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from headway.connectors.base import Position
from headway.connectors.parts import RecordPart
from headway.connectors.queued import QueuedReader
from headway.connectors.records import RecordsChunk

if TYPE_CHECKING:
    from headway.connectors.kafka.session import KafkaSession

__all__ = ["CommittingReader", "KafkaChunk", "KafkaReader"]


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
            return list(message.headers() or ())
        return self.ordinals[index] if part is RecordPart.OFFSET else self._partition


class KafkaReader(QueuedReader):
    """Reads one partition; positions are offsets of the next record, with the id of the topic where it is known."""

    def __init__(
        self, session: KafkaSession, name: str, number: int, position: Optional[Position], *, follow: bool
    ) -> None:
        super().__init__(session, name, position, follow=follow)
        self.number = number
        self.topic_id: Optional[str] = None if position is None else position.get("topic")
        """The topic that its positions are of."""
        self.end: Optional[int] = None
        """Where a bounded reader ends: the end of the partition when it was opened."""
        self._kafka = session

    def at(self, offset: int) -> Position:
        """The position of an offset."""
        return {"offset": offset} if self.topic_id is None else {"offset": offset, "topic": self.topic_id}

    def take_messages(self, messages: Sequence[Any]) -> None:
        """Messages have come, some of them perhaps behind the end."""
        last = messages[-1].offset()
        if self.end is not None and last >= self.end:
            messages = [message for message in messages if message.offset() < self.end]
        if messages:
            self.take(KafkaChunk(self.name, messages), self.at(messages[-1].offset() + 1), sum(map(len, messages)))
        self.check_end(last + 1)

    def check_end(self, offset: int) -> None:
        """All before an offset has come: where a bounded reader wants no more, it is finished."""
        if self.end is not None and offset >= self.end:
            self.finish()

    def note_end(self, high: int, offset: int) -> None:
        """The partition ends at `high`, and all before `offset` was fetched."""
        self.unfetched = max(0, (high if self.end is None else min(high, self.end)) - offset)

    def all_came(self, offset: int) -> None:
        """For now there is no more: behind the last record there may be marks of transactions, which nobody reads.

        An open transaction may stand before the end of a bounded reader: what is in it comes to the next run.
        """
        self.reached(self.at(offset))
        self.unfetched = 0
        if self.end is not None:
            self.finish()


class CommittingReader(KafkaReader):
    """A reader whose offsets are committed to a group, so that tools see how far it is."""

    def committed(self, position: Position) -> None:
        """Hand the offset to the session's thread."""
        if position:
            self._kafka.commit(self.number, position["offset"])
