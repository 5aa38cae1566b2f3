"""A keyed stage, one event at a time: sorted lists for what waits and what is armed, dicts for rows."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Optional

from headway.basics.times import MIN_TIME_MS
from headway.errors import HeadwayError, UserCodeError, is_of_the_flow, why
from headway.graph import MAIN, OperatorNode, Port, Tolerance
from headway.operators.base import (
    BroadcastContext,
    Timer,
    ignored_result,
    name_of,
)
from headway.plan.stages import Apply, Edge, Entry, KeyedStage, Segment, ToOperator
from headway.testing.oracle_context import OracleContext
from headway.testing.oracle_states import OracleStates
from headway.testing.oracle_steps import Ends, Item, Ways, follow, meets, raw_text
from headway.types.isolation import Make, declared, isolator
from headway.types.letters import DeadLetter

__all__ = ["Row", "StageOracle"]


@dataclass
class Row:
    """One workflow instance of one operator."""

    state: Any
    timers: dict[str, int] = field(default_factory=dict)
    """Name and due time of each armed timer."""


class _Waiting(NamedTuple):
    """A record that has arrived; sorted, the order in which records are taken."""

    time: int
    rank: int
    origin: str
    arrival: int
    item: Item


class _Armed(NamedTuple):
    """An armed timer; sorted, the order in which timers fire."""

    due: int
    key: str
    rank: int
    name: str


class StageOracle:
    """Runs the operators of one keyed stage.

    `ends` takes what leaves for other stages and outputs; `now_ms` is the wall clock, for operators that read it.
    Values on their way to an operator, and each state after each handler, go through MessagePack as in the real
    runtime: nobody shares them with anybody, and what does not come back as it was raises `UserCodeError`.
    """

    def __init__(self, stage: KeyedStage, ends: Ends, now_ms: Callable[[], int]) -> None:
        self.name = stage.name
        self.operators = stage.operators
        self.rows: list[dict[str, Row]] = [{} for _ in stage.operators]
        self.watermark = MIN_TIME_MS
        self.now_ms = now_ms
        self.shared = [_shared_state(node) for node in stage.operators]
        self.losses = [dict.fromkeys(node.operator.losses, 0) for node in stage.operators]
        self.tallies: list[dict[str, int]] = [{} for _ in stage.operators]
        self.dead_letters: list[DeadLetter] = []
        self._stage = stage
        self._ends = ends
        self._sent: list[tuple[Edge, Item]] = []
        self._ways = Ways(send=self._hold if stage.is_guarded else ends.send, enter=self._enter)
        self._outputs = stage.outputs
        self._inputs = {edge.id: edge for edge in stage.inputs}
        self._isolate = {edge.id: isolator(edge.value_type) for edge in stage.inputs}
        self._stores = [OracleStates(node.name, node.operator.state_type, node.operator) for node in stage.operators]
        self._shared_stores = [
            OracleStates(node.name, node.operator.shared_type, node.operator) for node in stage.operators
        ]
        self._settle = {
            Port(node.name, port): declared(value_type)
            for node in stage.operators
            for port, value_type in {MAIN: node.operator.output_type, **node.operator.sides}.items()
        }
        self._isolate_within: dict[Any, Make] = {}
        self._waiting: list[_Waiting] = []
        self._armed: list[_Armed] = []
        self._arrivals = 0

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    @property
    def latest(self) -> Optional[int]:
        """The latest time that a timer is armed for or a record waits for."""
        return max([timer.due for timer in self._armed] + [record.time for record in self._waiting], default=None)

    def check(self, edge: Edge, item: Item) -> Item:
        """The item as it would arrive. Raises what `take` would."""
        return self._arrived(edge, item)

    def take(self, edge: Edge, item: Item) -> None:
        """A record arrives."""
        item = self._arrived(edge, item)
        self._arrivals += 1
        insort(self._waiting, _Waiting(item.time, edge.rank, item.origin, self._arrivals, item), key=lambda w: w[:4])

    def advance(self, watermark: int) -> None:
        """Run everything up to `watermark`: events before the timers of the same time."""
        while self._waiting and self._waiting[0].time <= watermark:
            record = self._waiting.pop(0)
            self._fire_timers(before=record.time)
            edge = next(edge for edge in self._inputs.values() if edge.rank == record.rank)
            self._attempt_event(edge, record.item)
        self._fire_timers(before=watermark + 1)
        self.watermark = max(self.watermark, watermark)

    def _arrived(self, edge: Edge, item: Item) -> Item:
        """The item with a value that it shares with nobody."""
        return item._replace(value=_crossed(item, self._isolate[edge.id], edge.target))

    def _fire_timers(self, *, before: int) -> None:
        while self._armed and self._armed[0].due < before:
            due, key, rank, name = self._armed[0]
            self.disarm(rank, key, name)
            self._attempt_timer(rank, key, due, name)

    def _attempt_event(self, edge: Edge, item: Item) -> None:
        """Let the operators have an event; where a failed one is set aside, all that it does or nothing."""
        raw = raw_text(self._arrived(edge, item).value)

        def run() -> None:
            for entry in edge.entries:
                self._on_event(entry, self._arrived(edge, item))

        def letter(error: HeadwayError) -> DeadLetter:
            return DeadLetter(
                source=edge.producer.node if edge.from_source else "",
                partition=item.origin if edge.from_source else "",
                position=f"record {item.ordinal}" if edge.from_source else "",
                reason=why(error),
                raw=raw,
                step=error.step,
                into=self._stage.into(edge),
                key=None if edge.broadcast else item.key,
                time=item.time,
                sender=None if edge.from_source else str(edge.producer),
            )

        self._attempt(edge.tolerance, "" if edge.broadcast else item.key or "", item.time, run, letter)

    def _attempt_timer(self, rank: int, key: str, due: int, name: str) -> None:
        operator = self.operators[rank].name

        def run() -> None:
            self._handle("on_timer", Timer(name, due), OracleContext(self, rank, key, due, after_ms=1))

        def letter(error: HeadwayError) -> DeadLetter:
            return DeadLetter(
                *("", "", "", why(error), ""), step=error.step, into=operator, key=key, time=due, timer=name
            )

        self._attempt(self._stage.tolerance, key, due, run, letter)

    def _attempt(
        self,
        tolerance: Optional[Tolerance],
        key: str,
        time: int,
        run: Callable[[], None],
        letter: Callable[[HeadwayError], DeadLetter],
    ) -> None:
        if not self._stage.is_guarded:
            run()
            return
        kept = [rows.get(key) for rows in self.rows], self._armed, self.shared, self.losses, self.tallies
        before = copy.deepcopy(kept)
        try:
            run()
        except HeadwayError as error:
            if tolerance is None or not is_of_the_flow(error):
                raise
            rows, self._armed, self.shared, self.losses, self.tallies = before
            for of_operator, row in zip(self.rows, rows):
                of_operator.pop(key, None)
                if row is not None:
                    of_operator[key] = row
            self._sent = []
            failed = letter(error)
            self.dead_letters.append(failed)
            segment = self._outputs.get(self._stage.letters_port, Segment())
            follow(segment, [Item(time, key, failed, key)], self._ways)
            self._ends.failed(tolerance, failed)
        sent, self._sent = self._sent, []
        for edge, item in sent:
            self._ends.send(edge, item)

    def _hold(self, edge: Edge, item: Item) -> None:
        """Something leaves, once it is known that all else succeeds."""
        self._sent.append((edge, self._ends.check(edge, item)))

    def _on_event(self, entry: Entry, item: Item) -> None:
        operator = self.operators[entry.rank].operator
        if entry.input in operator.broadcasts:
            self._on_broadcast(entry, item)
            return
        assert item.key is not None
        context = OracleContext(self, entry.rank, item.key, item.time, after_ms=0)
        if entry.input == MAIN and not self._concerns(context, item.value):
            return
        self._handle("on_event" if entry.input == MAIN else f"on_{entry.input}", item.value, context)

    def _concerns(self, context: OracleContext, event: Any) -> bool:
        """Whether an event of the main input meets one of the conditions that the operator has for them."""
        node = self.operators[context.rank]
        concerns = node.operator.concerns
        if concerns is None:
            return True
        with _naming(node.name):
            try:
                return any(map(partial(meets, event), concerns if isinstance(concerns, (list, tuple)) else [concerns]))
            except Exception as error:
                raise _failed(node, "concerns", context.key, context.time, event, error) from error

    def _on_broadcast(self, entry: Entry, item: Item) -> None:
        node = self.operators[entry.rank]
        handler, shared = f"on_{entry.input}", self.shared[entry.rank]
        with _naming(node.name):
            try:
                returned = getattr(node.operator, handler)(shared, item.value, BroadcastContext(item.time))
            except HeadwayError:
                raise
            except BaseException as error:
                raise _failed(node, handler, "", item.time, item.value, error) from error
            _check_returned(node, handler, "", item.time, returned)
            self.shared[entry.rank] = self._shared_stores[entry.rank].stored("all keys", item.time, shared)

    def _enter(self, branch: ToOperator, item: Item) -> None:
        """A value comes from another operator of this stage."""
        name = self.operators[branch.entry.rank].name
        isolate = self._isolate_within.get(branch.value_type)
        if isolate is None:
            isolate = self._isolate_within[branch.value_type] = isolator(branch.value_type)
        value = _crossed(item, isolate, name)
        self._on_event(branch.entry, item._replace(value=value))

    def _handle(self, handler: str, subject: Any, context: OracleContext) -> None:
        node = self.operators[context.rank]
        row = self.row(context.rank, context.key)
        with _naming(node.name):
            try:
                returned = getattr(node.operator, handler)(row.state, subject, context)
            except HeadwayError:
                raise
            except BaseException as error:
                raise _failed(node, handler, context.key, context.time, subject, error) from error
            _check_returned(node, handler, context.key, context.time, returned)
            self._store(context.rank, context.key, context.time)

    def row(self, rank: int, key: str) -> Row:
        """The row of a key; a fresh one where there is none."""
        found = self.rows[rank].get(key)
        if found is None:
            found = self.rows[rank][key] = Row(self._stores[rank].fresh())
        return found

    def _store(self, rank: int, key: str, time: int) -> None:
        """Keep a row as storage would: what equals a fresh one is not kept."""
        row, store = self.rows[rank][key], self._stores[rank]
        row.state = store.stored(f"key {key!r}", time, row.state)
        if not row.timers and store.is_fresh(row.state):
            del self.rows[rank][key]

    def emit(self, context: OracleContext, port: str, value: Any) -> None:
        """Send a value from an operator's port on its way."""
        node = self.operators[context.rank]
        segment = self._outputs.get(Port(node.name, port), Segment())
        settle = self._settle[Port(node.name, port)]
        if settle is not None and any(isinstance(branch, Apply) for branch in segment.branches):
            value = _crossed(Item(context.time, context.key, value, context.key), settle, "the steps behind it")
        follow(segment, [Item(context.time, context.key, value, context.key)], self._ways)

    def is_read(self, rank: int, port: str) -> bool:
        """Whether anything follows an operator's port."""
        return bool(self._outputs.get(Port(self.operators[rank].name, port), Segment()).branches)

    def arm(self, rank: int, key: str, name: str, due: int) -> None:
        """Set or move a timer."""
        self.disarm(rank, key, name)
        self.row(rank, key).timers[name] = due
        insort(self._armed, _Armed(due, key, rank, name))

    def disarm(self, rank: int, key: str, name: str) -> None:
        """Cancel a timer, if it is armed."""
        due = self.row(rank, key).timers.pop(name, None)
        if due is not None:
            self._armed.remove(_Armed(due, key, rank, name))

    def forget(self, rank: int, key: str) -> Any:
        """Drop a key's state and timers; returns the fresh state."""
        row = self.row(rank, key)
        for name in list(row.timers):
            self.disarm(rank, key, name)
        row.state = self._stores[rank].fresh()
        return row.state


