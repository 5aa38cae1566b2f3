"""The history of one key, made anew from the log.

Nothing that a run keeps tells how a state came to be: events are gone once they are handled, and that is what makes
state small. But what a flow makes is a function of its log, so the log tells it again. The flow is run over it in
memory, by the interpreter that the engine is tested against (`headway.testing.oracle`), and what the key goes through
is noted on the way. It writes nothing and calls nobody.

**What is left out.** Of the operators that made the trigger, other keys are passed over before anything is done for
them; stages that do not lead to the trigger see nothing. Time is that of the whole log all the same. What is left is
mostly reading and decoding, some 10 µs an event.

**Two passes.** The trigger's id is a hash, and does not say the key. Where that is not known otherwise, a first pass
over all keys finds the trigger, some 30 µs an event, and a second one follows its key.

**What it cannot tell.** It is the flow as it is now over the log as it is now: where either has changed, there may be
no such trigger any more, and that is said. Operators that read the wall clock, and ingestion time of logs that do not
keep it, have no past that could be made anew; such a flow is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import msgspec
from typing_extensions import override

from headway.connectors.base import Chunk, Input, PartitionReader
from headway.connectors.reading import chunks_of, impatient
from headway.errors import InternalError, UsageError
from headway.graph import INGESTION_TIME
from headway.plan.stages import Edge, KeyedStage, Plan, SinkStage
from headway.testing.oracle import Oracle, SinkOracle
from headway.testing.oracle_context import OracleContext
from headway.testing.oracle_stage import StageOracle
from headway.testing.oracle_steps import Ends, Item
from headway.types.logs import Log

__all__ = ["History", "Step", "Trigger", "history_of", "plain"]


@dataclass
class Step:
    """One event or timer of the key, as one operator has handled it."""

    time_ms: int
    operator: str
    handler: str
    """Such as `on_event`, `on_timer`, or `on_` and the name of a further input."""
    subject: Any
    """The event; of a timer its name and when it was due."""
    before: Any
    """The state before it; None where nothing was kept of the key."""
    timers_before: dict[str, int]
    """The timers that were armed before it: name and due time in epoch milliseconds."""
    after: Any = None
    """The state after it; None where nothing is kept."""
    timers: dict[str, int] = field(default_factory=dict)
    """The timers that are armed after it."""
    emitted: list[tuple[str, Any]] = field(default_factory=list)
    """What it has sent: the port, `main` or that of a side output, and the value."""


class Trigger(NamedTuple):
    """The trigger that was asked about."""

    id: str
    output: str
    key: Optional[str]
    time_ms: int
    value: Any


class History(NamedTuple):
    """What led to a trigger."""

    trigger: Trigger
    steps: list[Step]
    """What its key went through until then; empty where no operator made it, but a source's steps alone."""


def history_of(plan: Plan, trigger_id: str, key: Optional[str] = None, *, drained: bool = False) -> Optional[History]:
    """What led to a trigger, by its id; None where the flow makes no such trigger of its log as far as that goes.

    `key` is that of the trigger, where it is known: else the log is read twice. With `drained` time goes on behind the
    log's end, as `--drain` lets it. The inputs of the plan are read from their beginning.

    Raises `UsageError` for a flow that cannot be made to do the same again, and what reading the inputs raises.
    """
    _check(plan)
    found = None if key is None else _run(plan, trigger_id, key, drained=drained)
    if found is None or found.trigger is None:
        found = _run(plan, trigger_id, None, drained=drained)
        if found.trigger is not None and found.key_of_maker is not None:
            found = _run(plan, trigger_id, found.key_of_maker, drained=drained)
    return None if found.trigger is None else History(found.trigger, found.steps[: found.made_by + 1])


def _check(plan: Plan) -> None:
    for source in plan.sources:
        node = source.node
        if node.time is INGESTION_TIME and node.input.own_log is None:
            msg = (
                f"events of the source {source.name!r} happen when they are read, and {node.input.describe()} does not "
                "keep when that was: what led to a trigger cannot be told"
            )
            raise UsageError(msg)
    for operator in (node for stage in plan.stages for node in stage.operators):
        if operator.operator.wall_clock:
            msg = f"operator {operator.name!r} reads the wall clock, so that what it did cannot be made anew"
            raise UsageError(msg)


def _run(plan: Plan, trigger_id: str, key: Optional[str], *, drained: bool) -> _Replay:
    replay = _Replay(plan, trigger_id, key)
    with closing(_chunks(plan, replay)) as chunks:
        for name, partition, chunk in chunks:
            replay.sources[name].read_chunk(partition, chunk)
            replay.advance()
            if replay.trigger is not None:
                return replay
    if drained:
        replay.drain()
    return replay


