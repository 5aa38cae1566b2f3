"""Times to live against a model of them: random scripts of what an operator may do, for each way of counting.

The kind of fault: a time to live that is forgotten, or begun for nothing, because of what one handler did or did not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW
from tests.workflow_harness import agrees, engine_agrees, one_step

import headway as hw
from headway.operators import MatchPattern
from headway.testing import FlowTest, Oracle

TTL_MS = 6
SINCE = st.sampled_from(["write", "read", "creation"])


class Value(hw.State):
    value: int = 0


EFFECTS = ("nothing", "set", "unset", "forget", "forget-set", "arm-x", "arm-y", "cancel-x", "arm-cancel", "tell")
"""What an event may make the operator do. The timer `x` sets the state when it fires, `y` takes it back."""


class Scripted(hw.Operator[hw.Json, Value]):
    """Does what each event says."""

    def on_event(self, state: Value, event: hw.Json, ctx: hw.Context) -> None:
        for effect in event["do"]:
            if effect == "set":
                state.value += event["by"]
            elif effect == "unset":
                state.value = 0
            elif effect.startswith("forget"):
                state = ctx.forget()
                state.value = event["by"] if effect == "forget-set" else 0
            elif effect.startswith("arm"):
                ctx.timer("y" if effect == "arm-y" else "x", ctx.time + event["by"] * 3)
            elif effect == "tell":
                ctx.emit({"value": state.value})
            if effect in ("cancel-x", "arm-cancel"):
                ctx.cancel("x")

    def on_timer(self, state: Value, timer: hw.Timer, ctx: hw.Context) -> None:
        state.value = 9 if timer.name == "x" else 0


class Model:
    """One key: its value, its timers, and when it ends; written from the documentation, not from the operator."""

    def __init__(self, since: str) -> None:
        self.since = since
        self.value = 0
        self.timers: dict[str, int] = {}
        self.due: Optional[int] = None

    def end_at(self, time: int) -> None:
        self.due = time + TTL_MS

    def clear(self) -> None:
        self.value, self.timers, self.due = 0, {}, None

    def settle(self, time: int, before: int, *, is_event: bool) -> None:
        """A handler has run: does the key live, and until when?"""
        if not self.value and not self.timers:
            self.due = None
        elif (
            self.due is None or (self.since == "write" and self.value != before) or (self.since == "read" and is_event)
        ):
            self.end_at(time)

    def event(self, event: dict[str, Any]) -> Iterator[tuple[str, int, Any]]:
        before = self.value
        for effect in event["do"]:
            if effect.startswith("forget"):
                self.clear()
            if effect in ("set", "forget-set"):
                self.value += event["by"]
            elif effect == "unset":
                self.value = 0
            elif effect in ("arm-x", "arm-y"):
                self.timers[effect[-1]] = event["at"] + event["by"] * 3
            elif effect in ("cancel-x", "arm-cancel"):
                self.timers.pop("x", None)
            elif effect == "tell":
                yield "out", event["at"], self.value
        self.settle(event["at"], before, is_event=True)

    def timer(self, name: str, time: int) -> None:
        del self.timers[name]
        before, self.value = self.value, 9 if name == "x" else 0
        self.settle(time, before, is_event=False)

    def expire(self, due: int) -> Any:
        line = (self.value, due)
        self.clear()
        return line


def model(log: list[dict[str, Any]], since: str) -> Iterator[tuple[str, int, Any]]:
    """In event time: the end is one more timer, the last of those that are due together."""
    key = Model(since)
    for event in [*log, None]:
        while key.timers or key.due is not None:
            due, is_end, name = min(
                [(at, False, name) for name, at in key.timers.items()]
                + ([] if key.due is None else [(key.due, True, "")])
            )
            if event is not None and due >= event["at"]:
                break
            if is_end:
                yield "expired", due, key.expire(due)
            else:
                key.timer(name, due)
        if event is not None:
            yield from key.event(event)


def scripts(span_ms: int = 40) -> st.SearchStrategy[list[dict[str, Any]]]:
    event = st.fixed_dictionaries(
        {
            "at": st.integers(0, span_ms),
            "key": st.sampled_from("aab"),
            "do": st.lists(st.sampled_from(EFFECTS), max_size=3),
            "by": st.integers(1, 4),
        }
    )
    return st.lists(event, max_size=14).map(lambda drawn: sorted(drawn, key=lambda event: int(event["at"])))


def shown(value: Any) -> Any:
    return (value["state"]["value"], value["due"]) if "state" in value else value["value"]


def make(since: Any) -> Any:
    class Ticking(Scripted):
        """The last event of the harness, of another key, says nothing."""

        def on_event(self, state: Value, event: hw.Json, ctx: hw.Context) -> None:
            if "do" in event:
                super().on_event(state, event, ctx)

    operator = hw.Expiring(Ticking(), hw.ttl(TTL_MS, since=since))
    return one_step(lambda keyed: keyed.process("value", operator), ["expired"])


@settings(max_examples=200, deadline=None)
@given(drawn=scripts(), since=SINCE)
def test_in_event_time_it_is_what_the_model_says(drawn: list[dict[str, Any]], since: Any) -> None:
    agrees(make(since), drawn, lambda log: model(log, since), shown)


@settings(SLOW, max_examples=10)
@given(drawn=scripts(), since=SINCE, where=conditions())
def test_the_engine_does_the_same(drawn: list[dict[str, Any]], since: Any, where: Conditions) -> None:
    engine_agrees(make(since), drawn, where, lambda log: model(log, since), shown)


# -- By the wall clock ----------------------------------------------------------------------------------------


class WallModel(Model):
    """By the wall clock: `due` is an end by it, and `look` when event time makes one look whether it has come."""

    def __init__(self, since: str) -> None:
        super().__init__(since)
        self.wall = 0
        self.look: Optional[int] = None

    def end_at(self, time: int) -> None:
        self.due, self.look = self.wall + TTL_MS, time + TTL_MS

    def advance(self, limit: int) -> Iterator[tuple[str, int, Any]]:
        """Fire what is due before `limit`, in event time."""
        while self.timers or self.due is not None:
            looks = [] if self.due is None or self.look is None else [(self.look, True, "")]
            at, is_look, name = min([(at, False, name) for name, at in self.timers.items()] + looks)
            if at >= limit:
                return
            if not is_look:
                if self.due is not None and self.wall > self.due:
                    yield "expired", at, self.expire(self.due)
                else:
                    self.timer(name, at)
            elif self.due is not None and self.wall >= self.due:
                yield "expired", at, self.expire(self.due)
            elif self.due is not None:
                self.look = at + self.due - self.wall

    def event(self, event: dict[str, Any]) -> Iterator[tuple[str, int, Any]]:
        if self.due is not None and self.wall > self.due:
            yield "expired", event["at"], self.expire(self.due)
        yield from super().event(event)


@settings(max_examples=150, deadline=None)
@given(drawn=scripts(), pauses=st.lists(st.integers(0, 8), min_size=14, max_size=14), since=SINCE)
def test_by_the_wall_clock_it_is_what_the_model_says(
    drawn: list[dict[str, Any]], pauses: list[int], since: Any
) -> None:
    now_ms = 1_000
    flow = hw.Flow("f")
    keyed = flow.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    value = keyed.process("value", hw.Expiring(Scripted(), hw.ttl(TTL_MS, since=since, clock="wall")))
    value.to("out", hw.to_list([]))
    value.side("expired").to("expired", hw.to_list([]))
    oracle = Oracle(flow, now_ms=lambda: now_ms)
    keys = {key: WallModel(since) for key in "ab"}
    expected: list[tuple[str, int, Any]] = []
    for event, pause in zip(drawn, pauses):
        now_ms += pause
        # Time stands right behind the event: what it makes due is seen at once, and nothing later.
        oracle.feed({"events": {"0": [event, {**event, "at": event["at"] + 1, "key": "tick", "do": []}]}})
        for key in keys.values():
            key.wall = now_ms
            expected += key.advance(event["at"])
        if event["key"] in keys and event["at"] not in _late(drawn, event):
            expected += keys[event["key"]].event(event)
        for key in keys.values():
            expected += key.advance(event["at"] + 1)
    outputs = oracle.result().outputs
    for output in ("out", "expired"):
        found = [shown(msgspec.json.decode(line)) for line in outputs[output]]
        assert sorted(found) == sorted(line for name, _, line in expected if name == output)


def _late(drawn: list[dict[str, Any]], event: dict[str, Any]) -> set[int]:
    """The times at which the ticks behind earlier events have made this one late."""
    earlier = drawn[: next(index for index, other in enumerate(drawn) if other is event)]
    return {other["at"] for other in earlier}


# -- Single cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("since", ["write", "read", "creation"])
def test_a_timer_alone_begins_a_time_to_live_that_nothing_forgets(since: Any) -> None:
    class Arms(hw.Operator[hw.Json, Value]):
        def on_event(self, state: Value, event: hw.Json, ctx: hw.Context) -> None:
            if event["kind"] == "arm":
                ctx.timer("later", after=100)

    flow = hw.Flow("f")
    keyed = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    keyed.process("arms", hw.Expiring(Arms(), hw.ttl("30ms", since=since))).side("expired").to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("main", {"key": "x", "at": 0, "kind": "arm"})
    test.send("main", {"key": "x", "at": 5, "kind": "nothing"})
    test.advance(to=99)
    due = 35 if since == "read" else 30
    assert test.triggers("out") == [{"state": {"value": 0}, "due": due}]
    assert test.keys("arms") == []


def test_the_wrapped_operator_hears_which_side_outputs_are_read() -> None:
    flow = hw.Flow("f")
    keyed = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    pattern = hw.pattern("a", kind="a").followed_by("b", kind="b").within(10)
    operator: Any = hw.Expiring(MatchPattern(pattern), hw.ttl("1d"))
    keyed.process("pairs", operator).side("timed_out").to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("main", {"key": "x", "at": 0, "kind": "a"})
    test.advance(to=50)
    assert len(test.triggers("out")) == 1
