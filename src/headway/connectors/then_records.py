"""Records of a history and of the live log behind it, for the input `then`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

from headway.connectors.base import BadRecord, Chunk, Decoded
from headway.connectors.parts import RecordPart
from headway.formats.base import UNDECODABLE, Decoder, Format

__all__ = ["HistoryChunk", "LiveChunk", "ThenFormat"]


@dataclass(frozen=True)
class ThenFormat(Format):
    """The formats of both."""

    name: ClassVar[str] = "then"

    history: Format
    live: Format

    def decoder(self, event_type: Any) -> Decoder:
        """A decoder for each."""
        return ThenDecoder(self.history.decoder(event_type), self.live.decoder(event_type))


class ThenDecoder(Decoder):
    """Decodes chunks of both sides by `sides`; a record that stands alone, as in a dead letter, as one of either."""

    def __init__(self, *sides: Decoder) -> None:
        self.sides = sides
        self.event_type = sides[1].event_type
        self._history, self._live = sides

    def decode_record(self, record: bytes) -> Any:
        """The event of one record of the live log or, where it is none, of the history."""
        try:
            return self._live.decode_record(record)
        except UNDECODABLE as error:
            try:
                return self._history.decode_record(record)
            except UNDECODABLE:
                raise error from None

    def decode_records(self, records: Sequence[bytes]) -> list[Any]:
        """The events of records."""
        return list(map(self.decode_record, records))

    def convert(self, value: Any) -> Any:
        """The event that Python values mean."""
        return self._live.convert(value)

    def settle(self, event: Any) -> Any:
        """An event that can be stored."""
        return self._live.settle(event)


class _Side(Chunk):
    """A chunk of one side."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self.has_parts = chunk.has_parts

    def record(self, ordinal: int) -> tuple[str, bytes]:
        return self._chunk.record(ordinal)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        return self._chunk.parts(part, ordinals)

    def receipt_times(self, ordinals: Sequence[int]) -> Optional[list[int]]:
        return self._chunk.receipt_times(ordinals)


class HistoryChunk(_Side):
    """A chunk of the history; `seen` hears what was decoded of it, and how many numbers that has taken."""

    def __init__(self, chunk: Chunk, seen: Callable[[Decoded, int], None]) -> None:
        super().__init__(chunk)
        self._seen = seen

    def decode(self, decoder: Decoder) -> Decoded:
        """The events, in the format of the history."""
        assert isinstance(decoder, ThenDecoder)
        decoded = self._chunk.decode(decoder.sides[0])
        ends = [decoded.ordinals[-1]] if decoded.ordinals else []
        ends += [decoded.bad[-1].ordinal] if decoded.bad else []
        self._seen(decoded, max(ends, default=-1) + 1)
        return decoded


class LiveChunk(_Side):
    """A chunk of the live log, without records up to the number `last`; `shift` is added to the numbers of others."""

    def __init__(self, chunk: Chunk, shift: int, last: Optional[int]) -> None:
        super().__init__(chunk)
        self._shift = shift
        self._last = last

    def decode(self, decoder: Decoder) -> Decoded:
        """The events behind those that are passed over, in the format of the live log."""
        assert isinstance(decoder, ThenDecoder)
        decoded = self._chunk.decode(decoder.sides[1])
        firsts = [*decoded.ordinals[:1], *(one.ordinal for one in decoded.bad[:1])]
        if self._last is not None and min(firsts, default=self._last + 1) <= self._last:
            kept = [index for index, ordinal in enumerate(decoded.ordinals) if ordinal > self._last]
            events = [decoded.events[index] for index in kept]
            bad = [one for one in decoded.bad if one.ordinal > self._last]
            decoded = Decoded(events, [decoded.ordinals[index] for index in kept], bad)
        if not self._shift:
            return decoded
        bad = [BadRecord(one.ordinal + self._shift, one.position, one.reason, one.raw) for one in decoded.bad]
        return Decoded(decoded.events, [ordinal + self._shift for ordinal in decoded.ordinals], bad)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        """By the number that it has behind the history."""
        return super().record(ordinal - self._shift)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        """By the numbers that they have behind the history."""
        return super().parts(part, [ordinal - self._shift for ordinal in ordinals])

    def receipt_times(self, ordinals: Sequence[int]) -> Optional[list[int]]:
        """By the numbers that they have behind the history."""
        return super().receipt_times([ordinal - self._shift for ordinal in ordinals])
