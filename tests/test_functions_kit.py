"""The kit for tests of durable functions: its time, its fakes, and its crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway import durable_workflow
from headway.durable.meanings import left_open
from headway.errors import UsageError
from headway.functions.history import (
    CallCancelled,
    TerminateAsked,
    encode,
)
from headway.testing import (
    NEVER,
    FunctionFailed,
    FunctionTest,
    after,
    fails,
    in_turn,
    replay,
)

START_MS = 1_704_067_200_000
"""The beginning of 2024, at which tests start."""


# A property against a model that only adds up times.

_even = st.integers(0, 50).map(lambda half: 2 * half)
_odd = st.integers(0, 200).map(lambda half: 2 * half + 1)
_ops = st.one_of(
    st.tuples(st.just("sleep"), _even),
    st.tuples(st.just("call"), st.tuples(_even, st.integers(0, 4), st.integers(1, 4))),
    st.tuples(st.just("gather"), st.lists(_even, max_size=4)),
    st.tuples(st.just("wait"), _even),
)


@durable_workflow
async def follow(context: Any, ops: list[tuple[str, Any]]) -> list[Any]:
    found: list[Any] = []
    for number, (kind, value) in enumerate(ops):
        if kind == "sleep":
            await context.sleep(value)
        elif kind == "call":
            options = hw.CallOptions(retry=hw.RetryPolicy(initial=10, maximum_attempts=value[2]))
            try:
                found.append(await context.call(f"step{number}", options=options))
            except hw.StepError as error:
                found.append(error.message)
        elif kind == "gather":
            found.append(await context.gather(*(context.call(f"part{ms}", ms) for ms in value)))
        else:
            try:
                found.append(await context.wait("s", timeout=value))
            except TimeoutError:
                found.append("late")
        found.append(context.now_ms - START_MS)
    return found


def model(ops: list[tuple[str, Any]], signals: list[int]) -> list[Any]:
    """What must come of it: times are added up by hand."""
    now = 0
    left = sorted(signals)
    found: list[Any] = []
    for kind, value in ops:
        if kind == "sleep":
            now += value
        elif kind == "call":
            delay, failures, attempts = value
            tried = min(failures + 1, attempts)
            now += tried * delay + sum(10 * 2**pause for pause in range(tried - 1))
            found.append("done" if failures < attempts else f"down {attempts}")
        elif kind == "gather":
            now += max(value, default=0)
            found.append(value)
        elif left and left[0] <= now + value:
            now = max(now, left[0])
            found.append(left.pop(0))
        else:
            now += value
            found.append("late")
        found.append(now)
    return found


@given(ops=st.lists(_ops, max_size=6), signals=st.lists(_odd, max_size=4, unique=True))
def test_times_and_outcomes_are_those_of_the_model(ops: list[tuple[str, Any]], signals: list[int]) -> None:
    steps: dict[str, Any] = {f"part{ms}": after(ms, ms) for ms in range(0, 102, 2)}
    for number, (kind, value) in enumerate(ops):
        if kind == "call":
            delay, failures, _ = value
            errors = [after(delay, ConnectionError(f"down {count + 1}")) for count in range(failures)]
            steps[f"step{number}"] = in_turn(*errors, after(delay, "done"))
    test = FunctionTest(follow, steps=steps)
    for at in signals:
        test.signal("s", at, at=at)
    run = test.with_crashes().run(ops)
    assert run.result == model(ops, signals)
    assert [call.outcome for call in run.calls if call.kind == "step"].count("open") == 0
    assert replay(run.histories[0], hw.Functions("group", [follow])).value == "completed"


@durable_workflow
async def busy(context: Any, kinds: list[tuple[str, str]]) -> None:
    waiting = []
    for number, (kind, parent_close) in enumerate(kinds):
        options = hw.CallOptions(parent_close=parent_close)  # type: ignore[arg-type]
        if kind == "call":
            waiting.append(context.call(f"part{4 * number}", number))
        elif kind == "child":
            waiting.append(context.child(follow, [("sleep", 20)], options=options))
        elif kind == "start":
            context.start(follow, [("sleep", 20)], options=options)
        else:
            waiting.append(context.token().future)
    await context.gather(*waiting)


_kinds = st.tuples(st.sampled_from(["call", "child", "start", "token"]), st.sampled_from(["cancel", "abandon"]))


@given(kinds=st.lists(_kinds, max_size=6), at=_odd)
def test_what_is_left_open_follows_from_the_history_alone(kinds: list[tuple[str, str]], at: int) -> None:
    """A blocked function is ended without its code: what is taken back must be what the code would take back."""
    steps: dict[str, Any] = {f"part{ms}": after(ms, ms) for ms in range(0, 102, 2)}
    run = FunctionTest(busy, group_of(busy, follow), steps=steps).with_crashes().terminate(at=at).run(kinds)
    asked = next((n for n, entry in enumerate(run.history) if isinstance(entry, TerminateAsked)), None)
    if asked is not None:
        taken_back = [entry for entry in run.history[asked:] if isinstance(entry, CallCancelled)]
        found = left_open(map(encode, run.history[:asked]))
        assert sorted(one.number for one in found) == sorted(one.number for one in taken_back)


# Fakes.


@durable_workflow
async def refund_order(context, order_id):  # type: ignore[no-untyped-def]
    await context.call("cancel_shipping", order_id)
    try:
        await context.call("refund_payment", order_id)
    except:
        await context.call("escalate_issue", order_id)


@pytest.mark.parametrize("bank", [None, fails(OSError("no funds"))])
def test_the_example(bank: Any) -> None:
    steps = {"cancel_shipping": None, "refund_payment": bank, "escalate_issue": None}
    run = FunctionTest(refund_order, steps=steps).with_crashes().run("o-1")
    assert run.called == ["cancel_shipping", "refund_payment", *(["escalate_issue"] if bank else [])]
    assert (run.status, run.result, run.failure) == ("completed", None, None)


def group_of(*functions: Any) -> hw.Functions:
    return hw.Functions("group", functions)


@durable_workflow
async def pay(context: Any, cents: int) -> str:
    result: str = await context.call("charge", cents)
    return result


def test_the_policies_of_declared_steps_hold() -> None:
    flow = group_of(pay)

    @flow.step(retry=hw.RetryPolicy(initial="1m", maximum_attempts=3), attempt_timeout="30s")
    def charge(cents: int) -> str:
        return f"charged {cents}"

    def run_with(fake: Any) -> Any:
        return FunctionTest(pay, flow, steps={"charge": fake}).with_crashes().run(7)

    run = run_with(OSError("down"))
    assert (run.failure.type, run.failure.cause.message, run.elapsed_ms) == ("StepError", "down", 180_000)
    assert run.calls[0].attempts == 3
    with pytest.raises(FunctionFailed, match="OSError: down"):
        assert run.result
    late = run_with(in_turn(after("31s", "late"), "in time"))
    assert (late.result, late.elapsed_ms, late.calls[0].attempts) == ("in time", 90_000, 2)
    assert run_with(NEVER).failure.cause.type == "TimeoutError"
    assert FunctionTest(pay, flow, real_steps=True).run(7).result == "charged 7"
    assert run_with(lambda cents: f"faked {cents + 1}").result == "faked 8"
    with pytest.raises(UsageError, match=r"gives 7, which is not what is declared.*Expected `str`"):
        run_with(7)


def test_a_time_limit_of_the_whole_call() -> None:
    @durable_workflow
    async def hurry(context: Any) -> str:
        try:
            await context.call("slow", options=hw.CallOptions(timeout="1h"))
        except TimeoutError as error:
            return str(error)
        return "done"

    run = FunctionTest(hurry, steps={"slow": OSError("down")}).run()
    assert run.result == "step 'slow' has failed: TimeoutError: not done in 1h"
    assert run.elapsed_ms == 3_600_000


def test_fakes_that_are_functions_have_virtual_time() -> None:
    async def charge(cents: int) -> str:
        await asyncio.sleep(3_600)
        await asyncio.wait_for(asyncio.sleep(60), 120)
        return f"charged {cents}"

    run = FunctionTest(pay, steps={"charge": charge}).run(7)
    assert (run.result, run.elapsed_ms) == ("charged 7", 3_660_000)

    async def talk(cents: int) -> None:
        await asyncio.open_connection("localhost", 80)

    with pytest.raises(UsageError, match="step 'charge' cannot run in a test of virtual time"):
        FunctionTest(pay, steps={"charge": talk}).run(7)


def test_a_late_outcome_of_an_attempt_that_is_over_counts_for_nothing() -> None:
    flow = group_of(pay)
    done: list[int] = []

    @flow.step(retry=hw.RetryPolicy(initial="1m", maximum_attempts=2), attempt_timeout="1s")
    async def charge(cents: int) -> str:
        await asyncio.sleep(10 if not done else 0)
        done.append(cents)
        return f"attempt {len(done)}"

    run = FunctionTest(pay, flow, real_steps=True).run(7)
    assert (run.result, run.elapsed_ms) == ("attempt 2", 61_000)


def test_what_is_set_up_wrongly_is_told() -> None:
    with pytest.raises(UsageError, match=r"nothing stands in for step 'charge': give FunctionTest steps=\{'charge'"):
        FunctionTest(pay).run(7)
    with pytest.raises(UsageError, match=r"tried without an end.*maximum_attempts"):
        FunctionTest(pay, steps={"charge": OSError("down")}).run(7)
    with pytest.raises(UsageError, match="argument 'cents': Expected `int`"):
        FunctionTest(pay, steps={"charge": ""}).run("seven")
    with pytest.raises(UsageError, match="the group has no such function"):
        FunctionTest(pay, group_of(follow))
    with pytest.raises(UsageError, match="expected a durable function"):
        FunctionTest("nobody", group_of(pay))
    with pytest.raises(UsageError, match="expected an error"):
        fails("down")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one outcome"):
        in_turn()
