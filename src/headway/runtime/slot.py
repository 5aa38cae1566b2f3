"""A reader slot: some partitions of a source, read in step, with their watermarks. Knows nothing of the engine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, Optional

import msgspec

from headway.basics.times import MIN_TIME_MS
from headway.connectors.base import Chunk, Extent, PartitionReader, Position, unheard
from headway.connectors.lines import LinesChunk
from headway.formats.letters import encoded_record, record_text
from headway.graph import DEAD_LETTERS, INGESTION_TIME, LATE, MAIN
from headway.plan.stages import Edge, Plan, SourceStage
from headway.runtime.board import Board
from headway.runtime.columns import ColumnProgram, Columns, Door
from headway.runtime.decoding import SourceDecoder
from headway.runtime.discovery import Discovery
from headway.runtime.exchange import Exchange, Message
from headway.runtime.failures import Failures, FailureTotal
from headway.runtime.lateness import split_late
from headway.runtime.partition import Partition, extent_of, furthest_behind, lags_of, newest_of
from headway.runtime.redrive import Redriver
from headway.runtime.rejects import LetterRejects, Rejected, Rejects, StrictRejects
from headway.runtime.silence import Silence
from headway.runtime.slot_options import SlotOptions
from headway.runtime.stamps import EventTimes
from headway.runtime.stats import LAGS_SHOWN, FirstLetter, SlotStats, known_time
from headway.runtime.trial import Trial
from headway.runtime.triggers import TriggerEncoder
from headway.types.letters import DeadLetter

__all__ = ["Slot"]

_BLOCK_BYTES = 64 << 10
"""How much is decoded and run through the stateless steps at a time: its events fit into the processor's cache."""


