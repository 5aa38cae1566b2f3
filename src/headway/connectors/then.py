"""The input `then`: a history that has an end, and behind it the log that goes on.

A partition of both is one log: that of the history is read to its end, then that of the live log, by one reader. So
time goes on over the seam as in one log, and a position says on which side it is. Partitions are paired in the order
of their names, in which numbers count as numbers.

Rejected: two sources whose streams are merged. Their partitions would hold each other's time back, and those of a
history that has ended would do so for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Optional

from headway.connectors.base import (
    BadRecord,
    Chunk,
    Decoded,
    Input,
    PartitionReader,
    Position,
    Session,
    Tell,
    unheard,
)
from headway.connectors.naming import in_order
from headway.connectors.ownfiles import OwnFiles
from headway.connectors.parts import RecordPart
from headway.errors import InputError, UsageError
from headway.formats.base import UNDECODABLE, Decoder, Format
from headway.types.eventcolumns import EventColumns

__all__ = ["ThenInput", "then"]


def then(history: Input, live: Input, *, number: Optional[str] = None) -> Input:
    """Read a history to its end, and go on with the live log: the same triggers as from one log.

    Each partition of the live log has one of the history before it, paired in the order of their names; numbers in
    names count as numbers. There may be fewer of the history, and not more: a live partition without one is read from
    its start. Both hold events of one type, each in a format of its own.

    **The seam.** Without `number` the live log begins where the history ends: it is read from where its own `start`
    says, and no record may be in both. With `number`, a field of the events, both may overlap. The field is in the
    history and says which number a record has in the live log (an offset of Kafka, a sequence number of NATS, a line of
    a file from 0); records of the live log up to the greatest one are passed over. Then each of its partitions needs
    a history. The history must not change once it is read, and what is missing between the two is not noticed.

    The live log is opened when the history has been read: it must keep its records for so long. Raises `UsageError` for
    what is no input, and for a live log that a run writes itself.

    >>> import headway as hw
    >>> hw.then(hw.parquet("history/*.parquet"), hw.kafka("localhost:9092", "orders")).describe()
    'parquet history/*.parquet, then kafka topic orders at localhost:9092'
    """
    for what, one in (("history", history), ("live", live)):
        if not isinstance(one, Input):
            msg = f'then(...): {what} is {one!r}, expected an input, such as hw.parquet("history/*.parquet")'
            raise UsageError(msg)
        if one.own_log is not None:
            msg = (
                f"then(...): {one.describe()} is a log that the run writes itself, and has no history; make it a source"
            )
            raise UsageError(msg)
    form = ThenFormat(history.format, live.format)
    return ThenInput(history, live, number, form, history.record_parts & live.record_parts)


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


@dataclass(frozen=True)
class ThenInput(Input):
    """What `then` returns."""

    history: Input
    live: Input
    number: Optional[str]
    format: Format
    record_parts: frozenset[RecordPart]

    def session(self) -> Session:
        """A session with each."""
        return ThenSession(self, self.history.session(), self.live.session())

    @property
    def ends(self) -> bool:
        """Whether the live log ends by itself."""
        return self.live.ends

    @property
    def has_news(self) -> bool:
        """Whether readers of the live log tell at once that there is more."""
        return self.live.has_news

    def may_read(self, path: str) -> bool:
        """Whether one of both reads a file of this path."""
        return self.history.may_read(path) or self.live.may_read(path)

    def paths(self) -> list[str]:
        """The files of both."""
        return [*self.history.paths(), *self.live.paths()]

    def within(self, directory: Path) -> Input:
        """Both in a state directory."""
        return replace(self, history=self.history.within(directory), live=self.live.within(directory))

    def apart_from(self, own: OwnFiles) -> Input:
        """Both without the files that the flow writes."""
        return replace(self, history=self.history.apart_from(own), live=self.live.apart_from(own))

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those of the live log."""
        return _paired(self, self.history, self.live, tell)[0]

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader of both."""
        return _opened(self, self.history, self.live, partition, position, follow=follow)

    def describe(self) -> str:
        """Both, such as `parquet history/*.parquet, then kafka topic carts at broker`."""
        return f"{self.history.describe()}, then {self.live.describe()}"

    @property
    def reading(self) -> str:
        """How both are read."""
        ways = [self.history.reading or "as it is", self.live.reading or "as it is"]
        return f"as a history ({ways[0]}), then a live log ({ways[1]})"


class ThenSession(Session):
    """What a process has of both."""

    def __init__(self, given: ThenInput, history: Session, live: Session) -> None:
        self._given = given
        self._history = history
        self._live = live

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those of the live log."""
        return _paired(self._given, self._history, self._live, tell)[0]

    def notices(self, tell: Tell) -> None:
        """What both have noticed."""
        self._history.notices(tell)
        self._live.notices(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader of both."""
        return _opened(self._given, self._history, self._live, partition, position, follow=follow)

    def close(self) -> None:
        """End both."""
        if self._live is not self._given.live:
            self._live.close()
        if self._history is not self._given.history:
            self._history.close()


def _paired(given: ThenInput, history: Session, live: Session, tell: Tell) -> tuple[list[str], dict[str, str]]:
    """The partitions of the live log, and those of the history that are before them."""
    before, after = in_order(history.partitions(tell)), in_order(live.partitions(tell))
    if after and (len(before) > len(after) or (given.number is not None and len(before) < len(after))):
        msg = (
            f"{given.describe()}: the history has {len(before)} partitions, and the live log {len(after)}: expected "
            f"{'as many' if given.number is not None else 'no more'} of the history; read its files as one log "
            "(one_log=True), or write one for each partition"
        )
        raise InputError(msg)
    return sorted(after), dict(zip(after, before))


def _opened(
    given: ThenInput, history: Session, live: Session, partition: str, position: Optional[Position], *, follow: bool
) -> PartitionReader:
    def go_on(at: Optional[Position]) -> PartitionReader:
        return live.open(partition, at, follow=follow)

    if position and "live" in position:
        return ThenReader(None, go_on, position, given.number)
    name = _paired(given, history, live, unheard)[1].get(partition)
    if name is None:
        return ThenReader(None, go_on, {"live": None, "shift": 0, "last": None}, given.number)
    before = history.open(name, position["history"] if position else None, follow=False)
    return ThenReader(before, go_on, position or {"count": 0, "last": None}, given.number)


class ThenReader(PartitionReader):
    """Reads one partition of the history, and then that of the live log."""

    def __init__(
        self,
        history: Optional[PartitionReader],
        go_on: Callable[[Optional[Position]], PartitionReader],
        position: Position,
        number: Optional[str],
    ) -> None:
        self.last: Optional[int] = position["last"]
        """The greatest number of the history's records in the live log."""
        self._history = history
        self._go_on = go_on
        self._number = number
        self._count: int = position.get("count", 0)
        """How many numbers records of the history have taken."""
        self._shift: int = position.get("shift", 0)
        """What is added to the numbers of the live log, so that they go on."""
        self._live = go_on(position["live"]) if history is None else None

    def read(self, max_bytes: int) -> Optional[Chunk]:
        """The next records of the history, then of the live log."""
        if self._history is not None:
            chunk = self._history.read(max_bytes)
            if chunk is not None:
                return _HistoryChunk(chunk, self)
            if not self._history.at_end:
                return None
            self._history.close()
            self._history = None
            # Behind what the numbers of the history, and those that are passed over, have taken.
            self._shift = max(0, self._count - (0 if self.last is None else self.last + 1))
            self._live = self._go_on(None)
        assert self._live is not None
        chunk = self._live.read(max_bytes)
        return None if chunk is None else _LiveChunk(chunk, self._shift, self.last)

    def seen(self, decoded: Decoded, taken: int) -> None:
        """Records of the history were decoded, up to a number in it."""
        self._count = max(self._count, taken)
        if self._number is None or not decoded.events:
            return
        events = decoded.events
        column = events.column_of(self._number) if isinstance(events, EventColumns) else None
        try:
            if column is None:
                column = [
                    each[self._number] if isinstance(each, dict) else getattr(each, self._number) for each in events
                ]
            self.last = max(column) if self.last is None else max(self.last, *column)
        except (AttributeError, LookupError, TypeError):
            msg = (
                f"then(..., number={self._number!r}): events of the history have no whole number there: name the field "
                "that says which number a record has in the live log"
            )
            raise InputError(msg) from None

    @property
    def at_end(self) -> bool:
        """Whether the live log has been read to its end."""
        return self._live is not None and self._live.at_end

    def has_more(self) -> bool:
        """Whether the live log has more."""
        return self._live is not None and self._live.has_more()

    def floor_ms(self, wall_ms: int) -> Optional[int]:
        """As the log says that is read."""
        reader = self._live or self._history
        assert reader is not None
        return reader.floor_ms(wall_ms)

    def position(self) -> Position:
        """The side, and where it stands there."""
        if self._live is not None:
            return {"live": self._live.position(), "shift": self._shift, "last": self.last}
        assert self._history is not None
        return {"history": self._history.position(), "count": self._count, "last": self.last}

    def committed(self, position: Position) -> None:
        """Let the live log hear it."""
        if self._live is not None and position.get("live") is not None:
            self._live.committed(position["live"])

    def close(self) -> None:
        """Close what is open."""
        for reader in (self._history, self._live):
            if reader is not None:
                reader.close()


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


class _HistoryChunk(_Side):
    def __init__(self, chunk: Chunk, reader: ThenReader) -> None:
        super().__init__(chunk)
        self._reader = reader

    def decode(self, decoder: Decoder) -> Decoded:
        assert isinstance(decoder, ThenDecoder)
        decoded = self._chunk.decode(decoder.sides[0])
        ends = [decoded.ordinals[-1]] if decoded.ordinals else []
        ends += [decoded.bad[-1].ordinal] if decoded.bad else []
        self._reader.seen(decoded, max(ends, default=-1) + 1)
        return decoded


class _LiveChunk(_Side):
    def __init__(self, chunk: Chunk, shift: int, last: Optional[int]) -> None:
        super().__init__(chunk)
        self._shift = shift
        self._last = last

    def decode(self, decoder: Decoder) -> Decoded:
        assert isinstance(decoder, ThenDecoder)
        decoded = self._chunk.decode(decoder.sides[1])
        if self._last is not None and decoded.ordinals and decoded.ordinals[0] <= self._last:
            kept = [index for index, ordinal in enumerate(decoded.ordinals) if ordinal > self._last]
            events = [decoded.events[index] for index in kept]
            bad = [one for one in decoded.bad if one.ordinal > self._last]
            decoded = Decoded(events, [decoded.ordinals[index] for index in kept], bad)
        if not self._shift:
            return decoded
        bad = [BadRecord(one.ordinal + self._shift, one.position, one.reason, one.raw) for one in decoded.bad]
        return Decoded(decoded.events, [ordinal + self._shift for ordinal in decoded.ordinals], bad)

    def record(self, ordinal: int) -> tuple[str, bytes]:
        return super().record(ordinal - self._shift)

    def parts(self, part: RecordPart, ordinals: Sequence[int]) -> list[Any]:
        return super().parts(part, [ordinal - self._shift for ordinal in ordinals])

    def receipt_times(self, ordinals: Sequence[int]) -> Optional[list[int]]:
        return super().receipt_times([ordinal - self._shift for ordinal in ordinals])
