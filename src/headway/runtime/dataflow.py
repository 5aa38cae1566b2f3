"""The bytewax adapter: each stage of a plan as one bytewax step, moving batches between key groups."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as EngineStream
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from typing_extensions import override

from headway.plan import KeyedStage, Plan, SinkStage, SourceStage
from headway.runtime.batch import Batch
from headway.runtime.exchange import Message
from headway.runtime.job import Job
from headway.runtime.slot import Slot
from headway.runtime.stage import StageTask

__all__ = ["build_dataflow"]

Token = dict[str, Any]
_WAIT_POLL_MS = 1
_IDLE_POLLS_MS = (10, 100)
"""How long a slot sleeps that waits for input: a little longer each time, so that a calm flow costs little."""
_DOZE_S = 0.02


class _SlotPartition(StatefulSourcePartition[Message, Any]):
    """A reader slot as the engine sees it."""

    def __init__(self, slot: Slot, job: Job) -> None:
        self._slot = slot
        self._job = job
        self._awake: Optional[datetime] = None
        self._idle_poll_ms: float = _IDLE_POLLS_MS[0]
        self._poll_at_ms = 0.0
        self._finished = False

    @override
    def next_batch(self) -> list[Message]:
        if self._finished:
            raise StopIteration
        job = self._job
        job.beat()
        if self._dozes():
            return []
        with job.guard:
            if job.stopping() or self._slot.done:
                self._finished = True
                return self._slot.finish()
            before = self._slot.events
            messages = self._slot.poll()
        if self._slot.events == before and not self._slot.done:
            self._wait()
        else:
            self._awake = None
            self._idle_poll_ms = _IDLE_POLLS_MS[0]
            job.read_at_ms = job.clock_ms()
        return messages

    def _wait(self) -> None:
        """Nothing could be read: say when to look again."""
        pause_ms: float = _WAIT_POLL_MS
        if self._job.follow:
            pause_ms = self._idle_poll_ms
            self._idle_poll_ms = min(self._idle_poll_ms * 1.2, _IDLE_POLLS_MS[1])
        self._poll_at_ms = self._job.clock_ms() + pause_ms
        calm = self._job.is_calm  # Then it is `_dozes` that waits.
        self._awake = None if calm else datetime.now(timezone.utc) + timedelta(milliseconds=pause_ms)

    def _dozes(self) -> bool:
        """Sleep here while the flow is calm, and say whether it is too early to look for input.

        The engine's own loop looks around a thousand times a second, which takes a fiftieth of a core. Other
        processes of a cluster may send at any time: there the engine goes on looking.
        """
        job = self._job
        if not job.is_calm:
            return False
        time.sleep(_DOZE_S / len(job.slots))
        return job.clock_ms() < self._poll_at_ms and not job.stopping()

    @override
    def next_awake(self) -> Optional[datetime]:
        return self._awake

    @override
    def snapshot(self) -> Any:
        with self._job.guard:
            return self._slot.snapshot()

    @override
    def close(self) -> None:
        self._slot.close()


class _Source(FixedPartitionedSource[Message, Any]):
    def __init__(self, source: SourceStage, job: Job) -> None:
        self._source = source
        self._job = job

    @override
    def list_parts(self) -> list[str]:
        return self._job.slot_names(self._source.name)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _SlotPartition:
        with self._job.guard:
            return _SlotPartition(self._job.slot(self._source, for_part, resume_state), self._job)


class _KeyedLogic(StatefulBatchLogic[Batch, Message, Token]):
    """A keyed stage in one key group, as the engine sees it. Learns its group from the token or the first batch."""

    def __init__(self, job: Job, stage: KeyedStage, token: Optional[Token]) -> None:
        self._job = job
        self._stage = stage
        self._task: Optional[StageTask] = None
        if token is not None:
            with job.guard:
                self._task = job.stage_task(stage, token["group"], token["version"])

    @override
    def on_batch(self, values: list[Batch]) -> tuple[list[Message], bool]:
        with self._job.guard:
            if self._task is None:
                self._task = self._job.stage_task(self._stage, values[0].group, None)
            messages = self._task.on_batches(values)
        self._job.beat()
        return messages, StatefulBatchLogic.RETAIN

    @override
    def on_notify(self) -> tuple[list[Message], bool]:
        with self._job.guard:
            messages = self._task.on_clock() if self._task else []
        return messages, StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[list[Message], bool]:
        with self._job.guard:
            messages = self._task.on_end() if self._task else []
        return messages, StatefulBatchLogic.RETAIN

    @override
    def notify_at(self) -> Optional[datetime]:
        wake_at_ms = self._task.wake_at_ms if self._task else None
        if wake_at_ms is None:
            return None
        return datetime.now(timezone.utc) + timedelta(milliseconds=max(0, wake_at_ms - self._job.clock_ms()))

    @override
    def snapshot(self) -> Token:
        assert self._task is not None
        with self._job.committing():
            return {"group": self._task.group, "version": self._task.commit()}


class _SinkLogic(StatefulBatchLogic[Batch, Message, Token]):
    """An output, as the engine sees it."""

    def __init__(self, job: Job, sink: SinkStage, token: Optional[Token]) -> None:
        self._job = job
        self._sink = sink
        with job.guard:
            self._task = job.sink_task(sink, None if token is None else token["version"])

    @override
    def on_batch(self, values: list[Batch]) -> tuple[list[Message], bool]:
        with self._job.guard:
            self._task.on_batches(values)
        return [], StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> Token:
        with self._job.committing():
            return {"group": 0, "version": self._task.commit()}


class _Nothing(StatelessSinkPartition[Any]):
    @override
    def write_batch(self, items: list[Any]) -> None:
        """Outputs are stages: nothing arrives here."""


class _End(DynamicSink[Any]):
    """The end that the engine wants every dataflow to have."""

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nothing:
        return _Nothing()


def build_dataflow(plan: Plan, job: Job) -> Dataflow:
    """The dataflow of a plan. Steps are named after the stages: the engine's recovery log knows them by that."""
    flow = Dataflow(plan.flow)
    produced: dict[str, EngineStream[Message]] = {}
    leads_to: dict[str, list[str]] = {}

    def note(name: str, stream: EngineStream[Message], segments: list[Any]) -> None:
        produced[name] = stream
        for target in sorted({edge.target for edge in plan.edges_of(segments)}):
            leads_to.setdefault(target, []).append(name)

    for source in plan.sources:
        stream = op.input(_step("source", source.name), flow, _Source(source, job))
        note(source.name, stream, list(source.ports.values()))
    ends: list[Any] = []
    for stage in plan.stages:
        keyed = _arrivals(stage.name, leads_to, produced, job)
        out = op.stateful_batch(_step("stage", stage.name), keyed, _keyed_builder(job, stage))
        note(stage.name, op.map(_step("values", stage.name), out, _value), list(stage.outputs.values()))
    for sink in plan.sinks:
        keyed = _arrivals(sink.name, leads_to, produced, job)
        ends.append(op.stateful_batch(_step("sink", sink.name), keyed, _sink_builder(job, sink)))
    unread = [produced[name] for name in produced if not any(name in names for names in leads_to.values())]
    op.output("end", op.merge("ends", *ends, *unread), _End())
    return flow


def _step(role: str, name: str) -> str:
    """The engine's name for a step; it reserves the period."""
    return f"{role}-{name.replace('.', ':')}"


def _value(item: tuple[str, Message]) -> Message:
    return item[1]


def _arrivals(
    target: str, leads_to: dict[str, list[str]], produced: dict[str, EngineStream[Message]], job: Job
) -> KeyedStream[Batch]:
    """What is addressed to one stage, keyed by the routing name of the group."""
    streams = [produced[name] for name in leads_to.get(target, [])]
    merged = streams[0] if len(streams) == 1 else op.merge(_step("merge", target), *streams)
    routes = job.routes(target)

    def route(messages: list[Message]) -> list[tuple[str, Batch]]:
        return [(routes[group], batch) for to, group, batch in messages if to == target]

    return op.flat_map_batch(_step("route", target), merged, route)


def _keyed_builder(job: Job, stage: KeyedStage) -> Callable[[Optional[Token]], _KeyedLogic]:
    return lambda token: _KeyedLogic(job, stage, token)


def _sink_builder(job: Job, sink: SinkStage) -> Callable[[Optional[Token]], _SinkLogic]:
    return lambda token: _SinkLogic(job, sink, token)
