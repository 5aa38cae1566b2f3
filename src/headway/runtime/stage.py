"""One keyed stage in one key group: the ordering of event time, and the loop that runs the operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from headway.basics.times import MIN_TIME_MS
from headway.errors import HeadwayError
from headway.graph import MAIN, Port
from headway.plan.stages import Entry, KeyedStage, Plan
from headway.runtime.attempt import Attempt
from headway.runtime.batch import Batch, Record
from headway.runtime.carried import carried_edge
from headway.runtime.channels import Channels
from headway.runtime.concerns import unsifted_until
from headway.runtime.context import Handle, OperatorContext, compile_port
from headway.runtime.copies import copied_entries, copying
from headway.runtime.exchange import Message
from headway.runtime.failures import FailureTotal
from headway.runtime.losses import losses_of, lost_of, restore_losses, tallies_of
from headway.runtime.outgoing import Outgoing
from headway.runtime.stats import StageStats, known_time
from headway.state.manifest import EdgeEntry
from headway.state.stage import StageStore

if TYPE_CHECKING:
    from headway.delivery.dispatcher import Dispatcher

__all__ = ["SLICE", "StageTask"]

SLICE = 4_000
"""How much a task does at a time, in records: then others have their turn, and an epoch may end."""
_TIMER_COST = 4
"""What a timer counts for, in records."""


class StageTask:
    """Runs a keyed stage for one key group.

    Records wait until the group's watermark, the minimum over its channels, has passed them. Then events and timers up
    to it run in the order of time: events before timers of the same time.

    A step of the watermark may release any number of events and timers: a million carts that are all abandoned by the
    time of the next event. So a task advances in slices of about `slice_records`. Between two slices it has a position
    in the order of time, `watermark` says how far everything has been handled, and its outputs claim no more than that;
    what is left stays what it was, waiting records and armed timers, and so an epoch can end there. `is_behind` says
    that there is more to do: then `on_clock` is to be called again, soon.

    It is a participant of epochs, as `headway.runtime.participant` says: first comes `resume`, and in an epoch nothing
    is called before something has arrived in it. So its own messages prove to their receivers what that has proved.
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
        slice_records: int = SLICE,
        failures: Optional[FailureTotal] = None,
        carried: Sequence[EdgeEntry] = (),
        outputs: Optional[Mapping[str, int]] = None,
        dispatcher: Optional[Dispatcher] = None,
    ) -> None:
        self.store = store
        self.timers = store.timers
        self.group = group
        self.channels = channels
        self.out = Outgoing(plan, stage, group, groups, outputs or {}, store.deliveries, dispatcher)
        self.losses = losses_of(stage.operators)
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._slice = slice_records
        self._left = 0
        self._target = self._watermark = MIN_TIME_MS
        self._dispatcher = dispatcher
        shared = {table.name: store.tables[index] for index, table in enumerate(stage.tables()) if table.shared}
        self.attempt: Optional[Attempt] = None
        if stage.is_guarded:
            self.attempt = Attempt(self, stage, failures or FailureTotal())
        self.contexts = [
            OperatorContext(node, rank, store, shared.get(f"{node.name}:shared"))
            for rank, node in enumerate(stage.operators)
        ]
        for node, context in zip(stage.operators, self.contexts):
            ports = {side: stage.outputs.get(Port(node.name, side)) for side in (MAIN, *node.operator.sides)}
            types = {MAIN: node.operator.output_type, **node.operator.sides}
            pushes = {side: compile_port(self, context, segment, types[side]) for side, segment in ports.items()}
            context.connect(pushes.pop(MAIN), pushes, self.losses.get(node.name, {}))
        self._by_wall_clock = [context for context in self.contexts if context.operator.wall_clock]
        copies = [copied_entries(plan, edge) for edge in stage.inputs]
        self._entries = [
            self._handlers([(self.contexts[e.rank], e.input) for e in edge.entries], edge.value_type, count)
            for edge, count in zip(stage.inputs, copies)
        ]
        is_plain = [edge.entries for edge in stage.inputs] == [[Entry(0)]] and not any(copies)
        is_quick = stage.operators[0].operator.concerns is None or stage.inputs[0].sieve is not None
        self._single_entry = self.contexts[0] if is_plain and is_quick else None
        self._unsifted_ms = MIN_TIME_MS
        """Up to when the next records may be such as concern nobody."""
        self._strip_origin = len(stage.inputs) == 1 and not stage.inputs[0].from_source and self.attempt is None
        self._stage = stage
        self._carried = carried
        self._first_input = 0
        """The rank of the first input of today's plan: those before it hold what waited when the plan changed."""

    def resume(self, version: Optional[int]) -> None:
        """Go to a version of the store, which may be in the middle of a step of the watermark."""
        known = self.store.resume(version) or {}
        self._first_input = self.store.waiting.carried
        if self._first_input:
            self._entries = [*map(self._carried_handlers, self._carried), *self._entries]
            self._single_entry = None
            self._strip_origin = False
        if self.attempt is not None:
            edges = [carried_edge(self._stage, edge) for edge in self._carried[: self._first_input]]
            self.attempt.connect([*edges, *self._stage.inputs], self._entries)
            self.attempt.failures.restore(known.get("failures"))
        self.channels.restore(known.get("claims"))
        restore_losses(self.losses, known.get("losses", {}))
        self._unsifted_ms = unsifted_until(self._stage.inputs, self.store.waiting)
        self._target = self._watermark = self.channels.watermark()
        if self._dispatcher is not None:
            self._dispatcher.attach(self.store, self.out.delivered.values())
        progress = known.get("progress")
        if progress is not None:
            self._watermark = progress["watermark"]
            self.out.restore(progress["ordinals"])

    def prepare(self) -> int:
        """Close the epoch: one write of what it changed."""
        meta: dict[str, Any] = {"claims": self.channels.claims_by_edge(), "losses": self.losses}
        ordinals = self.out.ordinals()
        if self.is_behind or ordinals:
            meta["progress"] = {"watermark": self._watermark, "ordinals": ordinals}
        if self.attempt is not None and self.attempt.failures.count:
            meta["failures"] = self.attempt.failures.stored()
        version = self.store.commit(meta)
        self.out.open_epoch()
        return version

    def committed(self, version: int) -> None:
        """Let readers see the epoch, and its triggers leave."""
        self.store.settle(sync=False)
        if self._dispatcher is not None and self.out.delivered:
            self._dispatcher.committed(self.group, self.store.deliveries.numbered())

    def statistics(self) -> StageStats:
        """What is kept for this group."""
        return StageStats(
            version=self.store.version,
            watermark=known_time(self._watermark),
            keys=self.store.key_count,
            rows=self.store.row_count,
            timers=self.store.timer_count,
            waiting=len(self.store.waiting),
            due=self.timers.near.first_ms if self.store.timer_count else None,
            losses=lost_of(self.losses),
            tallies=tallies_of(self.losses),
            failed=0 if self.attempt is None else self.attempt.failures.count,
        )

    def _handlers(self, entries: Iterable[tuple[OperatorContext, str]], value_type: Any, copied: int) -> list[Handle]:
        """What takes the records of an input; the first `copied` of them get copies."""
        handlers = [context.handler(name, value_type, self.attempt) for context, name in entries]
        return [copying(handle, value_type) for handle in handlers[:copied]] + handlers[copied:]

    def _carried_handlers(self, edge: EdgeEntry) -> list[Handle]:
        """What takes the records that waited when the plan changed."""
        contexts = {context.name: context for context in self.contexts}
        entries = [(contexts[operator], name) for operator, name in edge.entries]
        return self._handlers(entries, carried_edge(self._stage, edge).value_type, len(entries) - 1)

    @property
    def watermark(self) -> int:
        """Everything up to it has been handled."""
        return self._watermark

    def waits(self, now_ms: int) -> bool:
        """Whether records that have happened before a time wait until it is known that no earlier one comes."""
        return self.store.waiting.next_ms < now_ms

    @property
    def is_behind(self) -> bool:
        """Whether there is more to do than what has been done."""
        return self._target > self._watermark

    def on_batches(self, batches: list[Batch]) -> list[Message]:
        """Take batches, advance by a slice, and return what leaves."""
        waiting = self.store.waiting
        channels = self.channels
        is_news = False
        for batch in batches:
            if batch.records:
                waiting.add(channels.rank_of(batch.edge) + self._first_input, batch.part, batch.records)
                is_news = True
            if channels.claim(batch.edge, batch.channel, batch.watermark):
                is_news = True
        if is_news:
            self._target = channels.watermark()
        return self.on_clock()

    def on_clock(self) -> list[Message]:
        """Go on by a slice, and send the heartbeats that were put off."""
        if self.is_behind:
            self._advance()
        return self._flush(force=False)

    def on_end(self, *, finish: bool) -> list[Message]:
        """The run ends: tell everyone downstream how far time has come, with `finish` after all has been done."""
        out: list[Message] = []
        while finish and self.is_behind:
            self._advance()
            out += self._flush(force=False)
        return out + self._flush(force=True)

    @property
    def wake_at_ms(self) -> Optional[int]:
        """When `on_clock` should be called, on the task's clock; None when there is no need."""
        return self._clock_ms() if self.is_behind else self.out.next_heartbeat_ms

    def _advance(self) -> None:
        """Go on by one slice."""
        if self._by_wall_clock:
            self._tell_wall_clock()
        waiting = self.store.waiting
        self._left = self._slice
        while self._left > 0:
            released = waiting.release(self._target, self._left)
            if released:
                self._run(released)
            elif self._fire_timers(self._target):
                self._watermark = self._target
                self.store.shrink_cache()
                return
            self.store.shrink_cache()
        left_ms = min(waiting.next_ms, self.timers.near.first_ms)
        self._watermark = max(self._watermark, min(left_ms - 1, self._target))

    def _run(self, released: list[Any]) -> None:
        """Handle records; give back those that the slice has no room for."""
        records = [record[:3] for record in released] if self._strip_origin else released
        count = len(records)
        records.reverse()
        if self.attempt is not None:
            self._run_guarded(records, self.attempt)
        elif self._single_entry is not None and records[-1][0] > self._unsifted_ms:
            self._run_single(records, self._single_entry)
        else:
            self._run_many(records)
        self._left -= count - len(records)
        if records:
            if self._strip_origin:
                records = released[-len(records) :]
            else:
                records.reverse()
            self.store.waiting.give_back(records)

    def _tell_wall_clock(self) -> None:
        """One time for all that runs now, and for all operators: what they decide by it becomes part of the epoch."""
        now_ms = self._wall_ms()
        for context in self._by_wall_clock:
            context.wall_ms = now_ms

    def _run_single(self, records: list[Record], context: OperatorContext) -> None:
        """The hot loop: records of one input for one operator, the next one last. What a handle does, written out.

        They are taken out on the way, so that events are freed while the processor's cache still has them. Some are
        left when the timers before the next one are too many for the slice.
        """
        near = self.timers.near
        table = context.table
        young = table.young
        on_event = context.on_event
        settle = table.settle
        event: Any = None
        try:
            while records:
                time_ms, key, event = records.pop()
                at_ms = time_ms  # A number of C, to compare; `time_ms` stays the object that is handed on.
                if near.first_ms < at_ms and not self._fire_timers(at_ms - 1):
                    records.append((time_ms, key, event))
                    return
                row = young.get(key)
                if row is None:
                    row = table.fetch(key)
                context.key = key
                context.time = time_ms
                context.row = row
                if not row.dirty:
                    table.mark(row)
                row.touched_ms = time_ms
                returned = on_event(row.state, event, context)
                if returned is not None:
                    context.refuse("on_event", returned)
                if settle is not None:
                    settle(row.state)
        except HeadwayError:
            raise
        except BaseException as error:  # Also what only looks like the end of the process, such as `SystemExit`.
            failure = context.failure("on_event", event)
            raise failure from error

    def _run_many(self, records: list[Any]) -> None:
        """As `_run_single`, for records of several inputs, or for several operators."""
        near = self.timers.near
        entries = self._entries
        tagged = len(entries) > 1
        while records:
            item = records.pop()
            rank, record = item if tagged else (0, item)
            at_ms = record[0]  # As in `_run_single`; the origin may be behind the event.
            if near.first_ms < at_ms and not self._fire_timers(at_ms - 1):
                records.append(item)
                return
            for handle in entries[rank]:
                handle(record[0], record[1], record[2])

    def _run_guarded(self, records: list[Any], attempt: Attempt) -> None:
        """As `_run_many`, where a record that fails is set aside."""
        near = self.timers.near
        tagged = len(self._entries) > 1
        while records:
            item = records.pop()
            rank, record = item if tagged else (0, item)
            if near.first_ms < record[0] and not self._fire_timers(record[0] - 1):
                records.append(item)
                return
            attempt.run(rank, record)

    def _fire_timers(self, limit_ms: int) -> bool:
        """Fire what is due by `limit_ms`; returns False when the slice ended before it was known to be all."""
        timers = self.timers
        entry = timers.pop_due(limit_ms)
        while entry is not None:
            context = self.contexts[entry[2]]
            row = context.table.due_row(entry)
            if row is not None:
                if self.attempt is None:
                    context.handle_timer(row, entry[0], entry[3])
                else:
                    self.attempt.fire(context, row, entry[0], entry[3])
            self._left -= _TIMER_COST
            if self._left <= 0:
                return False
            entry = timers.pop_due(limit_ms)
        return True

    def _flush(self, *, force: bool) -> list[Message]:
        out = self.out.send(self._watermark)
        if self.out.encoders:
            self._forget_ordinals()
        self.out.heartbeat(self._watermark, self._clock_ms(), out, force=force)
        return out

    def _forget_ordinals(self) -> None:
        """All that one key emits at one time is numbered: until time has passed, and among timers the key has."""
        time_ms, origin = self._watermark + 1, ""
        if self.is_behind and self.store.waiting.next_ms > time_ms and self.timers.near.first_ms == time_ms:
            origin = self.timers.near.first[1]
        self.out.forget_ordinals(time_ms, origin)
