"""Messages of a queue as records of an inbox's log, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Optional

import msgspec

from headway.connectors.parts import RecordPart
from headway.connectors.records import RecordsChunk
from headway.inbox.commits import Item
from headway.inbox.queues.base import Message
from headway.inbox.reader import InboxChunk, times_of
from headway.inbox.window import hash_of

__all__ = ["QueueChunk", "item_of"]


class _Kept(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message as a line of JSON, which the log's records are; bytes are Base64 in it."""

    value: bytes
    key: Optional[str] = None
    headers: list[tuple[str, bytes]] = []
    time_ms: Optional[int] = None


_encode: Final = msgspec.json.Encoder().encode
_decode_lines: Final = msgspec.json.Decoder(_Kept).decode_lines


def item_of(message: Message) -> Item:
    """What is appended for a message."""
    line = _encode(_Kept(message.value, message.key, list(message.headers), message.time_ms)) + b"\n"
    if message.id is None:
        return Item(line, 1, None)
    # Producers may use an id again for another message, which must not get lost. What else a queue says of a message
    # may differ when it hands it out again. The letter says what kind of key it is, as those of other items do.
    return Item(line, 1, f"m{hash_of(message.value).hex()}{message.id}", message.value)


class QueueChunk(RecordsChunk):
    """Messages of a queue, out of what its log has."""

    def __init__(self, partition: str, read: InboxChunk) -> None:
        self._partition = partition
        self._received = read.received
        self._kept = _decode_lines(read.data)
        self.ordinals = range(read.first_ordinal, read.first_ordinal + len(self._kept))
        self.values = [kept.value for kept in self._kept]

    def place_of(self, index: int) -> str:
        """The number of its record."""
        return f"record {self.ordinals[index]}"

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What the queue knew of it."""
        kept = self._kept[index]
        if part is RecordPart.TIME:
            return self._receipts[index] if kept.time_ms is None else kept.time_ms
        if part is RecordPart.KEY:
            return kept.key
        if part is RecordPart.HEADERS:
            return kept.headers
        return self.ordinals[index] if part is RecordPart.OFFSET else self._partition

    @cached_property
    def _receipts(self) -> list[int]:
        return times_of(self._received, self.ordinals)

    def receipt_times(self, ordinals: Sequence[int]) -> list[int]:
        """When the log took the records, which are in order."""
        return times_of(self._received, ordinals)
