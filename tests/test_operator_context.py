"""What a handler may do and return, on the engine and in a test: timers after a while, and results that go nowhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW
from tests.workflow_harness import agrees, engine_agrees, events, one_step

import headway as hw
from headway.basics import times
from headway.basics.times import known_duration_ms
from headway.errors import FlowError, UserCodeError
from headway.runtime.run import RunOptions, run_flow
from headway.testing import FlowTest

LENGTHS: list[tuple[Any, int]] = [("3ms", 3), ("0.005s", 5), (4, 4), (timedelta(milliseconds=7), 7), (0, 0), ("0", 0)]


class Alarms(hw.Operator[hw.Json, hw.State]):
    """Each event sets the timer of its kind; one that fires tells itself, and those that are left."""

    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        if event["key"] != "tick":
            ctx.timer(event["kind"], after=LENGTHS[event["id"]][0])

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> None:
        assert all(ctx.due(name) == due for name, due in ctx.timers.items())
        ctx.emit({"name": timer.name, "left": sorted(ctx.timers.items())})


def model(log: list[dict[str, Any]]) -> Any:
    armed: dict[str, int] = {}
    for event in [*log, None]:
        while armed:
            due, name = min((at, name) for name, at in armed.items())
            if event is not None and due >= event["at"]:
                break
            del armed[name]
            yield "out", due, (name, sorted(armed.items()))
        if event is not None:
            armed[event["kind"]] = event["at"] + LENGTHS[event["id"]][1]


def shown(value: Any) -> Any:
    return value["name"], [(name, due) for name, due in value["left"]]


ALARMS = one_step(lambda keyed: keyed.process("alarms", Alarms()))


@settings(max_examples=60, deadline=None)
@given(drawn=events())
def test_a_timer_after_a_while_is_one_at_that_time(drawn: list[dict[str, Any]]) -> None:
    agrees(ALARMS, drawn, model, shown)


@settings(SLOW, max_examples=6)
@given(drawn=events(), where=conditions())
def test_the_engine_does_the_same(drawn: list[dict[str, Any]], where: Conditions) -> None:
    engine_agrees(ALARMS, drawn, where, model, shown)


@given(
    length=st.one_of(
        st.integers(0, 10**9),
        st.timedeltas(timedelta(0), timedelta(days=109_000)),
        st.sampled_from(["1h", " 2m ", "1h30m", "0"]),
    )
)
def test_a_known_length_is_that_length(length: Any) -> None:
    assert known_duration_ms(length) == known_duration_ms(length) == hw.duration_ms(length)


@pytest.mark.parametrize("length", ["soon", "", -1, True, False, 1.5, None, [], timedelta(seconds=-1)])
def test_what_is_no_length_of_time_is_none_the_second_time_either(length: Any) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="is not a length of time"):
            known_duration_ms(length)


def test_lengths_made_of_events_do_not_fill_the_memory() -> None:
    for number in range(3_000):
        assert known_duration_ms(f"{number}ms") == number
    assert len(times._known) <= 1_024


# -- Mistakes -------------------------------------------------------------------------------------------------


def in_a_test(operator: hw.Operator[Any, Any, Any], path: Path) -> None:
    flow = hw.Flow("f")
    further = {name: flow.source(name, hw.Json, hw.items([]), time="at") for name in operator.inputs}
    told = {name: flow.source(name, hw.Json, hw.items([]), time="at").broadcast() for name in operator.broadcasts}
    inputs: dict[str, Any] = {**told, **{name: stream.key_by("key") for name, stream in further.items()}}
    main = flow.source("main", hw.Json, hw.items([]), time="at").key_by("key")
    main.process("op", operator, **inputs).to("out", hw.to_list([]))
    test = FlowTest(flow)
    for source in ("main", *further, *told):
        test.send(source, {"key": "x", "at": 1})
    test.advance(to=9)


def on_the_engine(operator: hw.Operator[Any, Any, Any], path: Path) -> None:
    flow = hw.Flow("f")
    log = [{"key": "x", "at": at} for at in (1, 5, 9)]
    inputs: dict[str, Any] = {}
    for name in (*operator.inputs, *operator.broadcasts):
        stream = flow.source(name, hw.Json, hw.items(log), time="at")
        inputs[name] = stream.broadcast() if name in operator.broadcasts else stream.key_by("key")
    main = flow.source("main", hw.Json, hw.items(log), time="at").key_by("key")
    main.process("op", operator, **inputs).to("out", hw.to_list([]))
    run_flow(flow, RunOptions(path, key_groups=1))


WAYS = pytest.mark.parametrize("run", [in_a_test, on_the_engine])
Run = Callable[[hw.Operator[Any, Any, Any], Path], None]


class Plain(hw.Operator[hw.Json, hw.State]):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        ctx.timer("later", after=1)

    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> None:
        """Nothing."""


class ReturnsFromEvent(Plain):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> Any:
        return {"answer": 42}


class ReturnsFromTimer(Plain):
    def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> Any:
        return {"answer": 42}


class ReturnsFromInput(Plain):
    inputs = {"more": hw.Json}

    def on_more(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> Any:
        return {"answer": 42}


class ReturnsFromBroadcast(Plain):
    broadcasts = {"news": hw.Json}
    shared_type = hw.State

    def on_news(self, shared: hw.State, event: hw.Json, ctx: Any) -> Any:
        return {"answer": 42}


class Many(Plain):
    """Runs beside another input, so that the engine takes the general path."""

    inputs = {"more": hw.Json}

    def on_more(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        """Nothing."""

    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> Any:
        return {"answer": 42}


class Stored(hw.State):
    n: int = 0

    def count(self, event: hw.Json, ctx: hw.Context) -> Any:
        return {"answer": 42}


class AMethodOfTheState(hw.Operator[hw.Json, Stored]):
    on_event: Any = staticmethod(Stored.count)


@WAYS
@pytest.mark.parametrize(
    ("operator", "handler"),
    [
        (ReturnsFromEvent(), "ReturnsFromEvent.on_event"),
        (ReturnsFromTimer(), "ReturnsFromTimer.on_timer"),
        (ReturnsFromInput(), "ReturnsFromInput.on_more"),
        (ReturnsFromBroadcast(), "ReturnsFromBroadcast.on_news"),
        (Many(), "Many.on_event"),
        (AMethodOfTheState(), "AMethodOfTheState.on_event"),
        (hw.Expiring(ReturnsFromEvent(), hw.ttl("1d")), "ReturnsFromEvent.on_event"),
        (hw.Expiring(ReturnsFromTimer(), hw.ttl("1d")), "ReturnsFromTimer.on_timer"),
        (hw.Expiring(ReturnsFromInput(), hw.ttl("1d")), "ReturnsFromInput.on_more"),
    ],
)
def test_what_a_handler_returns_is_not_lost_in_silence(
    operator: hw.Operator[Any, Any, Any], handler: str, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(UserCodeError) as caught:
        run(operator, tmp_path)
    told = str(caught.value)
    assert "operator 'op'" in told
    assert f"{handler} returned {{'answer': 42}}, which goes nowhere" in told
    assert "ctx.emit(value)" in told


class Yields(Plain):
    def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> Any:
        yield event


class Awaits(Plain):
    async def on_timer(self, state: hw.State, timer: hw.Timer, ctx: hw.Context) -> None:  # type: ignore[override]
        """Nothing."""


class YieldsLater(Plain):
    async def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> Any:
        yield event


class AwaitsMore(Plain):
    inputs = {"more": hw.Json}

    async def on_more(self, state: hw.State, event: hw.Json, ctx: hw.Context) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Yields, "Yields.on_event yields, which goes nowhere: send values on with ctx.emit(value)"),
        (Awaits, "Awaits.on_timer is async, and nothing awaits it"),
        (YieldsLater, "YieldsLater.on_event yields"),
        (AwaitsMore, "AwaitsMore.on_more is async"),
    ],
)
def test_a_handler_that_cannot_work_is_refused_where_it_is_declared(
    operator: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FlowError) as caught:
        in_a_test(operator(), tmp_path)
    assert message in str(caught.value)
    assert "test_operator_context.py:" in str(caught.value)
    with pytest.raises(FlowError) as caught:
        hw.Expiring(operator(), hw.ttl("1d"))
    assert message in str(caught.value)


def sets(*args: Any, **options: Any) -> hw.Operator[Any, Any, Any]:
    class Sets(Plain):
        def on_event(self, state: hw.State, event: hw.Json, ctx: Any) -> None:
            ctx.timer("later", *args, **options)

    return Sets()


@WAYS
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(
    ("args", "after", "message"),
    [
        ((), None, "give either a time"),
        ((5,), "1m", "and not both"),
        ((), "soon", "'soon' is not a length of time"),
        ((), -1, "-1 is not a length of time"),
        (("5",), None, "'5' is not a time in epoch milliseconds"),
    ],
)
def test_a_timer_needs_one_time(args: Any, after: Any, message: str, wrap: bool, run: Run, tmp_path: Path) -> None:
    operator = sets(*args, after=after)
    with pytest.raises(UserCodeError) as caught:
        run(hw.Expiring(operator, hw.ttl("1d")) if wrap else operator, tmp_path)
    assert message in str(caught.value.__cause__)
    assert "'x'" in str(caught.value)


@WAYS
def test_a_context_can_be_asked_what_it_has(run: Run, tmp_path: Path) -> None:
    asked: list[Optional[list[bool]]] = []

    class Asks(Plain):
        broadcasts = {"news": hw.Json}
        shared_type = hw.State

        def on_event(self, state: hw.State, event: hw.Json, ctx: Any) -> None:
            asked.append([hasattr(ctx, name) for name in ("wall", "nothing", "shared", "emit")])

        def on_news(self, shared: hw.State, event: hw.Json, ctx: Any) -> None:
            asked.append([hasattr(ctx, name) for name in ("emit", "key", "nothing", "time")])

    class AsksWithoutShared(Plain):
        def on_event(self, state: hw.State, event: hw.Json, ctx: Any) -> None:
            asked.append([hasattr(ctx, name) for name in ("shared", "wall", "nothing", "emit")])

    run(Asks(), tmp_path / "first")
    assert [False, False, True, True] in asked
    assert [False, False, False, True] in asked
    asked.clear()
    run(AsksWithoutShared(), tmp_path / "second")
    assert asked and all(found == [False, False, False, True] for found in asked)
