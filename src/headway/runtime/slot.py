"""A reader slot: some partitions of a source, read in step, with their watermarks. Knows nothing of the engine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import le
from typing import Any, Optional

import msgspec

from headway.connectors.base import BadRecord, Decoded, PartitionReader
from headway.decoding import codec_for
from headway.errors import UserCodeError
from headway.graph import DEAD_LETTERS, INGESTION_TIME, LATE, MAIN
from headway.plan import Plan, SourceStage
from headway.runtime.board import Board
from headway.runtime.columns import ColumnProgram, Columns, column_getter, dead_letter, reason_of, select
from headway.runtime.exchange import Exchange, Message
from headway.runtime.silence import Partition, Silence
from headway.runtime.triggers import TriggerEncoder
from headway.scanning import span_of
from headway.schema import decoded_type
from headway.streams import DeadLetter
from headway.times import MIN_TIME_MS, parse_time

__all__ = ["Slot", "SlotOptions"]

_FURTHEST_MS = 2**62
_Span = tuple[int, int, bool]
"""The earliest and the latest of some times, and whether they come in order."""
_NO_SPAN: _Span = (0, 0, True)
_BLOCK_BYTES = 64 << 10
"""How much is decoded and run through the stateless steps at a time: its events fit into the processor's cache."""


@dataclass(frozen=True)
class SlotOptions:
    """How slots read; the same for all slots of a run."""

    groups: int
    follow: bool
    chunk_bytes: int = 1 << 20
    discover_ms: int = 1_000
    drain_to_ms: Optional[int] = None
    """Read nothing more, and claim this time: the books are being closed."""
    prove_for_ms: int = 3_000
    """How long after its last news a slot goes on proving to its receivers, once an epoch, that epochs are durable."""


