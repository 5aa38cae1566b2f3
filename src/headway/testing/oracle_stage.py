"""A keyed stage, one event at a time: sorted lists for what waits and what is armed, dicts for rows."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import msgspec

from headway.errors import FlowError, HeadwayError, UserCodeError
from headway.graph import MAIN, OperatorNode, Port
from headway.operators.base import BroadcastContext, Timer, no_shared_state, no_wall_clock
from headway.plan import Edge, Entry, KeyedStage, Segment, ToOperator
from headway.schema import Json, type_label
from headway.testing.oracle_steps import Item, Ways, follow
from headway.times import MAX_TIME_MS, MIN_TIME_MS

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

    `send` takes what leaves for other stages and outputs; `now_ms` is the wall clock, for operators that read it.
    Values on their way to an operator, and each state after each handler, go through MessagePack as in the real
    runtime: nobody shares them with anybody, and what does not come back as it was raises `UserCodeError`.
    """

    def __init__(self, stage: KeyedStage, send: Callable[[Edge, Item], None], now_ms: Callable[[], int]) -> None:
        self.name = stage.name
        self.operators = stage.operators
        self.rows: list[dict[str, Row]] = [{} for _ in stage.operators]
        self.watermark = MIN_TIME_MS
        self.now_ms = now_ms
        self.shared = [_shared_state(node) for node in stage.operators]
        self._ways = Ways(send=send, enter=self._enter)
        self._outputs = stage.outputs
        self._inputs = {edge.id: edge for edge in stage.inputs}
        self._types = {edge.id: _wire_type(edge.value_type, edge.target) for edge in stage.inputs}
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
            for entry in edge.entries:
                self._on_event(entry, self._arrived(edge, record.item))
        self._fire_timers(before=watermark + 1)
        self.watermark = max(self.watermark, watermark)

    def _arrived(self, edge: Edge, item: Item) -> Item:
        """The item with a value that it shares with nobody."""
        return item._replace(value=_crossed(item, self._types[edge.id], edge.target))

    def _fire_timers(self, *, before: int) -> None:
        while self._armed and self._armed[0].due < before:
            due, key, rank, name = self._armed[0]
            self.disarm(rank, key, name)
            context = OracleContext(self, rank, key, due, after_ms=1)
            self._handle("on_timer", Timer(name, due), context)

    def _on_event(self, entry: Entry, item: Item) -> None:
        operator = self.operators[entry.rank].operator
        if entry.input in operator.broadcasts:
            self._on_broadcast(entry, item)
            return
        assert item.key is not None
        context = OracleContext(self, entry.rank, item.key, item.time, after_ms=0)
        self._handle("on_event" if entry.input == MAIN else f"on_{entry.input}", item.value, context)

    def _on_broadcast(self, entry: Entry, item: Item) -> None:
        node = self.operators[entry.rank]
        handler = f"on_{entry.input}"
        try:
            getattr(node.operator, handler)(self.shared[entry.rank], item.value, BroadcastContext(item.time))
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failed(node, handler, "", item.time, item.value, error) from error
        self.shared[entry.rank] = _stored(node, "shared", self.shared[entry.rank], node.operator.shared_type)

    def _enter(self, branch: ToOperator, item: Item) -> None:
        """A value comes from another operator of this stage."""
        name = self.operators[branch.entry.rank].name
        value = _crossed(item, _wire_type(branch.value_type, name), name)
        self._on_event(branch.entry, item._replace(value=value))

    def _handle(self, handler: str, subject: Any, context: OracleContext) -> None:
        node = self.operators[context.rank]
        row = self.row(context.rank, context.key)
        try:
            getattr(node.operator, handler)(row.state, subject, context)
        except HeadwayError:
            raise
        except BaseException as error:
            raise _failed(node, handler, context.key, context.time, subject, error) from error
        self._store(context.rank, context.key)

    def row(self, rank: int, key: str) -> Row:
        """The row of a key; a fresh one where there is none."""
        return self.rows[rank].setdefault(key, Row(self.operators[rank].operator.state_type()))

    def _store(self, rank: int, key: str) -> None:
        """Keep a row as storage would: what equals a fresh one is not kept."""
        node, row = self.operators[rank], self.rows[rank][key]
        state_type = node.operator.state_type
        row.state = _stored(node, f"key {key!r}", row.state, state_type)
        if not row.timers and msgspec.msgpack.encode(row.state) == msgspec.msgpack.encode(state_type()):
            del self.rows[rank][key]

    def emit(self, context: OracleContext, port: str, value: Any) -> None:
        """Send a value from an operator's port on its way."""
        segment = self._outputs.get(Port(self.operators[context.rank].name, port), Segment())
        follow(segment, [Item(context.time, context.key, value, context.key)], self._ways)

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
        row.state = self.operators[rank].operator.state_type()
        return row.state


