"""The bytewax adapter: each stage of a plan as one bytewax step, moving batches between key groups."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Optional

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as EngineStream
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from typing_extensions import override

from headway.basics.crashpoints import reached
from headway.errors import CorruptStateError
from headway.plan.stages import KeyedStage, Plan, SinkStage, SourceStage
from headway.runtime.batch import Batch
from headway.runtime.exchange import Message
from headway.runtime.job import Job
from headway.runtime.participant import Commitment
from headway.runtime.rest import POLL_MS, Rest, Watch
from headway.runtime.returning import Ending
from headway.runtime.slack import prompt
from headway.runtime.slot import Slot
from headway.runtime.stage import StageTask

__all__ = ["End", "build_dataflow", "slot_token", "step_name"]

Token = list[Any]
"""What the engine's log keeps of a participant, sealed with a checksum, see `headway.runtime.seal`: its version, and
with it the number of a key group, or the name of a reader slot and where that stands."""
_AT_ONCE: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""A time that has come, whatever happens to the machine's clock."""
_CLOSING: Final = timedelta(milliseconds=30)
"""What the end of an epoch mostly takes on all workers."""
_WAIT_POLL_MS = 1
_IDLE_POLLS_MS = (10, POLL_MS)
"""How long a slot sleeps that waits for input: a little longer each time, so that a calm flow costs little."""


class _SlotPartition(StatefulSourcePartition[Message, Any]):
    """A reader slot as the engine sees it.

    The engine waits by the machine's clock, which may be set back: then it would call nobody for as long. So a slot
    asks to be called at once, and looks itself whether it is time to, by a clock that never goes back. One exception
    is the end of an epoch in a calm cluster, where the engine would not sleep before all workers have written: if the
    clock is set back in these milliseconds, the supervisor misses the worker's beats and starts the run again.

    That it is called proves that the epoch before is durable on every worker. Its readers are closed with the job: they
    are still to hear of the last epoch when the engine has done with them.
    """

    def __init__(self, commitment: Commitment[Slot], job: Job) -> None:
        self._commitment = commitment
        self._slot = commitment.participant
        self._job = job
        self._idle_poll_ms: float = _IDLE_POLLS_MS[0]
        self._poll_at_ms = 0.0
        self._rest = Rest(job.options.epoch_ms, job.clock_ms())
        self._ending = None if job.returning is None else Ending(job.returning)
        self._has_said_all = False
        self._finished = False
        self._closed = 0
        """How many epochs it has closed in this run."""

    @override
    def next_batch(self) -> list[Message]:
        if self._finished:
            raise StopIteration
        job = self._job
        job.beat()
        with job.guard:
            if self._rest.is_closed:
                reached("epoch.before")
                if job.cuts is not None:
                    job.cuts.proven(self._closed)
                job.marker.began(self._closed)
                if self._ending is not None:
                    self._ending.epoch_began()
                self._commitment.proven()
                reached("epoch.after")
            job.marker.polled(self._closed)
            self._called(job.clock_ms())
            job.check_clock()
            if job.clock_ms() < self._poll_at_ms and not self._slot.has_news() and not job.stopping():
                job.doze(self._rest)
                if job.clock_ms() < self._poll_at_ms:
                    return []
            if job.stopping() or self._slot.done or (self._ending is not None and self._ending.is_over):
                return self._finish()
            before = self._slot.events
            messages = self._slot.poll()
        if self._slot.events == before and not self._slot.done:
            self._wait()
        else:
            self._idle_poll_ms = _IDLE_POLLS_MS[0]
            job.has_read()
        return messages

    def _called(self, now_ms: int) -> None:
        """The first call after the end of an epoch says that all have written it."""
        board, rest = self._job.board, self._rest
        others_closed_ms = 0
        if rest.is_closed:
            others_closed_ms = board.last_closed_ms()
            board.report_begun(self._job.options.worker, now_ms)
        rest.called(now_ms, others_closed_ms)

    def _finish(self) -> list[Message]:
        """Say the last things, and end once everything has been handled: until then epochs go on."""
        job = self._job
        if not self._has_said_all:
            self._has_said_all = True
            self._finished = job.stopping()
            return self._slot.finish()
        messages: list[Message] = []
        if job.stopping() or (job.is_caught_up() and (self._ending is None or self._ending.is_over)):
            self._finished = True
        else:
            self._slot.heartbeat(messages, force=False)
            self._poll_at_ms = job.clock_ms() + _WAIT_POLL_MS
        return messages

    def _wait(self) -> None:
        """Nothing could be read: look again a little later."""
        pause_ms: float = _WAIT_POLL_MS
        if self._job.options.follow and not self._job.is_behind():
            pause_ms = self._idle_poll_ms
            self._idle_poll_ms = min(self._idle_poll_ms * 1.2, _IDLE_POLLS_MS[1])
        self._poll_at_ms = self._job.clock_ms() + pause_ms

    @override
    def next_awake(self) -> Optional[datetime]:
        job = self._job
        if job.options.workers > 1 and self._rest.is_over(job.clock_ms()) and job.is_calm():
            return datetime.now(timezone.utc) + _CLOSING
        return _AT_ONCE

    @override
    def snapshot(self) -> Any:
        with self._job.committing():
            reached("slot.before")
            version = self._commitment.prepare()
            self._job.board.report_closed(self._job.options.worker, self._rest.closed())
            self._closed += 1
            self._job.epochs.closed(self._slot.name)
            if self._job.cuts is not None:
                self._job.cuts.note_slot(self._slot.source.name, self._slot.name, self._slot.kept)
            reached("slot.after")
            return [self._slot.name, version, self._slot.kept]


