"""One keyed stage in one key group: the ordering of event time, and the loop that runs the operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from headway.errors import HeadwayError
from headway.graph import MAIN, Port
from headway.plan import Edge, Entry, KeyedStage, Plan
from headway.runtime.batch import Batch, Record
from headway.runtime.channels import Channels
from headway.runtime.context import Handle, OperatorContext, compile_port
from headway.runtime.exchange import Exchange, Message, Router, to_everyone
from headway.runtime.isolation import isolator
from headway.runtime.triggers import TriggerEncoder
from headway.state.stage import StageStore
from headway.times import MIN_TIME_MS
from headway.typeinfo import is_immutable

__all__ = ["StageTask"]

_SLICE = 20_000
"""Records between two looks at the size of the row cache."""


class StageTask:
    """Runs a keyed stage for one key group.

    Records wait until the group's watermark W, the minimum over its channels, has passed them. Then
    events and timers up to W run in the order of time: events before timers of the same time.
    """

    def __init__(
        self,
        plan: Plan,
        stage: KeyedStage,
        group: int,
        groups: int,
        store: StageStore,
        channels: Channels,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self.store = store
        self.timers = store.timers
        self.group = group
        self.channels = channels
        self.outgoing: dict[int, list[Record]] = {}
        self.encoders: dict[int, TriggerEncoder] = {}
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._router = Router(groups)
        self._exchanges: dict[int, Exchange] = {}
        self._broadcasts: set[int] = set()
        self._next_heartbeat_ms: Optional[int] = None
        self._watermark = channels.watermark()
        self._connect_edges(plan, stage, groups)
        shared = {table.name: store.tables[index] for index, table in enumerate(stage.tables()) if table.shared}
        self.contexts = [
            OperatorContext(node, rank, store, shared.get(f"{node.name}:shared"))
            for rank, node in enumerate(stage.operators)
        ]
        for node, context in zip(stage.operators, self.contexts):
            ports = {side: stage.outputs.get(Port(node.name, side)) for side in (MAIN, *node.operator.sides)}
            pushes = {side: compile_port(self, context, segment) for side, segment in ports.items()}
            context.connect(pushes.pop(MAIN), pushes)
        self._by_wall_clock = [context for context in self.contexts if context.operator.wall_clock]
        copies = [copied_entries(plan, edge) for edge in stage.inputs]
        self._entries = [self._handlers(edge, count) for edge, count in zip(stage.inputs, copies)]
        is_plain = [edge.entries for edge in stage.inputs] == [[Entry(0)]] and not any(copies)
        self._single_entry = self.contexts[0] if is_plain else None
        self._strip_origin = len(stage.inputs) == 1 and not stage.inputs[0].from_source

    def _handlers(self, edge: Edge, copied: int) -> list[Handle]:
        """What takes the records of an input; the first `copied` of them get copies."""
        handlers = [self.contexts[entry.rank].handler(entry.input, edge.value_type) for entry in edge.entries]
        return [_copying(handle, edge) for handle in handlers[:copied]] + handlers[copied:]

    def _connect_edges(self, plan: Plan, stage: KeyedStage, groups: int) -> None:
        sinks = {sink.name: sink.node for sink in plan.sinks}
        for edge in plan.edges_of(list(stage.outputs.values())):
            everyone = [0] if edge.target in sinks else list(range(groups))
            self._exchanges[edge.id] = Exchange(edge.id, edge.target, f"{self.group:03d}", everyone)
            self.outgoing[edge.id] = []
            if edge.broadcast:
                self._broadcasts.add(edge.id)
            if edge.target in sinks:
                self.encoders[edge.id] = TriggerEncoder(plan.flow, edge, sinks[edge.target])

    @property
    def watermark(self) -> int:
        """W: everything up to it has been processed."""
        return self._watermark

    def on_batches(self, batches: list[Batch]) -> list[Message]:
        """Take batches, advance as far as W allows, and return what leaves."""
        waiting = self.store.waiting
        channels = self.channels
        for batch in batches:
            if batch.records:
                waiting.add(channels.rank_of(batch.edge), batch.part, batch.records)
            channels.claim(batch.edge, batch.channel, batch.watermark)
        watermark = channels.watermark()
        if watermark > self._watermark:
            self._advance(watermark)
        return self._flush(force=False)

    def on_clock(self) -> list[Message]:
        """Send the heartbeats that were put off."""
        return self._flush(force=False)

    def on_end(self) -> list[Message]:
        """The run ends: tell everyone downstream how far time has come."""
        return self._flush(force=True)

    @property
    def wake_at_ms(self) -> Optional[int]:
        """When `on_clock` should be called, on the task's clock; None when there is no need."""
        return self._next_heartbeat_ms

    def commit(self) -> int:
        """Close the epoch; returns the version to resume from."""
        return self.store.commit({"claims": self.channels.claims_by_edge()})

    def _advance(self, watermark: int) -> None:
        if self._by_wall_clock:
            self._tell_wall_clock()
        released = self.store.waiting.release(watermark)
        if self._strip_origin:
            released = [record[:3] for record in released]
        single = self._single_entry
        for start in range(0, len(released), _SLICE):
            part = released if len(released) <= _SLICE else released[start : start + _SLICE]
            if single is not None:
                self._run_single(part, single)
            else:
                self._run_many(part)
            self.store.maybe_rotate()
        self._fire_timers(watermark)
        self.store.maybe_rotate()
        self._watermark = watermark

    def _tell_wall_clock(self) -> None:
        """One time for all that runs now, and for all operators: what they decide by it becomes part of the epoch."""
        now_ms = self._wall_ms()
        for context in self._by_wall_clock:
            context.wall_ms = now_ms

    def _run_single(self, records: list[Record], context: OperatorContext) -> None:
        """The hot loop: records of one input for one operator. What a handle does, written out.

        The list is emptied on the way, so that events are freed while the processor's cache still has them.
        """
        records.reverse()
        near = self.timers.near
        table = context.table
        young = table.young
        on_event = context.on_event
        event: Any = None
        try:
            while records:
                time_ms, key, event = records.pop()
                at_ms = time_ms  # A number of C, to compare; `time_ms` stays the object that is handed on.
                if near.first_ms < at_ms:
                    self._fire_timers(at_ms - 1)
                row = young.get(key)
                if row is None:
                    row = table.fetch(key)
                context.key = key
                context.time = time_ms
                context.row = row
                if not row.dirty:
                    table.mark(row)
                row.touched_ms = time_ms
                on_event(row.state, event, context)
        except HeadwayError:
            raise
        except BaseException as error:  # Also what only looks like the end of the process, such as `SystemExit`.
            failure = context.failure("on_event", event)
            raise failure from error

    def _run_many(self, records: list[Any]) -> None:
        """Records of several inputs, or for several operators; the list is emptied here too."""
        records.reverse()
        near = self.timers.near
        entries = self._entries
        tagged = len(entries) > 1
        while records:
            item = records.pop()
            rank, record = item if tagged else (0, item)
            if near.first_ms < record[0]:
                self._fire_timers(record[0] - 1)
            for handle in entries[rank]:
                handle(record[0], record[1], record[2])

    def _fire_timers(self, limit_ms: int) -> None:
        timers = self.timers
        entry = timers.pop_due(limit_ms)
        while entry is not None:
            context = self.contexts[entry[2]]
            row = context.table.due_row(entry)
            if row is not None:
                context.handle_timer(row, entry[0], entry[3])
            entry = timers.pop_due(limit_ms)

    def _flush(self, *, force: bool) -> list[Message]:
        out: list[Message] = []
        watermark = self._watermark
        for edge, records in self.outgoing.items():
            if records:
                self._exchanges[edge].send(self._by_group(edge, records), "", watermark, out)
                records.clear()
        if force or watermark > MIN_TIME_MS:
            self._next_heartbeat_ms = self._heartbeat(watermark, out, force=force)
        return out

    def _by_group(self, edge: int, records: list[Record]) -> dict[int, list[Record]]:
        encoder = self.encoders.get(edge)
        if encoder is not None:
            encoder.restart_ordinals()
            return {0: records.copy()}
        if edge in self._broadcasts:
            return to_everyone(records, self._exchanges[edge].groups)
        self._router.sort_in(records)
        return self._router.take()

    def _heartbeat(self, watermark: int, out: list[Message], *, force: bool) -> Optional[int]:
        now_ms = self._clock_ms()
        times = [exchange.heartbeat(watermark, now_ms, out, force=force) for exchange in self._exchanges.values()]
        return min((time for time in times if time is not None), default=None)


def copied_entries(plan: Plan, edge: Edge) -> int:
    """How many of an edge's readers, the first ones, must get copies of its values, because others get them too.

    What leaves a stage is a copy already, one for each edge; what a source reads is one object for all edges.
    """
    if is_immutable(edge.value_type):
        return 0
    readers = [other for stage in plan.stages for other in stage.inputs if other.producer == edge.producer]
    return len(edge.entries) if edge.from_source and len(readers) > 1 else len(edge.entries) - 1


def _copying(handle: Handle, edge: Edge) -> Handle:
    isolate = isolator(edge.value_type)
    return lambda time_ms, key, event: handle(time_ms, key, isolate(event))