def _chunks(plan: Plan, replay: _Replay) -> Generator[tuple[str, str, Chunk], None, None]:
    """All that there is to be read, always of the partition that is furthest behind."""
    with ExitStack() as held:
        readers: list[tuple[str, str, Iterator[Chunk]]] = []
        for source in plan.sources:
            session = source.node.input.session()
            held.callback(session.close)
            for partition in session.partitions():
                reader = session.open(partition, None, follow=False)
                held.callback(reader.close)
                _check_whole(source.node.input, partition, reader)
                replay.sources[source.name].add_partition(partition)
                chunks = chunks_of(reader, impatient(f"{source.node.input.describe()}, {partition}"))
                readers.append((source.name, partition, chunks))
        while readers:
            place = min(range(len(readers)), key=lambda at: replay.sources[readers[at][0]].time_of(readers[at][1]))
            name, partition, chunks = readers[place]
            chunk = next(chunks, None)
            if chunk is None:
                del readers[place]
            else:
                yield name, partition, chunk


def _check_whole(found: Input, partition: str, reader: PartitionReader) -> None:
    if found.own_log is not None and found.records_before(reader.position()):
        msg = (
            f"the log {partition} begins with record {found.records_before(reader.position()):,}: those before it are "
            "deleted, since the flow needs them no more, so what led to a trigger cannot be told; see retention="
        )
        raise UsageError(msg)


class _Replay(Oracle):
    """Looks for a trigger; with a key, notes what that goes through."""

    def __init__(self, plan: Plan, trigger_id: str, key: Optional[str]) -> None:
        super().__init__(plan, now_ms=_no_clock)
        self.trigger: Optional[Trigger] = None
        self.key_of_maker: Optional[str] = None
        """Of the operator that made the trigger; None where a source's steps did."""
        self.steps: list[Step] = []
        self.made_by = -1
        """Which step has made the trigger: others of the same event may come behind it."""
        self.current: Optional[str] = None
        """Which key was handled last."""
        self._trigger_id = trigger_id
        self._key = key
        ends = Ends(self._send, self._check, self._count)
        self.stages = {stage.name: _TracedStage(stage, ends, self, key) for stage in plan.stages}
        self.sinks = {sink.name: _Sink(plan, sink, self.made) for sink in plan.sinks}

    def made(self, edge: Edge, item: Item, trigger_id: str) -> None:
        """A trigger was made."""
        if trigger_id == self._trigger_id and self.trigger is None:
            self.trigger = Trigger(trigger_id, edge.target, item.key, item.time, plain(item.value))
            self.key_of_maker = None if edge.from_source else self.current
            by = [number for number, step in enumerate(self.steps) if step.operator == edge.producer.node]
            self.made_by = by[-1] if by else -1

    def _send(self, edge: Edge, item: Item) -> None:
        if edge.target in self.sinks or self._concerns(edge, item):
            super()._send(edge, item)

    def _concerns(self, edge: Edge, item: Item) -> bool:
        """Whether a stage must see a record: one that no other stage waits for needs only what is of the key."""
        stage = self.stages[edge.target]
        return self._key is None or edge.broadcast or item.key == self._key or stage.feeds_others  # type: ignore[attr-defined]


class _Sink(SinkOracle):
    """An output that keeps nothing."""

    def __init__(self, plan: Plan, sink: SinkStage, made: Callable[[Edge, Item, str], None]) -> None:
        super().__init__(plan, sink)
        self._made = made

    @override
    def take(self, edge: Edge, item: Item) -> None:
        written = self._written(edge, item)
        self._made(edge, written, self._id(edge, written))


class _TracedStage(StageOracle):
    """Notes what is done to one key."""

    def __init__(self, stage: KeyedStage, ends: Ends, replay: _Replay, key: Optional[str]) -> None:
        super().__init__(stage, ends, _no_clock)
        names = {node.name for node in stage.operators}
        self.feeds_others = any(
            edge.producer.node in names for other in replay.plan.stages for edge in other.inputs if not edge.from_source
        )
        self._replay = replay
        self._key = key

    @override
    def _handle(self, handler: str, subject: Any, context: OracleContext) -> None:
        replay = self._replay
        replay.current = context.key
        if context.key != self._key or replay.trigger is not None:
            super()._handle(handler, subject, context)
            return
        before, timers = self._kept(context)
        shown = plain(subject)
        if handler == "on_timer":  # It is no longer armed when it is handled.
            timers = {**timers, subject.name: subject.at}
            shown = {"name": subject.name, "at": subject.at}
        step = Step(context.time, self.operators[context.rank].name, handler, shown, before, timers)
        replay.steps.append(step)
        self._noted, outer = step, self._noted
        try:
            super()._handle(handler, subject, context)
        finally:
            self._noted = outer
        step.after, step.timers = self._kept(context)

    _noted: Optional[Step] = None
    """What is being handled of the key."""

    def _kept(self, context: OracleContext) -> tuple[Any, dict[str, int]]:
        row = self.rows[context.rank].get(context.key)
        return (None, {}) if row is None else (plain(row.state), dict(row.timers))

    @override
    def emit(self, context: OracleContext, port: str, value: Any) -> None:
        if self._noted is not None and context.key == self._key:
            self._noted.emitted.append((port, plain(value)))
        super().emit(context, port, value)


def plain(value: Any) -> Any:
    """A value of the flow as builtins: of logs the entries, of what has no such form how it shows itself."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_shown)


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, Log) else repr(value)


def _no_clock() -> int:
    msg = "the clock is read by nothing that is replayed; please report this"
    raise InternalError(msg)