class _Source(FixedPartitionedSource[Message, Any]):
    def __init__(self, source: SourceStage, job: Job) -> None:
        self._source = source
        self._job = job

    @override
    def list_parts(self) -> list[str]:
        prompt()  # Every worker begins with this, in the thread that it works in.
        self._job.admitted()
        return self._job.slot_names(self._source.name)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _SlotPartition:
        with self._job.guard:
            version, kept = (None, {}) if resume_state is None else slot_token(resume_state, for_part)
            return _SlotPartition(self._job.slot(self._source, for_part, version, kept), self._job)


class _KeyedLogic(StatefulBatchLogic[Batch, Message, Token]):
    """A keyed stage in one key group, as the engine sees it. Learns its group from the token or the first batch.

    A wake-up of the `watch` is no work, and an epoch in which nothing has arrived is none of the stage's.
    """

    def __init__(self, job: Job, stage: KeyedStage, watch: Optional[Watch], token: Optional[Token]) -> None:
        self._job = job
        self._stage = stage
        self._watch = watch
        self._commitment: Optional[Commitment[StageTask]] = None
        if token is not None:
            with job.guard:
                self._commitment = job.stage_task(stage, *token)

    @override
    def on_batch(self, values: list[Batch]) -> tuple[list[Message], bool]:
        with self._job.guard:
            self._job.marker.arrived()
            if self._commitment is None:
                self._commitment = self._job.stage_task(self._stage, values[0].group, None)
            self._commitment.proven()
            messages = self._commitment.participant.on_batches(values)
            self._job.worked()
        return messages, StatefulBatchLogic.RETAIN

    @override
    def on_notify(self) -> tuple[list[Message], bool]:
        assert self._commitment is not None
        messages: list[Message] = []
        with self._job.guard:
            if self._watch is not None and self._watch.is_kept_by(self) and self._wake_in_ms() != 0:
                self._watch.rest()
                return messages, StatefulBatchLogic.RETAIN
            if self._commitment.is_proven:
                messages = self._commitment.participant.on_clock()
            self._job.worked()
        return messages, StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[list[Message], bool]:
        assert self._commitment is not None
        with self._job.guard:
            self._commitment.proven()  # All slots have ended, and each was called for that.
            messages = self._commitment.participant.on_end(finish=not self._job.stopping())
        return messages, StatefulBatchLogic.RETAIN

    @override
    def notify_at(self) -> Optional[datetime]:
        pause_ms = self._wake_in_ms()
        if self._watch is not None and self._watch.is_kept_by(self):
            watch_ms = self._watch.pause_ms()
            pause_ms = watch_ms if pause_ms is None else min(pause_ms, watch_ms)
        if pause_ms is None:
            return None
        return _AT_ONCE if pause_ms <= 0 else datetime.now(timezone.utc) + timedelta(milliseconds=pause_ms)

    def _wake_in_ms(self) -> Optional[int]:
        """After how many milliseconds the task wants to be called, 0 for at once; None when it need not be."""
        assert self._commitment is not None
        wake_at_ms = self._commitment.participant.wake_at_ms
        if wake_at_ms is None or not self._commitment.is_proven:
            return None
        return max(0, wake_at_ms - self._job.clock_ms())

    @override
    def snapshot(self) -> Token:
        assert self._commitment is not None
        task = self._commitment.participant
        if not self._commitment.is_proven:
            return [task.group, self._commitment.prepared]
        with self._job.committing():
            reached("stage.before")
            version = self._commitment.prepare()
            if self._job.cuts is not None:
                self._job.cuts.note_task(self._stage.name, task.group, version, task.watermark)
            reached("stage.after")
            return [task.group, version]