def _shared_state(node: OperatorNode) -> Any:
    return node.operator.shared_type() if node.operator.broadcasts else None


def _failed(node: OperatorNode, handler: str, key: str, time: int, subject: Any, error: BaseException) -> UserCodeError:
    failure = UserCodeError(
        f"{name_of(node.operator)}.{handler} of the operator {node.name!r} failed for key "
        f"{key!r} at time {time}, on {subject!r:.300}: {type(error).__name__}: {error}"
    )
    failure.step = node.name
    return failure


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors inside say that they are of the operator of this name, unless they know better."""
    try:
        yield
    except HeadwayError as error:
        if error.step is None:
            error.step = name
        raise


def _check_returned(node: OperatorNode, handler: str, key: str, time: int, returned: Any) -> None:
    if returned is not None:
        what = ignored_result(f"{name_of(node.operator)}.{handler}", returned)
        msg = f"operator {node.name!r}, key {key!r}, time {time}: {what}"
        raise UserCodeError(msg)


def _crossed(item: Item, isolate: Callable[[Any], Any], target: str) -> Any:
    """The value as it arrives in another process."""
    try:
        return isolate(item.value)
    except UserCodeError as error:
        msg = f"on the way to {target!r}, key {item.key!r}, time {item.time}: {error}"
        raise UserCodeError(msg) from error.__cause__