def _shared_state(node: OperatorNode) -> Any:
    return node.operator.shared_type() if node.operator.broadcasts else None


def _failed(node: OperatorNode, handler: str, key: str, time: int, subject: Any, error: BaseException) -> UserCodeError:
    return UserCodeError(
        f"{type(node.operator).__name__}.{handler} of the operator {node.name!r} failed for key "
        f"{key!r} at time {time}, on {subject!r:.300}: {type(error).__name__}: {error}"
    )


def _stored(node: OperatorNode, whose: str, state: Any, state_type: Any) -> Any:
    """The state as it comes back from storage."""
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=state_type)
    except (TypeError, ValueError, OverflowError) as error:
        msg = (
            f"the state of the operator {node.name!r} for {whose} cannot be stored ({error}): "
            f"{state!r:.300}; its fields must hold what {type_label(state_type)} says"
        )
        raise UserCodeError(msg) from error


class OracleContext:
    """What a handler may do during one call: `headway.operators.base.Context`."""

    def __init__(self, stage: StageOracle, rank: int, key: str, time: int, *, after_ms: int) -> None:
        self.key = key
        self.time = time
        self.rank = rank
        self._stage = stage
        self._after_ms = after_ms

    @property
    def shared(self) -> Any:
        """See `Context.shared`."""
        operator = self._stage.operators[self.rank].operator
        if not operator.broadcasts:
            raise TypeError(no_shared_state(operator))
        return self._stage.shared[self.rank]

    @property
    def wall(self) -> int:
        """See `Context.wall`."""
        operator = self._stage.operators[self.rank].operator
        if not operator.wall_clock:
            raise TypeError(no_wall_clock(operator))
        return self._stage.now_ms()

    def emit(self, value: Any, /) -> None:
        """See `Context.emit`."""
        self._stage.emit(self, MAIN, value)

    def emit_to(self, side: str, value: Any, /) -> None:
        """See `Context.emit_to`."""
        operator = self._stage.operators[self.rank].operator
        if side not in operator.sides:
            known = ", ".join(operator.sides) or "none"
            msg = f"{type(operator).__name__} has no side output {side!r}; its sides are: {known}"
            raise KeyError(msg)
        self._stage.emit(self, side, value)

    def timer(self, name: str, at: int, /) -> None:
        """See `Context.timer`."""
        if type(at) is not int:
            msg = f"timer {name!r}: {at!r} is not a time in epoch milliseconds (an int)"
            raise TypeError(msg)
        if not MIN_TIME_MS <= at <= MAX_TIME_MS:
            msg = f"timer {name!r} is set to {at} ms, which does not fit into 64 bits"
            raise UserCodeError(msg)
        due = at if at > self.time else self.time + self._after_ms
        self._stage.arm(self.rank, self.key, name, due)

    def cancel(self, name: str, /) -> None:
        """See `Context.cancel`."""
        self._stage.disarm(self.rank, self.key, name)

    def due(self, name: str, /) -> Optional[int]:
        """See `Context.due`."""
        return self._stage.row(self.rank, self.key).timers.get(name)

    def forget(self) -> Any:
        """See `Context.forget`."""
        return self._stage.forget(self.rank, self.key)


def _wire_type(value_type: Any, target: str) -> Any:
    """The type of values on their way to `target`, as msgspec needs it. Raises `FlowError` where it cannot be."""
    wire_type = Any if value_type in (Json, dict) else value_type
    try:
        msgspec.msgpack.Decoder(wire_type)
    except TypeError as error:
        msg = (
            f"values of type {value_type} are to go to {target!r}, but cannot be told apart as bytes ({error}): map "
            "them into one Event class first, or give the classes tags (class A(hw.Event, tag=True))"
        )
        raise FlowError(msg) from None
    return wire_type


def _crossed(item: Item, value_type: Any, target: str) -> Any:
    """The value as it arrives in another process."""
    try:
        arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(item.value), type=value_type)
        if type(arrived) is type(item.value) or arrived == item.value:
            return arrived
        reason = f"it would arrive as {type(arrived).__name__} {arrived!r:.200}"
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    msg = (
        f"a value of type {type(item.value).__name__}, key {item.key!r}, time {item.time}, cannot go to {target!r}, "
        f"which expects {type_label(value_type)} ({reason}): {item.value!r:.300}; say its type where it is made, with "
        "an annotation of the function, into=..., or Operator[Event, State, Output]"
    )
    raise UserCodeError(msg)