class Slot:
    """Reads its partitions so that they advance together in event time, and says what it has seen.

    `assigned` says whether a partition, by its name, belongs to this slot. `kept` is where it stood at the version that
    it will be resumed at.

    It is a participant of epochs, see `headway.runtime.participant`. Nothing of it lies on the disk: the engine's log
    keeps `kept` beside the version. It is polled in an epoch only after the epoch before is durable on every worker,
    and so whatever it sends is the proof of that. In silence it sends a heartbeat at the start of an epoch when
    `is_awaited` says so: an output with records to print, a stage with rows that readers do not see yet.
    """

    def __init__(
        self,
        plan: Plan,
        source: SourceStage,
        name: str,
        assigned: Callable[[str], bool],
        kept: Mapping[str, Any],
        options: SlotOptions,
        board: Board,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        is_behind: Callable[[], bool] = lambda: False,
        is_awaited: Callable[[], bool] = lambda: False,
        discovery: Optional[Discovery] = None,
        failures: Optional[FailureTotal] = None,
        groups_that_wait: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        self.source = source
        self.name = name
        self.kept = kept
        """Where it stood at the end of the last epoch, as plain values: what its next start needs."""
        self.version = 0
        self.events = self.late = self.dead = 0
        self._assigned = assigned
        self._options = options
        self._board = board
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._is_behind = is_behind
        self._is_awaited = is_awaited
        self._proves = False
        """Whether an epoch has begun in which nothing has been sent yet."""
        self._moved: list[tuple[Partition, Position]] = []
        """Of which positions of the last epoch readers are to hear."""
        self._ooo_ms = source.node.out_of_order_ms
        self._decode = SourceDecoder(source.node).decode
        self._reads_own_log = source.node.input.own_log is not None
        self._has_news = source.node.input.has_news
        self._goes_by_clock = self._reads_own_log and source.node.time is INGESTION_TIME
        self._groups_that_wait = groups_that_wait
        # Replaced and never changed: another thread takes statistics of it.
        self._partitions: Mapping[str, Partition] = {}
        self._floor: Optional[int] = None
        """The latest time of its source when its first partition is still to be found; None in a new source."""
        self._discovery = discovery or Discovery(source.node.input, options.discover_every_ms, unheard)
        self._names: Optional[list[str]] = None  # Those of all partitions of the source; None before the first look.
        tolerance = source.node.on_error
        counted = Failures(failures or FailureTotal(), kept.get("failures"))
        text_of = record_text if source.node.input.format.is_text else encoded_record
        self._rejects = Rejects(source.name, tolerance, counted, text_of)
        self._times = EventTimes(source.node, self._rejects, wall_ms)
        self._trial = None if tolerance is None else Trial(self._rejects, self._decode, source.node.event_type)
        self._chunk_bytes = _BLOCK_BYTES  # Grows from read to read, so that the first output is there soon.
        self._silence = Silence(source.node, self._known_partitions, board, name, options)
        self._redriver: Optional[Redriver] = None
        if options.redrive is not None:
            self._redriver = Redriver(self, plan, options.redrive, kept.get("redrive"))
        self._connect(plan)

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
        door = self._rejects if self._trial is None else StrictRejects(self._rejects)
        rejects: dict[str, Door] = dict.fromkeys((MAIN, LATE), door)
        rejects[DEAD_LETTERS] = LetterRejects(self._rejects)
        self._programs = {
            port: ColumnProgram(node, segment, self._exchanges, encoders, types[port], rejects[port])
            for port, segment in self.source.ports.items()
        }

    def resume(self, version: Optional[int]) -> None:
        """Stand where `kept` says; opens nothing yet."""
        self.version = version or 0
        kept = self.kept.get("partitions", {})
        self._partitions = {name: Partition(name, *stood) for name, stood in kept.items()}
        self._floor = self.kept.get("floor")
        self.events, self.late, self.dead = self.kept.get("counts", (0, 0, 0))
        self._rejects.first = FirstLetter.restored(self.kept.get("first_letter"))

    def prepare(self) -> int:
        """Close the epoch: what the engine's log is to keep is in `kept`."""
        for exchange in self._exchanges.values():
            exchange.open_epoch()
        self._proves = True
        partitions = {name: [partition.stand, partition.max_time] for name, partition in self._partitions.items()}
        first = None if self.first_letter is None else list(msgspec.structs.astuple(self.first_letter))
        kept: dict[str, Any] = {
            "partitions": partitions,
            "counts": [self.events, self.late, self.dead],
            "first_letter": first,
        }
        if failed := self._rejects.failures.stored():
            kept["failures"] = failed
        if self._redriver is not None:
            kept["redrive"] = self._redriver.position()
        if not self._partitions and self._floor is not None:
            kept["floor"] = self._floor
        if kept != self.kept:
            self.kept = kept
            self.version += 1
            prepared = [(partition, partition.prepare()) for partition in self._partitions.values()]
            self._moved = [(partition, position) for partition, position in prepared if position is not None]
        return self.version

    def committed(self, version: int) -> None:
        """Let the readers acknowledge what they have read."""
        moved, self._moved = self._moved, []
        for partition, position in moved:
            partition.committed(position)

    def statistics(self) -> SlotStats:
        """What has been read, and how far."""
        extent = self.extent
        lags, behind = lags_of(self._partitions.values(), LAGS_SHOWN)
        return SlotStats(
            version=self.version,
            watermark=known_time(self.watermark),
            source=self.source.name,
            events=self.events,
            late=self.late,
            dead_letters=self.dead,
            first_letter=self.first_letter,
            newest=self.newest,
            silent=[p.name for p in self._partitions.values() if p.max_time is None and not self._reads_own_log],
            partitions=len(self._partitions),
            holding=furthest_behind(self._partitions.values(), self._ooo_ms),
            bytes_read=None if extent is None else extent.read,
            bytes_total=None if extent is None else extent.total,
            lags=lags,
            behind=behind,
        )

    def has_news(self) -> bool:
        """Whether a log of Headway's own has more, which is told at once, or records wait for time to go on by it."""
        has_more = self._has_news and any(partition.has_more for partition in self._partitions.values())
        return has_more or (self._goes_by_clock and bool(self._groups_that_wait()))

    def _known_partitions(self) -> Collection[Partition]:
        """Those that there are now."""
        return self._partitions.values()

    @property
    def first_letter(self) -> Optional[FirstLetter]:
        """The first dead letter, of the first partition that has one."""
        return self._rejects.first

    @property
    def watermark(self) -> int:
        """What the slot claims: the minimum over its partitions."""
        if self._options.drain_to_ms is not None:
            return self._options.drain_to_ms
        if not self._partitions:
            return MIN_TIME_MS if self._floor is None else self._floor - self._ooo_ms - 1
        return min(partition.watermark(self._ooo_ms) for partition in self._partitions.values())

    @property
    def extent(self) -> Optional[Extent]:
        """How far its partitions have been read; None where the size of one is not known, or not yet."""
        return None if self._names is None else extent_of(self._partitions.values())

    @property
    def newest(self) -> Optional[int]:
        """The latest event time of its partitions."""
        return newest_of(self._partitions.values())

    @property
    def done(self) -> bool:
        """Whether all of a bounded input has been read."""
        if self._options.drain_to_ms is not None:
            return True
        if self._options.follow and (self._options.grows or not self._partitions):
            return False
        redrives = self._redriver is not None and not self._redriver.at_end
        return not redrives and self._names is not None and (self._closed or not self._partitions)

    @property
    def _closed(self) -> bool:
        """Whether it follows nothing but streams that have ended; others need not wait for it."""
        return bool(self._partitions) and all(partition.ended for partition in self._partitions.values())

    def poll(self) -> list[Message]:
        """Read some records, if there are any now and this slot is not too far ahead, and return what leaves."""
        out: list[Message] = []
        if self._options.drain_to_ms is None:
            self._discover()
            if not self._board.must_wait(self.name) and not self._is_behind():
                if self._redriver is not None:
                    self._redriver.read(out, self._clock_ms(), self._options.discover_ms)
                self._read(out)
            self._silence.pass_time(self._clock_ms(), self._wall_ms())
        self.heartbeat(out, force=False)
        if self._goes_by_clock:
            waiting = self._groups_that_wait()
            for exchange in self._exchanges.values() if waiting else ():
                exchange.hasten(waiting, self.watermark, out)
        return out

    def finish(self) -> list[Message]:
        """The last messages of a run: everyone learns how far this slot has come."""
        out: list[Message] = []
        self.heartbeat(out, force=True)
        return out

    def heartbeat(self, out: list[Message], *, force: bool) -> None:
        """Tell silent groups the watermark, when it is time to, or that the epoch before is durable."""
        watermark = self.watermark
        self._board.publish(
            self.name, watermark, self.events, done=self.done or self._closed, idle=self._silence.is_whole
        )
        now_ms = self._clock_ms()
        if self._proves:
            self._proves = False
            if self._is_awaited():
                for exchange in self._exchanges.values():
                    exchange.prove(watermark, out)
        if watermark == MIN_TIME_MS and not force:
            return
        for exchange in self._exchanges.values():
            exchange.heartbeat(watermark, now_ms, out, force=force)

    def close(self) -> None:
        """Close all files."""
        for partition in self._partitions.values():
            partition.close()

    def _discover(self) -> None:
        """Find the partitions; while following, look for new ones now and then."""
        names = self._discovery.look(self._clock_ms())
        if names is self._names:
            return
        self._names = names
        known = None if self.watermark == MIN_TIME_MS else self.watermark + self._ooo_ms + 1
        new = [name for name in names if name not in self._partitions and self._assigned(name)]
        if new:
            self._partitions = {**self._partitions, **{name: Partition(name, None, known) for name in new}}

    def _read(self, out: list[Message]) -> None:
        """Read a chunk of the partition that is furthest behind; of the next one when it has nothing."""
        candidates = [partition for partition in self._partitions.values() if not partition.ended]
        candidates.sort(key=lambda partition: (partition.watermark(self._ooo_ms), partition.name))
        for partition in candidates:
            reader = partition.open(self._discovery.session, follow=self._options.follow)
            if self._read_blocks(partition, reader, out):
                partition.quiet_since_ms = partition.credited_to_ms = None
                return
            if reader.at_end:
                partition.end(reader)
                self._note_end(partition)
            elif partition.quiet_since_ms is None:
                partition.quiet_since_ms = self._clock_ms()

    def _note_end(self, partition: Partition) -> None:
        """A partition that has ended while the flow goes on following others is as one that is silent for good."""
        if self._options.follow and self._options.grows:
            partition.quiet_since_ms = self._clock_ms()
            if self.source.node.input.ends:  # That a file is complete, of which there are many, is nothing to tell.
                self._discovery.tell(f"{partition.name} has ended; the flow goes on following its other inputs")

    def _read_blocks(self, partition: Partition, reader: PartitionReader, out: list[Message]) -> bool:
        """Read a chunk block by block, and send what it has become; False when there is nothing to read."""
        blocks = 0
        chunk_bytes = min(self._chunk_bytes, self._options.chunk_bytes)
        self._chunk_bytes = min(2 * self._chunk_bytes, self._options.chunk_bytes)
        while blocks * _BLOCK_BYTES < chunk_bytes:
            block = reader.read(min(_BLOCK_BYTES, chunk_bytes))
            if block is None:
                break
            self.process(partition, block)
            blocks += 1
        if blocks:
            self.flush(partition, out)
        return blocks > 0

    def process(self, partition: Partition, chunk: Chunk, *, floor_ms: Optional[int] = None) -> None:
        """Decode a chunk and run the steps. With `floor_ms` nothing is late: what is before it happens then."""
        decoded = self._decode(chunk)
        self._rejects.begin(partition.name, chunk, decoded.bad)
        if self._trial is not None:
            self._trial.begin(chunk)
        self.events += len(decoded.events) + len(decoded.bad)
        before = partition.max_time
        columns, span = self._times.read(chunk, Columns([], decoded.ordinals, decoded.events), partition.max_time)
        if floor_ms is None:
            on_time, late = split_late(partition, columns, span, self._ooo_ms)
        else:
            on_time, late = columns._replace(times=[max(floor_ms, time_ms) for time_ms in columns.times]), None
        self._run(MAIN, on_time, partition.name)
        if late is not None:
            self.late += len(late.values)
            self._run(LATE, late, partition.name)
        rejected = self._rejects.take()
        if rejected:
            self._run_rejected(partition, before, columns, rejected)

    def _run(self, port: str, columns: Columns, partition: str) -> None:
        if self._trial is None:
            self._programs[port].run(columns, partition)
        else:
            self._trial.run(self._programs[port], columns, partition)

    def refuse(self, partition: Partition, chunk: LinesChunk, letter: DeadLetter) -> None:
        """The one record of a chunk is a dead letter, without having been in any step."""
        self._rejects.begin(partition.name, chunk, [])
        self._rejects.refuse(chunk.first_ordinal, letter)
        self._run_rejected(partition, partition.max_time, Columns([], [], []), self._rejects.take())

    def exchange(self, edge: Edge) -> Exchange:
        """The way to a stage."""
        return self._exchanges[edge.id]

    def flush(self, partition: Partition, out: list[Message]) -> None:
        """Send what records of a partition have become."""
        watermark = self.watermark
        for program in self._programs.values():
            program.flush(partition.name, watermark, out)

    def _run_rejected(
        self, partition: Partition, before: Optional[int], columns: Columns, rejected: list[Rejected]
    ) -> None:
        """Send the dead letters of a block on their way, each at the time at which its record stands in the log."""
        self.dead += len(rejected)
        ordinals = [entry.ordinal for entry in rejected]
        tops = list(accumulate(columns.times, max, initial=MIN_TIME_MS if before is None else before))
        latest = [tops[bisect_right(columns.ordinals, ordinal)] for ordinal in ordinals]
        times = [0 if top == MIN_TIME_MS else top - self._ooo_ms for top in latest]
        letters = [entry.letter for entry in rejected]
        self._programs[DEAD_LETTERS].run(Columns(times, ordinals, letters), partition.name)
