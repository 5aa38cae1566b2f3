"""A source, one record at a time: decoding, event time and lateness, each by the log of one partition alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Union, get_type_hints

import msgspec

from headway.basics.times import MIN_TIME_MS, parse_time
from headway.connectors.apart import bad_reason
from headway.connectors.base import BadRecord, Chunk
from headway.connectors.lines import LinesChunk
from headway.connectors.memory import ItemsChunk
from headway.connectors.parts import RecordPart
from headway.connectors.records import Record
from headway.errors import HeadwayError, UserCodeError, is_of_the_flow, why
from headway.graph import DEAD_LETTERS, INGESTION_TIME, LATE, MAIN
from headway.plan.stages import Edge, SourceStage
from headway.testing.oracle_steps import Ends, Item, Useless, Ways, field_or_result, follow, why_useless
from headway.types.letters import DeadLetter

__all__ = ["SourceOracle"]


@dataclass
class _Partition:
    max_time: Optional[int] = None
    """The latest event time so far; None before the first."""
    records: int = 0
    bytes: int = 0


def _text(data: Optional[Union[bytes, str]]) -> Optional[str]:
    return data.decode() if isinstance(data, bytes) else data


def _beside(parts: dict[RecordPart, Any]) -> Record:
    """A record's parts, as its chunk knows them."""
    return Record(
        None,
        key=parts.get(RecordPart.KEY),
        headers=parts.get(RecordPart.HEADERS) or (),
        time_ms=parts.get(RecordPart.TIME),
    )


