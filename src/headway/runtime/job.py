"""One run of a plan in one process: what the engine's steps share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Optional, Union
from zlib import crc32

from headway.basics.crashpoints import reached
from headway.basics.times import MAX_TIME_MS, MIN_TIME_MS
from headway.errors import OutputError, StateError
from headway.plan.stages import KeyedStage, Plan, SinkStage, SourceStage
from headway.runtime.batch import carried_codec, edge_codec, register_codecs
from headway.runtime.board import Board, Progress, sources_in_step
from headway.runtime.channels import Channels
from headway.runtime.clock_watch import ClockWatch
from headway.runtime.cuts import cuts_of
from headway.runtime.deliveries import delivered_numbers, make_dispatcher, pressure
from headway.runtime.directory import StateDirectory
from headway.runtime.discovery import Discovery
from headway.runtime.epochs import EpochWatch
from headway.runtime.failures import FailureTotal
from headway.runtime.job_options import Guard, JobOptions, monotonic_ms, slot_names, wall_ms
from headway.runtime.limits import open_files_per_group, raise_open_files
from headway.runtime.marking import Marker
from headway.runtime.opened import OpenGroups
from headway.runtime.participant import Commitment, Commitments
from headway.runtime.redrive import redrive_path
from headway.runtime.rest import NAP_MS, POLL_MS, Rest
from headway.runtime.returning import goes_by_clock, returning_of
from headway.runtime.sink import SinkTask
from headway.runtime.slot import Slot
from headway.runtime.slot_options import SlotOptions, kept_before
from headway.runtime.stage import StageTask
from headway.runtime.waiters import Waiters
from headway.state.groups import routing_name
from headway.state.indexes import indexes_of
from headway.state.inputs import InputCodec
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore
from headway.state.tasks import output_task
from headway.state.views import shown_by

__all__ = ["Job"]

_CALM_AFTER_MS = 1_000
_DOZE_MS = 1
_STUCK_MS = 10_000


@dataclass
class Job:
    """The tasks and stores of one process, made as the engine asks for them."""

    plan: Plan
    manifest: Manifest
    options: JobOptions
    stopping: Callable[[], bool] = lambda: False
    interrupted: Callable[[], bool] = lambda: False
    """Whether a second Ctrl-C ends this process now, whatever error it has led to."""
    clock_ms: Callable[[], int] = monotonic_ms
    wall_ms: Callable[[], int] = wall_ms
    slots: dict[str, Slot] = field(default_factory=dict)
    tasks: dict[tuple[str, int], StageTask] = field(default_factory=dict)
    sinks: dict[str, SinkTask] = field(default_factory=dict)
    admitted: Callable[[], object] = lambda: None
    """Returns once this process may read and send."""
    on_beat: Optional[Callable[[], None]] = None
    on_failure: Optional[Callable[[BaseException], None]] = None
    failure: Optional[BaseException] = None
    """The first error of this process."""
    notices: list[str] = field(default_factory=list)
    """What the user should know, as far as this process has found it."""
    resumed_events: int = 0
    """Records that the slots had read when they were opened."""
    read_at_ms: int = 0
    """When a slot last read something, on the job's clock."""

    def __post_init__(self) -> None:
        register_codecs(self.plan)
        self.guard = Guard(self.failed)
        self.directory = StateDirectory(self.options.state_dir)
        self.premises = self.directory.premises()
        self.read_at_ms = self.clock_ms()
        self.started_ms = self.wall_ms()
        self.epochs = EpochWatch(self.clock_ms, self.wall_ms)
        self._clock = ClockWatch(self.wall_ms, self.clock_ms)
        self._has_worked = False
        self._events_seen = 0
        self._progress = (Progress(0, MIN_TIME_MS), self.read_at_ms)
        self._discoveries: dict[str, Discovery] = {}
        self.nap_ms = NAP_MS if any(source.node.input.has_news for source in self.plan.sources) else POLL_MS
        sets = sources_in_step(self.plan)
        slots = {name: sets[source.name] for source in self.plan.sources for name in self.slot_names(source.name)}
        self.cuts = cuts_of(self.manifest, self.options, self.tell)
        self._began_with = self.directory.positions(self.manifest.generation).sources
        self.board = Board(slots, self.options.board_path, self.options.lead_records, self.options.workers)
        worker = self.options.worker
        self.commitments = Commitments(self.board if self.options.board_path else None, worker, self.options.workers)
        tell, ask = self.board.report_failures, self.board.failures_elsewhere
        self.failures = FailureTotal(lambda count: tell(worker, count), lambda: ask(worker))
        self.dispatcher = make_dispatcher(self.plan, self.manifest, self.options, self.wall_ms, self.failed, self.tell)
        self._is_pressed = pressure(self.dispatcher, self.board, worker)
        self.returning = returning_of(self)
        tables = sum(len(stage.tables()) for stage in self.plan.stages) * self.manifest.key_groups
        store_options = StoreOptions(
            cache_bytes=max(64 << 10, self.options.cache_bytes * self.options.workers // max(1, tables)),
            timer_window=self.options.timer_window,
            waiting_bound=self.options.waiting_bound,
            open_files=open_files_per_group(raise_open_files(), -(-self.manifest.key_groups // self.options.workers)),
            sync=self.options.sync,
        )
        run = 0 if self.cuts is None else self.cuts.run
        self.groups = OpenGroups(self.directory.path, self.manifest, self.options, store_options, run)
        self.marker = Marker(self)

    def failed(self, error: BaseException) -> None:
        """Note the first error."""
        if self.failure is None:
            self.failure = error
            if self.on_failure is not None:
                self.on_failure(error)

    def tell(self, notice: str) -> None:
        """Keep what the user should know, such as that a file was moved aside, until the end of a run tells it."""
        self.notices.append(notice)
        self.directory.add_notice(notice)

    def has_read(self) -> None:
        """A slot has read something."""
        self.read_at_ms = self.clock_ms()

    def worked(self) -> None:
        """A task has done something."""
        self._has_worked = True
        self.beat()
        if self.options.board_path is not None:
            self.board.report(self.options.worker, self._own_progress())
            self.commitments.tell()
        if self.returning is not None:
            self.returning.report()

    def beat(self) -> None:
        """Something moves in this process."""
        if self.on_beat is not None:
            with self.guard:
                self.on_beat()

    def doze(self, rest: Rest) -> None:
        """Sleep a little in a slot that waits, unless there is work: the engine would look around all the time.

        One of a calm flow sleeps longer. When a slot of any process reads something, all see it on the board.
        """
        if self._has_worked:
            self._has_worked = False
            return
        slots = len(self.slots)
        nap_ms = rest.nap_ms(self.clock_ms(), self.nap_ms / slots) if self.is_calm() else _DOZE_MS / slots
        time.sleep(nap_ms / 1000)

    def is_calm(self) -> bool:
        """Whether the flow follows its input, and no slot has read anything for a while, as far as one can know."""
        if not self.options.follow or not self.options.sees_all:
            return False
        now_ms = self.clock_ms()
        if self.options.workers > 1:
            events = self.board.events()
            if events != self._events_seen:
                self._events_seen = events
                self.read_at_ms = now_ms
        return now_ms - self.read_at_ms > _CALM_AFTER_MS

    def check_clock(self) -> None:
        """Raise `ClockError` when the machine's clock has been set back: the engine times epochs by it."""
        if self.dispatcher is not None:
            self.dispatcher.check()
        self._clock.check()

    def is_behind(self) -> bool:
        """Whether a task of any worker of this machine has more to do than what it has done."""
        own = any(task.is_behind for task in self._all_tasks())
        return own or (self.options.board_path is not None and self.board.progress().behind > 0)

    def holds_back(self) -> bool:
        """Whether nothing more should be read now: tasks are behind, or as many triggers wait as may."""
        return self.is_behind() or self._is_pressed()

    def is_awaited(self) -> bool:
        """Whether anybody needs a proof that the epoch before is durable: to go on, to hear of it, or to link it."""
        return self.commitments.is_awaited or self.is_behind() or self.marker.is_awaited

    def is_caught_up(self) -> bool:
        """Whether everything that the slots have sent has been handled, as far as this machine's board tells.

        If nothing moves for long, nothing can be known: then the end of the input finishes what is left at once.
        """
        own = self._own_progress()
        others = self.board.progress() if self.options.board_path is not None else own
        progress = Progress(own.behind + others.behind, min(own.watermark, others.watermark))
        if progress.behind == 0 and progress.watermark >= self.board.least_published():
            return True
        now_ms = self.clock_ms()
        if progress != self._progress[0]:
            self._progress = progress, now_ms
        return now_ms - self._progress[1] > _STUCK_MS

    def _own_progress(self) -> Progress:
        tasks = self._all_tasks()
        return Progress(sum(task.is_behind for task in tasks), min((t.watermark for t in tasks), default=MAX_TIME_MS))

    def _all_tasks(self) -> list[Union[StageTask, SinkTask]]:
        """The tasks and outputs there are now; workers that are threads add to them meanwhile."""
        return [*list(self.tasks.values()), *list(self.sinks.values())]

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Count the time of a commit, and guard it."""
        with self.epochs.writing(), self.guard:
            self.premises.check()
            yield
            self.commitments.tell()

    def wait_synced(self) -> None:
        """Return once all that this process has prepared is on the disk: before a token of it is handed out.

        Raises `StateError` where the disk has refused: then no token is handed out any more.
        """
        with self.epochs.writing():
            self.groups.syncs.wait()

    def slot_names(self, source: str) -> list[str]:
        """The reader slots of a source."""
        return slot_names(source, self.manifest.sources[source].slots)

    def slot(self, source: SourceStage, name: str, version: Optional[int], kept: Mapping[str, Any]) -> Commitment[Slot]:
        """Make a reader slot, from where it stood: at a version, or when this generation began; or new."""
        entry = self.manifest.sources[source.name]
        number = int(name.rpartition("/")[2])

        def assigned(partition: str) -> bool:
            return entry.partitions.get(partition, crc32(partition.encode()) % entry.slots) == number

        if version is None:
            kept = kept_before(self._began_with.get(source.name), number, assigned)
        is_followed = self.returning is not None and goes_by_clock(source.node)
        options = SlotOptions(
            groups=self.manifest.key_groups,
            follow=self.options.follow or is_followed,
            grows=not all(source.node.input.ends for source in self.plan.sources),
            chunk_bytes=self.options.chunk_bytes,
            drain_to_ms=None if is_followed else self.options.drain_to_ms,
            redrive=None if number else redrive_path(self.directory.path, source.name),
            is_pressed=self._is_pressed,
        )
        slot = Slot(
            self.plan,
            source,
            name,
            assigned,
            kept,
            options,
            self.board,
            self.clock_ms,
            self.wall_ms,
            self.holds_back,
            self.is_awaited,
            self._discoveries.setdefault(
                source.name, Discovery(source.node.input, options.discover_every_ms, self.tell)
            ),
            self.failures,
            Waiters(self.tasks, self.wall_ms, self.board if self.options.board_path else None, self.options.worker),
        )
        self.slots[name] = slot
        commitment = self.commitments.add(slot, version, is_called=True)
        if self.cuts is not None:
            self.cuts.note_slot(source.name, name, kept)
        self.resumed_events += slot.events
        return commitment

    def routes(self, target: str) -> list[str]:
        """The routing names of a stage's groups, or of the one group of an output."""
        output = self.manifest.outputs.get(target)
        if output is not None:
            return [routing_name(self.manifest.output_group(output.id))]
        return [routing_name(group) for group in range(self.manifest.key_groups)]

    def stage_task(self, stage: KeyedStage, group: int, version: Optional[int]) -> Commitment[StageTask]:
        """Open a keyed stage in one key group at the version that the engine knows, or new."""
        number = [other.name for other in self.plan.stages].index(stage.name)
        known = self.manifest.operators
        operators = [
            OperatorSpec(*table, entry.id, indexes_of(self.manifest.views, table.name), entry.logs, entry.former_logs)
            for table, entry in ((table, known[table.name]) for table in stage.tables())
        ]
        carried = self.manifest.stages[number].carried
        codecs = [carried_codec(stage, edge) for edge in carried]
        codecs += [edge_codec(edge) for edge in stage.inputs]
        shown = shown_by(self.manifest)
        store = self._store(stage.name, number, group, operators, codecs, carried=len(carried), shown=shown)
        channels = Channels(stage.inputs, self._channel_counts())
        groups = self.manifest.key_groups
        task = StageTask(
            self.plan,
            stage,
            group,
            groups,
            store,
            channels,
            self.clock_ms,
            self.wall_ms,
            self.options.slice_records,
            self.failures,
            carried,
            delivered_numbers(self.plan, self.manifest),
            self.dispatcher,
        )
        commitment = self.commitments.add(task, version)
        self.tasks[stage.name, group] = task
        if self.cuts is not None:
            self.cuts.note_task(stage.name, group, version or 0, task.watermark)
        return commitment

    def sink_task(self, sink: SinkStage, version: Optional[int]) -> Commitment[SinkTask]:
        """Open an output where it stood, or at its start."""
        codec = InputCodec(bytes, from_stage=True)
        number = self.manifest.outputs[sink.name].id
        group = self.manifest.output_group(number)
        store = self._store(f"output {sink.name}", output_task(number), group, [], [codec])
        channels = Channels(sink.inputs, self._channel_counts())
        task = SinkTask(sink, sink.node.output, store, channels, self.options.slice_records)
        commitment = self.commitments.add(task, version)
        self.sinks[sink.name] = task
        if task.notice:
            self.tell(task.notice)
        return commitment

    def _store(
        self,
        name: str,
        task: int,
        group: int,
        operators: list[OperatorSpec],
        codecs: list[InputCodec],
        carried: int = 0,
        shown: Collection[int] = (),
    ) -> StageStore:
        return self.groups.group(group).stage(name, operators, codecs, task=task, carried=carried, shown=shown)

    def _channel_counts(self) -> dict[int, int]:
        sources = {source.name: self.manifest.sources[source.name].slots for source in self.plan.sources}
        return {edge.id: sources.get(edge.producer.node, self.manifest.key_groups) for edge in self.plan.edges()}

    def stores(self) -> list[StageStore]:
        """The stores of all tasks and outputs."""
        return [task.store for task in self._all_tasks()]

    def settle(self) -> None:
        """After the whole run has ended well: everything is durable, on every worker."""
        reached("settlement.before")
        if self.cuts is not None:
            self.cuts.end()
        self.commitments.end()
        for store in self.stores():
            store.settle()
        self.groups.syncs.wait()
        for sink in self.sinks.values():
            sink.release()
        if self.dispatcher is not None:
            self.dispatcher.finish(self.stopping, self.beat)
        reached("settlement.after")

    def close(self) -> None:
        """Close all inputs, outputs and stores; raises the first `StateError` of these once all are closed."""
        readings: list[Any] = [self.dispatcher, self.cuts, *self.slots.values(), *self._discoveries.values()]
        for reading in filter(None, readings):
            reading.close()
        for sink in list(self.sinks.values()):
            with suppress(OutputError):  # What was written is durable, or will be taken back.
                sink.release()
        self.groups.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            self.close()
        except StateError:
            if error is None:
                raise
            # What ends the run is the first error: what closing meets is the same full disk again.
