"""Patterns without an engine: the operator alone over the events of one key, and a shop whose carts are matched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Optional

import msgspec

import headway as hw
from headway.operators.base import Operator, Timer
from headway.operators.patterns.match import MatchPattern
from headway.testing import FlowTest

Event = dict[str, Any]
"""`at` is its time, `kind` what it is; a stream is a list in the order of time."""


class StubContext:
    """What a handler may do, for one key."""

    shared: Any = None
    wall = 0

    def __init__(self) -> None:
        self.key = "key"
        self.time = 0
        self.out: list[tuple[str, int, Any]] = []
        self.timers: dict[str, int] = {}
        self.forgotten = False
        self.rows = 0
        self.lost: dict[str, int] = {}
        self.unread: set[str] = set()

    def emit(self, value: Any, /) -> None:
        self.out.append(("main", self.time, value))

    def emit_to(self, side: str, value: Any, /) -> None:
        self.out.append((side, self.time, value))

    def is_read(self, side: str, /) -> bool:
        return side not in self.unread

    def lose(self, side: str, count: int, /) -> None:
        assert count > 0
        self.lost[side] = self.lost.get(side, 0) + count

    def tally(self, name: str, by: int, /) -> None:
        raise AssertionError("a pattern keeps no tallies")

    def timer(self, name: str, at: Optional[int] = None, /, *, after: Any = None) -> None:
        assert after is None and at is not None and at > self.time
        self.timers[name] = at

    def cancel(self, name: str, /) -> None:
        self.timers.pop(name, None)

    def due(self, name: str, /) -> Optional[int]:
        return self.timers.get(name)

    def forget(self) -> None:
        self.timers.clear()
        self.forgotten = True


def operate(operator: MatchPattern[Any], events: Sequence[Event], unread: Collection[str] = ()) -> StubContext:
    """Run a pattern over events of one key, to the end of its time; the state is checked after each step."""
    ctx = operate_any(operator, events, check_valid, unread)
    if operator._matcher._within_ms is not None:
        assert ctx.rows == 0, "something is left"
    return ctx


def operate_any(
    operator: Operator[Any, Any, Any],
    events: Sequence[Event],
    check: Callable[[Any], None] = lambda state: None,
    unread: Collection[str] = (),
) -> StubContext:
    """Run an operator over events of one key; the state goes through storage after each step."""
    ctx = StubContext()
    ctx.unread |= set(unread)
    state = operator.state_type()

    def step(handler: Callable[..., None], subject: Any) -> None:
        nonlocal state
        ctx.forgotten = False
        handler(state, subject, ctx)
        if ctx.forgotten:
            state = operator.state_type()
        check(state)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=operator.state_type)

    def fire(before: int) -> None:
        while ctx.timers and min(ctx.timers.values()) < before:
            name, due = min(ctx.timers.items(), key=lambda item: (item[1], item[0]))
            del ctx.timers[name]
            ctx.time = due
            step(operator.on_timer, Timer(name, due))

    for event in events:
        fire(event["at"])
        ctx.time = event["at"]
        step(operator.on_event, event)
    # Draining goes to the last timer that is set then, as in a run.
    fire(max(ctx.timers.values(), default=0) + 1)
    ctx.rows = int(state != operator.state_type() or bool(ctx.timers))
    return ctx


def check_valid(state: Any) -> None:
    """The state holds what is referred to, and counts right."""
    if hasattr(state, "steps"):
        check_chain(state.steps)
    else:
        check_buffer(state)


def check_chain(steps: list[list[Any]]) -> None:
    """Those who took an event are without gaps, and each event was taken by somebody."""
    lasts = [[taken.last for taken in column] for column in steps]
    assert all(lasts)
    if not lasts:
        return
    first = lasts[0][0]
    assert lasts[0] == list(range(first, first + len(lasts[0])))
    assert all(column == sorted(set(column)) and column[0] >= first for column in lasts)
    furthest = [column[-1] for column in lasts]
    assert furthest == sorted(furthest, reverse=True)


def check_buffer(state: Any) -> None:
    nodes = dict.fromkeys(state.nodes, 0)
    entries = dict.fromkeys(state.entries, 0)
    for holder in (*state.runs, *state.completed):
        nodes[holder.node] += 1
    for node in state.nodes.values():
        entries[node.entry] += 1
        if node.parent != -1:
            nodes[node.parent] += 1
    assert nodes == {number: node.refs for number, node in state.nodes.items()}
    assert entries == {number: entry.refs for number, entry in state.entries.items()}
    assert 0 not in nodes.values()
    starts = [run.start for run in state.runs]
    assert starts == sorted(starts)
    assert all(run.open for run in state.runs)


# -- A shop ------------------------------------------------------------------------------------------


class Shop(hw.Event):
    user: str
    kind: str
    at: hw.Time
    price: float = 0.0


def shop(declare: Callable[[hw.KeyedStream[Shop]], None]) -> FlowTest:
    declared = hw.Flow("shop")
    declare(declared.source("shop", Shop, hw.items([]), time="at").key_by("user"))
    return FlowTest(declared)


def send(test: FlowTest, *events: tuple[int, str], user: str = "ann") -> None:
    for at, kind in events:
        test.send("shop", Shop(user=user, kind=kind, at=at, price=float(at)))