class Slot:
    """Reads its partitions so that they advance together in event time, and says what it has seen.

    `state` is what a former `snapshot()` gave. `assigned` says whether a partition, by its name, belongs to this slot.

    A slot is polled in an epoch only after the epoch before is durable on every worker, and so whatever it sends is the
    proof of it. In silence it sends a heartbeat at the start of each epoch while anyone may wait for that proof: an
    output with records to print, a stage with rows that readers do not see yet, a task in the middle of a step.
    """

    def __init__(
        self,
        plan: Plan,
        source: SourceStage,
        name: str,
        assigned: Callable[[str], bool],
        state: Optional[Mapping[str, Any]],
        options: SlotOptions,
        board: Board,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.source = source
        self.name = name
        self.events = self.late = self.dead = 0
        self._assigned = assigned
        self._options = options
        self._board = board
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._is_behind = is_behind
        self._proves = False
        """Whether an epoch has begun in which nothing has been sent yet."""
        self._news_ms = clock_ms()
        self._news: Optional[tuple[int, int]] = None
        """What was last new to the receivers, as a watermark and a number of records."""
        self._ooo_ms = source.node.out_of_order_ms
        self._codec = codec_for(source.node.event_type)
        self._times = self._time_reader()
        time = source.node.time
        self._times_are_int = isinstance(time, str) and decoded_type(source.node.event_type, time) is int
        self._partitions: dict[str, Partition] = {}
        self._discovered_ms: Optional[int] = None
        self._rejected: list[tuple[str, BadRecord]] = []
        self._chunk_bytes = _BLOCK_BYTES  # Grows from read to read, so that the first output is there soon.
        self._silence = Silence(source.node, self._partitions, board, name, follow=options.follow)
        self._connect(plan)
        self._restore(state or {})

    def _connect(self, plan: Plan) -> None:
        """Compile the steps of the three ports."""
        sinks = {sink.name: sink.node for sink in plan.sinks}
        everyone = list(range(self._options.groups))
        self._exchanges: dict[int, Exchange] = {}
        encoders: dict[int, TriggerEncoder] = {}
        for edge in plan.edges_of(list(self.source.ports.values())):
            receivers = [0] if edge.target in sinks else everyone
            self._exchanges[edge.id] = Exchange(edge.id, edge.target, self.name, receivers)
            if edge.target in sinks:
                encoders[edge.id] = TriggerEncoder(plan.flow, edge, sinks[edge.target])
        node = self.source.node
        types = {MAIN: node.event_type, LATE: node.event_type, DEAD_LETTERS: DeadLetter}
        rejects = {MAIN: self._reject, LATE: self._reject, DEAD_LETTERS: self._reject_letter}
        self._programs = {
            port: ColumnProgram(node, segment, self._exchanges, encoders, types[port], rejects[port])
            for port, segment in self.source.ports.items()
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, (position, max_time) in state.get("partitions", {}).items():
            self._partitions[name] = Partition(name, position, max_time)
        self.events, self.late, self.dead = state.get("counts", (0, 0, 0))

    def snapshot(self) -> dict[str, Any]:
        """Where the slot stands at the end of an epoch, as plain values: what its next start needs."""
        for exchange in self._exchanges.values():
            exchange.open_epoch()
        self._proves = True
        partitions = {}
        for partition in self._partitions.values():
            position = partition.reader.position() if partition.reader is not None else partition.position
            partitions[partition.name] = (position, partition.max_time)
        return {"partitions": partitions, "counts": (self.events, self.late, self.dead)}

    @property
    def watermark(self) -> int:
        """What the slot claims: the minimum over its partitions."""
        if self._options.drain_to_ms is not None:
            return self._options.drain_to_ms
        if not self._partitions:
            return MIN_TIME_MS
        return min(partition.watermark(self._ooo_ms) for partition in self._partitions.values())

    @property
    def silent(self) -> list[str]:
        """The partitions that hold time back because none of their records has told a time yet."""
        return [p.name for p in self._partitions.values() if p.max_time is None]

    @property
    def newest(self) -> Optional[int]:
        """The latest event time of its partitions."""
        return max((p.max_time for p in self._partitions.values() if p.max_time is not None), default=None)

    @property
    def done(self) -> bool:
        """Whether everything of a bounded input has been read."""
        if self._options.drain_to_ms is not None:
            return True
        if self._options.follow or self._discovered_ms is None:
            return False
        return all(partition.ended for partition in self._partitions.values())

    def poll(self) -> list[Message]:
        """Read some records, if there are any now and this slot is not too far ahead, and return what leaves."""
        out: list[Message] = []
        if self._options.drain_to_ms is None:
            self._discover()
            if not self._board.must_wait(self.name) and not self._is_behind():
                self._read(out)
            self._silence.pass_time(self._clock_ms(), self._wall_ms())
        self.heartbeat(out, force=False)
        return out

    def finish(self) -> list[Message]:
        """The last messages of a run: everyone learns how far this slot has come."""
        out: list[Message] = []
        self.heartbeat(out, force=True)
        return out

    def heartbeat(self, out: list[Message], *, force: bool) -> None:
        """Tell silent groups the watermark, when it is time to, or that the epoch before is durable."""
        watermark = self.watermark
        self._board.publish(self.name, watermark, self.events, done=self.done, idle=self._silence.is_whole)
        now_ms = self._clock_ms()
        if (watermark, self.events) != self._news:
            self._news, self._news_ms = (watermark, self.events), now_ms
        if self._proves:
            self._proves = False
            if now_ms - self._news_ms <= self._options.prove_for_ms or self._is_behind():
                for exchange in self._exchanges.values():
                    exchange.prove(watermark, out)
        if watermark == MIN_TIME_MS and not force:
            return
        for exchange in self._exchanges.values():
            exchange.heartbeat(watermark, now_ms, out, force=force)

    def close(self) -> None:
        """Close all files."""
        for partition in self._partitions.values():
            if partition.reader is not None:
                partition.reader.close()
                partition.reader = None

    def _discover(self) -> None:
        """Find the partitions; while following, look for new ones now and then."""
        now_ms = self._clock_ms()
        if self._discovered_ms is not None and not (
            self._options.follow and now_ms - self._discovered_ms >= self._options.discover_ms
        ):
            return
        floor = self.watermark if self._discovered_ms is not None or self._partitions else MIN_TIME_MS
        self._discovered_ms = now_ms
        for name in self.source.node.input.partitions():
            if name not in self._partitions and self._assigned(name):
                known = None if floor == MIN_TIME_MS else floor + self._ooo_ms + 1
                self._partitions[name] = Partition(name, None, known)

    def _read(self, out: list[Message]) -> None:
        """Read a chunk of the partition that is furthest behind; of the next one when it has nothing."""
        candidates = [partition for partition in self._partitions.values() if not partition.ended]
        candidates.sort(key=lambda partition: (partition.watermark(self._ooo_ms), partition.name))
        for partition in candidates:
            reader = partition.open(self.source, follow=self._options.follow)
            if self._read_blocks(partition, reader, out):
                partition.quiet_since_ms = partition.credited_to_ms = None
                return
            if reader.at_end:
                partition.ended = True
                partition.position = reader.position()
                reader.close()
                partition.reader = None
            elif partition.quiet_since_ms is None:
                partition.quiet_since_ms = self._clock_ms()

    def _read_blocks(self, partition: Partition, reader: PartitionReader, out: list[Message]) -> bool:
        """Read a chunk block by block, and send what it has become; False when there is nothing to read."""
        blocks = 0
        chunk_bytes = min(self._chunk_bytes, self._options.chunk_bytes)
        self._chunk_bytes = min(2 * self._chunk_bytes, self._options.chunk_bytes)
        while blocks * _BLOCK_BYTES < chunk_bytes:
            block = reader.read(min(_BLOCK_BYTES, chunk_bytes))
            if block is None:
                break
            self._process(partition, block.decode(self._codec))
            blocks += 1
        if blocks:
            self._flush(partition, out)
        return blocks > 0

    def _process(self, partition: Partition, decoded: Decoded) -> None:
        for bad in decoded.bad:
            self._rejected.append((partition.name, bad))
        self.events += len(decoded.events) + len(decoded.bad)
        before = partition.max_time
        columns, span = self._timed(partition, Columns([], decoded.ordinals, decoded.events))
        on_time, late = self._split_late(partition, columns, span)
        self._programs[MAIN].run(on_time, partition.name)
        if late is not None:
            self.late += len(late.values)
            self._programs[LATE].run(late, partition.name)
        if self._rejected:
            self._run_rejected(partition, before, columns)

    def _flush(self, partition: Partition, out: list[Message]) -> None:
        watermark = self.watermark
        for program in self._programs.values():
            program.flush(partition.name, watermark, out)

    def _time_reader(self) -> Callable[[Sequence[Any]], list[Any]]:
        spec = self.source.node.time
        if spec is INGESTION_TIME:
            return lambda values: [self._wall_ms()] * len(values)
        return column_getter(spec, self.source.node.event_type)

    def _timed(self, partition: Partition, columns: Columns) -> tuple[Columns, _Span]:
        """Add the column of times, and say how far they go; events without a usable time become dead letters."""
        try:
            times = self._times(columns.values)
            if self.source.node.time is INGESTION_TIME and times and partition.max_time is not None:
                times = [max(times[0], partition.max_time)] * len(times)
            if not times:
                return columns._replace(times=times), _NO_SPAN
            if self._times_are_int or set(map(type, times)) == {int}:
                span = span_of(times)
                if _in_range(span[0]) and _in_range(span[1]):
                    return columns._replace(times=times), span
        except Exception:
            times = []
        kept, times = [], []
        for index, value in enumerate(columns.values):
            try:
                time_ms = parse_time(self._times((value,))[0])
                if not _in_range(time_ms):
                    msg = f"time {time_ms} is out of range"
                    raise ValueError(msg)
            except Exception as error:
                self._reject(partition.name, columns.ordinals[index], value, f"time: {reason_of(error)}")
                continue
            kept.append(index)
            times.append(time_ms)
        span = span_of(times) if times else _NO_SPAN
        return Columns(times, [columns.ordinals[i] for i in kept], [columns.values[i] for i in kept]), span

    def _split_late(self, partition: Partition, columns: Columns, span: _Span) -> tuple[Columns, Optional[Columns]]:
        """Part the on-time events from those behind the watermark that the partition had when they came."""
        times = columns.times
        if not times:
            return columns, None
        ooo_ms = self._ooo_ms
        before = times[0] if partition.max_time is None else partition.max_time
        earliest, latest, in_order = span
        latest = partition.max_time = max(before, latest)
        if earliest >= latest - ooo_ms or (in_order and earliest >= before - ooo_ms):
            return columns, None
        limits = [top - ooo_ms for top in accumulate(times, max, initial=before)][:-1]
        on_time = list(map(le, limits, times))
        if all(on_time):
            return columns, None
        is_late = [not good for good in on_time]
        return select(columns, on_time, times), select(columns, is_late, limits)

    def _reject(self, partition: str, ordinal: Any, value: Any, reason: str) -> None:
        """An event that was decoded, but has no usable time or key."""
        try:
            raw = msgspec.json.encode(value)
        except (TypeError, ValueError):
            raw = repr(value).encode()
        number = int(str(ordinal).partition(".")[0])
        self._rejected.append((partition, BadRecord(number, f"record {ordinal}", reason, raw)))

    def _run_rejected(self, partition: Partition, before: Optional[int], columns: Columns) -> None:
        """Send the dead letters of a block on their way, each at the time at which its record stands in the log."""
        rejected, self._rejected = self._rejected, []
        self.dead += len(rejected)
        rejected.sort(key=lambda entry: entry[1].ordinal)
        ordinals = [bad.ordinal for _, bad in rejected]
        tops = list(accumulate(columns.times, max, initial=MIN_TIME_MS if before is None else before))
        latest = [tops[bisect_right(columns.ordinals, ordinal)] for ordinal in ordinals]
        times = [0 if top == MIN_TIME_MS else top - self._ooo_ms for top in latest]
        letters = [dead_letter(self.source.name, name, bad) for name, bad in rejected]
        self._programs[DEAD_LETTERS].run(Columns(times, ordinals, letters), partition.name)

    def _reject_letter(self, partition: str, ordinal: Any, value: Any, reason: str) -> None:
        msg = f"a dead letter of {partition!r} cannot go on: {reason}; it is {value!r:.300}"
        raise UserCodeError(msg)


def _in_range(time_ms: int) -> bool:
    """Whether there is room around a time for delays and bounds."""
    return -_FURTHEST_MS < time_ms < _FURTHEST_MS