class _SinkLogic(StatefulBatchLogic[Batch, Message, Token]):
    """An output, as the engine sees it."""

    def __init__(self, job: Job, sink: SinkStage, token: Optional[Token]) -> None:
        self._job = job
        self._sink = sink
        with job.guard:
            version = None if token is None else token[0]
            self._commitment = job.sink_task(sink, version)
            self._task = self._commitment.participant

    @override
    def on_batch(self, values: list[Batch]) -> tuple[list[Message], bool]:
        with self._job.guard:
            self._job.marker.arrived()
            self._commitment.proven()
            self._task.on_batches(values)
            self._job.worked()
        return [], StatefulBatchLogic.RETAIN

    @override
    def on_notify(self) -> tuple[list[Message], bool]:
        with self._job.guard:
            if self._commitment.is_proven:
                self._task.on_clock()
            self._job.worked()
        return [], StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[list[Message], bool]:
        with self._job.guard:
            self._commitment.proven()  # All slots have ended, and each was called for that.
            if not self._job.stopping():
                self._task.on_end()
        return [], StatefulBatchLogic.RETAIN

    @override
    def notify_at(self) -> Optional[datetime]:
        return _AT_ONCE if self._task.is_behind and self._commitment.is_proven else None

    @override
    def snapshot(self) -> Token:
        with self._job.committing():
            reached("output.before")
            version = self._commitment.prepare()
            reached("output.after")
            return [version]


class _Nothing(StatelessSinkPartition[Any]):
    @override
    def write_batch(self, items: list[Any]) -> None:
        """Outputs are stages: nothing arrives here."""


class End(DynamicSink[Any]):
    """The end that the engine wants every dataflow to have."""

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nothing:
        return _Nothing()


def build_dataflow(plan: Plan, job: Job) -> Dataflow:
    """The dataflow of a plan. Steps are named after the stages: the engine's recovery log knows them by that."""
    flow = Dataflow(plan.flow)
    produced: dict[str, EngineStream[Message]] = {}
    leads_to: dict[str, list[str]] = {}
    delivered = {sink.name for sink in plan.sinks if sink.delivered is not None}

    def note(name: str, stream: EngineStream[Message], segments: list[Any]) -> None:
        produced[name] = stream
        for target in sorted({edge.target for edge in plan.edges_of(segments)} - delivered):
            leads_to.setdefault(target, []).append(name)

    for source in plan.sources:
        stream = op.input(step_name("source", source.name), flow, _Source(source, job))
        note(source.name, stream, list(source.ports.values()))
    ends: list[Any] = []
    watch = _watch_of(job)
    for stage in plan.stages:
        keyed = _arrivals(stage.name, leads_to, produced, job)
        out = op.stateful_batch(step_name("stage", stage.name), keyed, _keyed_builder(job, stage, watch))
        note(stage.name, op.map(step_name("values", stage.name), out, _value), list(stage.outputs.values()))
    for sink in plan.written_sinks:
        keyed = _arrivals(sink.name, leads_to, produced, job)
        ends.append(op.stateful_batch(step_name("sink", sink.name), keyed, _sink_builder(job, sink)))
    unread = [produced[name] for name in produced if not any(name in names for names in leads_to.values())]
    op.output("end", op.merge("ends", *ends, *unread), End())
    return flow


def slot_token(token: Any, name: str) -> tuple[int, dict[str, Any]]:
    """The version of a reader slot and where it stood; its name is in the token: it cannot stand where another did."""
    named, version, kept = token
    if named != name:
        msg = (
            f"in the engine's recovery log, the token of the reader {name!r} is that of {named!r}: the log is damaged; "
            "restore the whole state directory from a backup"
        )
        raise CorruptStateError(msg)
    return version, kept


def step_name(role: str, name: str) -> str:
    """The engine's name for a step; it reserves the period."""
    return f"{role}-{name.replace('.', ':')}"


def _value(item: tuple[str, Message]) -> Message:
    return item[1]


def _arrivals(
    target: str, leads_to: dict[str, list[str]], produced: dict[str, EngineStream[Message]], job: Job
) -> KeyedStream[Batch]:
    """What is addressed to one stage, keyed by the routing name of the group."""
    streams = [produced[name] for name in leads_to.get(target, [])]
    merged = streams[0] if len(streams) == 1 else op.merge(step_name("merge", target), *streams)
    routes = job.routes(target)

    def route(messages: list[Message]) -> list[tuple[str, Batch]]:
        return [(routes[group], batch) for to, group, batch in messages if to == target]

    return op.flat_map_batch(step_name("route", target), merged, route)


def _watch_of(job: Job) -> Optional[Watch]:
    """What lets this worker sleep when it has no slot; None where no board tells what the slots of others do."""
    options = job.options
    if options.workers == 1 or options.board_path is None:
        return None
    closed_ms, begun_ms = job.board.last_closed_ms, job.board.last_begun_ms
    return Watch(options.epoch_ms, job.clock_ms, closed_ms, begun_ms, job.is_calm, lambda: bool(job.slots), job.nap_ms)


def _keyed_builder(job: Job, stage: KeyedStage, watch: Optional[Watch]) -> Callable[[Optional[Token]], _KeyedLogic]:
    return lambda token: _KeyedLogic(job, stage, watch, token)


def _sink_builder(job: Job, sink: SinkStage) -> Callable[[Optional[Token]], _SinkLogic]:
    return lambda token: _SinkLogic(job, sink, token)