class SourceOracle:
    """Reads the records of one source.

    `ends` takes what leaves for other stages, `now_ms` stamps events with ingestion time.
    """

    def __init__(self, stage: SourceStage, ends: Ends, now_ms: Callable[[], int]) -> None:
        self.name = stage.name
        self.late: list[Any] = []
        self.dead_letters: list[DeadLetter] = []
        self.latest_event: Optional[int] = None
        """The latest time of all events, whatever time was let pass."""
        self.claimed: Optional[int] = None
        """The watermark when the books are being closed."""
        self._node = stage.node
        self._ports = stage.ports
        self._out_of_order_ms = stage.node.out_of_order_ms
        self._decoder = stage.node.input.format.decoder(stage.node.event_type)
        self._now_ms = now_ms
        self._partitions: dict[str, _Partition] = {}
        self._floor = MIN_TIME_MS
        self._chunk: Optional[Chunk] = None
        self._receipt_ms: Optional[int] = None
        """When the log took the record that is being read, where it says so."""
        self._reading = ""
        self._rejected: list[tuple[int, DeadLetter]] = []
        self._ends = ends
        self._ways = Ways(send=ends.send, reject=self._reject_item)

    @property
    def watermark(self) -> int:
        """No further on-time event has a time at or before it: the minimum over the partitions."""
        if self.claimed is not None:
            return self.claimed
        return min((self._watermark_of(partition) for partition in self._partitions.values()), default=self._floor)

    @property
    def newest(self) -> Optional[int]:
        """The latest event time of all partitions."""
        return max((p.max_time for p in self._partitions.values() if p.max_time is not None), default=None)

    def time_of(self, partition: str) -> int:
        """The latest event time of a partition, or the earliest time there is before the first event."""
        found = self._partitions[partition].max_time
        return MIN_TIME_MS if found is None else found

    def add_partition(self, name: str) -> None:
        """Make a partition known; one that comes later than others starts at the watermark of that moment."""
        if name not in self._partitions:
            floor = self.watermark
            joined = None if floor == MIN_TIME_MS else floor + self._out_of_order_ms + 1
            self._partitions[name] = _Partition(joined)

    def raise_watermark(self, to_ms: int) -> None:
        """Let time pass in every partition, as if nothing at or before `to_ms` could come any more."""
        self._floor = max(self._floor, to_ms)
        for partition in self._partitions.values():
            if self._watermark_of(partition) < to_ms:
                partition.max_time = to_ms + self._out_of_order_ms + 1

    def read(self, name: str, record: Any) -> None:
        """Take the next record of a partition: one line of JSON as bytes, a dict, or an event."""
        partition = self._partitions[name]
        ordinal = partition.records
        self._chunk = self._chunk_of(record, partition)
        decoded = self._chunk.decode(self._decoder)
        beside = record if isinstance(record, Record) else Record(record)
        self._reading = name
        for bad in decoded.bad:
            self._add(bad.ordinal, bad.position, bad.reason, bad.raw)
        for event in decoded.events:
            self._take(partition, name, event, beside, ordinal)
        self._send_dead_letters(name, partition)

    def read_chunk(self, name: str, chunk: Chunk) -> None:
        """Take the next records of a partition as its reader gave them, one after the other."""
        partition = self._partitions[name]
        self._chunk, self._reading = chunk, name
        decoded = chunk.decode(self._decoder)
        receipts = chunk.receipt_times(decoded.ordinals) if self._node.time is INGESTION_TIME else None
        parts = {part: chunk.parts(part, decoded.ordinals) for part in self._parts_read}
        bad = list(decoded.bad)
        for number, (ordinal, event) in enumerate(zip(decoded.ordinals, decoded.events)):
            while bad and bad[0].ordinal < ordinal:
                self._take_bad(name, partition, bad.pop(0))
            self._receipt_ms = None if receipts is None else receipts[number]
            beside = _beside({part: values[number] for part, values in parts.items()})
            self._take(partition, name, event, beside, ordinal)
            self._send_dead_letters(name, partition)
        for one in bad:
            self._take_bad(name, partition, one)

    @property
    def _parts_read(self) -> set[RecordPart]:
        """What is asked of a chunk besides its values."""
        parts = {part for _, part in self._node.fields}
        if isinstance(self._node.time, RecordPart):
            parts.add(self._node.time)
        return parts - {RecordPart.OFFSET, RecordPart.PARTITION}

    def _take_bad(self, name: str, partition: _Partition, bad: BadRecord) -> None:
        self._add(bad.ordinal, bad.position, bad.reason, bad.raw)
        self._send_dead_letters(name, partition)

    def _take(self, partition: _Partition, name: str, event: Any, beside: Record, ordinal: int) -> None:
        if not self._has_fields(event, beside, name, ordinal):
            return
        time_ms = self._time(event, beside, partition, ordinal)
        if time_ms is not None:
            self._judge(name, partition, Item(time_ms, None, event, name, ordinal))

    def _chunk_of(self, record: Any, partition: _Partition) -> Chunk:
        ordinal, start = partition.records, partition.bytes
        partition.records += 1
        if isinstance(record, bytes):
            line = record.rstrip(b"\n")
            partition.bytes += len(line) + 1
            return LinesChunk(line, ordinal, start, first_line=ordinal + 1)
        return ItemsChunk([record], ordinal)

    def _has_fields(self, event: Any, record: Record, name: str, ordinal: int) -> bool:
        """Fill the fields that are parts of the record; False where one does not fit, and the record is dead."""
        for field, part in self._node.fields:
            try:
                value: Any = record.time_ms
                if part is RecordPart.KEY:
                    value = _text(record.key)
                elif part is RecordPart.HEADERS:
                    value = {header: _text(held) for header, held in record.headers}
                elif part is RecordPart.OFFSET:
                    value = ordinal
                elif part is RecordPart.PARTITION:
                    value = name
                if isinstance(event, dict):
                    event[field] = value
                    continue
                wanted = get_type_hints(type(event))[field]
                msgspec.structs.force_setattr(event, field, msgspec.convert(value, wanted, strict=False))
            except ValueError as error:
                shown = {RecordPart.KEY: "key", RecordPart.HEADERS: "headers", RecordPart.TIME: "time"}.get(part, "")
                self._reject(ordinal, f"{shown}: {bad_reason(error)}")
                return False
        return True

    def _time(self, event: Any, record: Record, partition: _Partition, ordinal: int) -> Optional[int]:
        """The event's time; None for an event that has none, which is a dead letter."""
        if self._node.time is INGESTION_TIME:
            now_ms = self._now_ms() if self._receipt_ms is None else self._receipt_ms
            return now_ms if partition.max_time is None else max(now_ms, partition.max_time)
        if isinstance(self._node.time, RecordPart):
            if record.time_ms is None:
                self._reject(ordinal, "time: its log has no time of it")
            return record.time_ms
        try:
            return parse_time(field_or_result(self._node.time, event))
        except HeadwayError as error:
            self._fail(ordinal, error)
            return None
        except (ValueError, LookupError) as error:
            self._reject(ordinal, f"time: {why_useless(error, event)}")
            return None
        except Exception as error:
            failure = UserCodeError(
                f"time= of the source {self.name!r} ({self._node.where}) failed with {type(error).__name__}: {error}; "
                f"record {ordinal}: {event!r:.300}"
            )
            failure.step = "time"
            failure.__cause__ = error
            self._fail(ordinal, failure)
            return None

    def _judge(self, name: str, partition: _Partition, item: Item) -> None:
        """On time or late, by what came before in this partition."""
        before = item.time if partition.max_time is None else partition.max_time
        partition.max_time = max(before, item.time)
        self.latest_event = item.time if self.latest_event is None else max(self.latest_event, item.time)
        if item.time >= before - self._out_of_order_ms:
            self._follow(MAIN, item)
        else:
            self.late.append(item.value)
            self._follow(LATE, item._replace(time=before - self._out_of_order_ms))

    def _follow(self, port: str, item: Item) -> None:
        """Take an event through the steps; where a failed one is set aside, all of it or nothing."""
        if self._node.on_error is None:
            follow(self._ports[port], [item], self._ways)
            return
        sent: list[tuple[Edge, Item]] = []

        def send(edge: Edge, value: Item) -> None:
            sent.append((edge, self._ends.check(edge, value)))

        try:
            follow(self._ports[port], [item], Ways(send=send, reject=Useless.raised))
        except Useless as useless:
            self._reject_item(useless.item, useless.reason)
            return
        except BaseException as error:
            self._fail(item.ordinal, error, item.time)
            return
        for edge, value in sent:
            self._ends.send(edge, value)

    def _fail(self, ordinal: int, error: BaseException, time_ms: Optional[int] = None) -> None:
        """Code of the flow has failed on the record."""
        tolerance = self._node.on_error
        if tolerance is None or not is_of_the_flow(error):
            raise error
        assert self._chunk is not None
        position, raw = self._chunk.record(ordinal)
        step = (error.step if isinstance(error, HeadwayError) else None) or self.name
        self._add(ordinal, position, why(error), raw, step=step, time=time_ms)
        self._ends.failed(tolerance, self._rejected[-1][1])

    def _send_dead_letters(self, name: str, partition: _Partition) -> None:
        rejected, self._rejected = self._rejected, []
        time_ms = 0 if partition.max_time is None else partition.max_time - self._out_of_order_ms
        letters = [Item(time_ms, None, letter, name, ordinal) for ordinal, letter in rejected]
        self.dead_letters.extend(item.value for item in letters)
        follow(self._ports[DEAD_LETTERS], letters, self._ways)

    def _reject_item(self, item: Item, reason: str) -> None:
        self._reject(item.ordinal, reason)

    def _reject(self, ordinal: Any, reason: str) -> None:
        number, _, results = str(ordinal).partition(".")
        assert self._chunk is not None
        position, raw = self._chunk.record(int(number))
        place = f"{position}, result {results}" if results else position
        self._add(int(number), place, reason, raw)

    def _add(self, ordinal: int, position: str, reason: str, raw: bytes, **more: Any) -> None:
        text = raw.decode("utf-8", errors="backslashreplace")
        self._rejected.append((ordinal, DeadLetter(self.name, self._reading, position, reason, text, **more)))

    def _watermark_of(self, partition: _Partition) -> int:
        return MIN_TIME_MS if partition.max_time is None else partition.max_time - self._out_of_order_ms - 1
