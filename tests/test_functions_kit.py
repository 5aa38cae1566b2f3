"""The kit for tests of durable functions: its time, its fakes, its crashes, and what it notices."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
import warnings
from datetime import datetime, timezone
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway import durable_workflow
from headway.durable.meanings import left_open
from headway.errors import FunctionBlocked, ReplayMismatch, UsageError
from headway.functions.history import (
    Answered,
    CallCancelled,
    Continued,
    Failure,
    Finished,
    Identity,
    Started,
    TerminateAsked,
    decode,
    encode,
)
from headway.functions.recorded import Recorded, difference
from headway.testing import (
    NEVER,
    FunctionFailed,
    FunctionTest,
    NotDurable,
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
    except:  # noqa: E722 - what a user writes
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
    assert (run.failure.type, run.failure.cause.message, run.elapsed_ms) == ("StepError", "down", 160_000)
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


# What happens from outside.


@durable_workflow
async def review(context: Any) -> dict[str, Any]:
    seen: list[Any] = []
    context.on_query("seen", lambda: list(seen))

    def note(text: str) -> int:
        seen.append(text)
        return len(seen)

    def check(text: str) -> None:
        if not text:
            raise ValueError("say something")

    context.on_update("note", note, check=check)
    context.state["stage"] = "waiting"
    approved = await context.wait("approve", timeout="30d")
    context.state["stage"] = "asking"
    token = context.token()
    await context.call("send_link", token.text)
    return {"approved": approved, "seen": seen, "answer": await token, "days": (context.now_ms - START_MS) / 86_400_000}


def test_signals_updates_queries_and_tokens() -> None:
    test = FunctionTest(review, steps={"send_link": None}).with_crashes()
    test.update("note", "first", at="1d").update("note", "", at="2d").update("other", at="2d").query("seen", at="3d")
    test.signal("approve", True, at="20d").complete({"ok": 1}, at="25d").query("other", at="3d").signal(
        "late", at="26d"
    )
    run = test.run()
    assert run.result == {"approved": True, "seen": ["first"], "answer": {"ok": 1}, "days": 25.0}
    assert (run.updates["u1"], run.updates["u2"].message) == (1, "say something")
    assert run.updates["u3"].type == "UnknownUpdate"
    assert run.queries[0] == ["first"]
    assert isinstance(run.queries[1], Failure)
    assert run.state == {"stage": "asking"}
    assert run.unclaimed == [("review/test", "signal 'late': it is completed")]
    assert "+1d   update note (u1)" in run.timeline


def test_a_run_that_waits_says_for_what_and_where() -> None:
    run = FunctionTest(review, steps={"send_link": None}).signal("approve").run()
    assert (run.status, [wait.kind for wait in run.waits]) == ("running", ["token"])
    with pytest.raises(
        FunctionFailed, match=r"review/test has not ended: it waits for token .* at .*test_functions_kit"
    ):
        assert run.result
    again = FunctionTest(review, steps={"send_link": fails(OSError("x"))}).signal("approve").complete(1, at="1s")
    with pytest.raises(UsageError, match="waits for no token"):
        again.run()
    failed = FunctionTest(review, steps={"send_link": None}).signal("approve").complete(ValueError("no"), at="1h").run()
    assert failed.failure
    assert failed.failure.message == "token has failed: ValueError: no"


@durable_workflow
async def book(context: Any) -> str:
    context.compensate("give_back", "seat")
    await context.call("take", "seat")
    await context.sleep("365d")
    return "booked"


def test_cancelling_and_terminating() -> None:
    test = FunctionTest(book, steps={"take": None, "give_back": after("1m")})
    cancelled = test.with_crashes().cancel("changed my mind", at="1h").run()
    assert (cancelled.status, cancelled.called, cancelled.elapsed_ms) == ("cancelled", ["take", "give_back"], 3_660_000)
    assert test.with_crashes().terminate(at="1h").run().called == ["take"]
    started = time.monotonic()
    assert test.run().result == "booked"
    assert time.monotonic() - started < 30
    with pytest.raises(FunctionFailed, match="is cancelled: changed my mind"):
        assert cancelled.result


# Children.


@durable_workflow
async def parent(context: Any, ids: list[str]) -> list[Any]:
    results = await context.gather(*(context.child(child, one, id=one) for one in ids))
    await context.start(watcher)
    await context.signal(watcher, "nobody", "wake")
    return list(results)


@durable_workflow
async def child(context: Any, name: str) -> str:
    result: str = await context.call("work", name)
    return result


@durable_workflow
async def watcher(context: Any) -> None:
    await context.sleep("10d")
    await context.call("watch")


def test_children_run_by_their_own_code() -> None:
    flow = group_of(parent, child, watcher)
    steps = {"work": lambda name: name.upper(), "watch": None}
    run = FunctionTest(parent, flow, steps=steps).with_crashes().run(["a", "b", "a"])
    assert run.result == ["A", "B", "A"]
    assert run.called == ["work", "work", "watch"]
    assert run.unclaimed == [("watcher/nobody", "signal 'wake': there is no such instance")]
    assert run.elapsed_ms == 10 * 86_400_000, "a child that was only started outlives its parent"
    assert {str(one.identity) for one in run.histories} == {
        "parent/test#0", "child/a#0", "child/b#0", "watcher/test.1#0"
    }  # fmt: skip
    assert "child/a         started" in run.timeline
    faked = FunctionTest(parent, flow, steps={"child": "X", "watcher": None}).run(["a"])
    assert (faked.result, faked.called) == (["X"], [])
    failed = FunctionTest(parent, flow, steps={"work": fails(OSError("x"))}).run(["a"])
    assert failed.failure
    assert failed.failure.type == "StepError"


@durable_workflow
async def caller(context: Any, parent_close: Optional[str]) -> None:
    options = hw.CallOptions(parent_close=parent_close)  # type: ignore[arg-type]
    await context.first(context.child(watcher, id="w", options=options), context.sleep("1d"))


@pytest.mark.parametrize(
    ("parent_close", "status"), [(None, "cancelled"), ("terminate", "terminated"), ("abandon", "")]
)
def test_children_are_closed_as_their_parent_says(parent_close: Optional[str], status: str) -> None:
    flow = group_of(caller, watcher)
    run = FunctionTest(caller, flow, steps={"watch": None}).with_crashes().run(parent_close)
    history = next(one for one in run.histories if one.identity.name == "watcher")
    assert type(history.entries[-1]).__name__.lower().replace("finished", "") == status


@durable_workflow(id_reuse="reject")
async def once(context: Any) -> None:
    """Does nothing."""


def test_ids_that_are_used_again() -> None:
    @durable_workflow
    async def twice(context: Any) -> str:
        await context.child(once, id="1")
        try:
            await context.child(once, id="1")
        except hw.StepError as error:
            return error.type
        return ""

    run = FunctionTest(twice, group_of(twice, once)).run()
    assert run.result == "StartRefused"


@durable_workflow
async def count(context: Any, left: int) -> int:
    await context.wait("more")
    if left:
        await context.continue_as_new(left - 1)
    return context.info.run  # type: ignore[no-any-return]


def test_runs_that_follow_one_another() -> None:
    test = FunctionTest(count).with_crashes()
    for _ in range(5):
        test.signal("more")
    run = test.run(3)
    assert run.result == 3
    assert [one.identity.run for one in run.histories] == [0, 1, 2, 3]
    assert [type(one.entries[-1]) for one in run.histories] == [Continued] * 3 + [Finished]
    assert run.unclaimed == [("count/test", "signal 'more': it is completed")]


def test_what_goes_on_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.testing.functions_world.ROUNDS_MAX", 1_000)

    @durable_workflow
    async def heartbeat(context: Any) -> None:
        while True:
            await context.sleep("1d")
            await context.call("beat")

    run = FunctionTest(heartbeat, steps={"beat": None}, within="30d").run()
    assert (run.status, len(run.called)) == ("running", 30)
    with pytest.raises(UsageError, match=r"goes on without an end.*within="):
        FunctionTest(heartbeat, steps={"beat": None}).run()


def test_views_stand_in_for_decision_state() -> None:
    @durable_workflow
    async def decide(context: Any) -> list[Any]:
        return [await context.query("risk", "ann"), await context.query("carts", 7), await context.query("risk", "bob")]

    views = {"risk": {"ann": {"score": 3}}, "carts": lambda key: key + 1}
    assert FunctionTest(decide, views=views).run().result == [{"score": 3}, 8, None]
    with pytest.raises(UsageError, match="nothing stands in for view 'carts'"):
        FunctionTest(decide, views={"risk": {}}).run()


def test_a_fake_may_send_a_signal() -> None:
    @durable_workflow
    async def ask(context: Any) -> str:
        await context.call("send_mail")
        answer: str = await context.wait("answer")
        return answer

    def send_mail() -> None:
        test.signal("answer", "yes", at="2h")

    test = FunctionTest(ask, steps={"send_mail": send_mail})
    run = test.run()
    assert (run.result, run.elapsed_ms) == ("yes", 7_200_000)
    assert test.run().result == "yes", "what a fake plans is not planned for the next run"


# What is noticed.


@durable_workflow
async def careless(context: Any) -> None:
    datetime.now(timezone.utc)
    time.time()
    random.random()
    uuid.uuid4()
    os.environ.get("HOME")
    with open(__file__):
        pass
    context.log.warning("this reads the clock by itself: %s", context.uuid())


def test_what_differs_from_replay_to_replay_is_named() -> None:
    with pytest.warns(NotDurable) as told:
        run = FunctionTest(careless).run()
    assert [read.what for read in run.reads] == [
        "datetime.now", "time.time", "random.random", "uuid.uuid4", "os.environ", "open"
    ]  # fmt: skip
    line = careless.code.__code__.co_firstlineno + 2
    assert f"function 'careless': datetime.now at tests/test_functions_kit.py:{line}" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = FunctionTest(pay, steps={"charge": lambda cents: str(time.time())}).run(7)
    assert run.reads == [], "a step may read the clock"


def test_what_instances_share_is_found_by_crashes() -> None:
    seen: list[int] = []

    @durable_workflow
    async def forgetful(context: Any) -> None:
        seen.append(1)
        await context.call("first" if len(seen) == 1 else "second")

    steps = {"first": None, "second": None}
    assert FunctionTest(forgetful, steps=steps).run().called == ["first"]
    seen.clear()
    with pytest.raises(AssertionError, match=r"after a crash before happening 1, Started, it does(.|\n)*'second'"):
        FunctionTest(forgetful, steps=steps).with_crashes().run()


def test_steps_that_run_twice() -> None:
    charged: list[int] = []
    steps = {"charge": lambda cents: charged.append(cents) or "done"}  # type: ignore[func-returns-value]
    assert FunctionTest(pay, steps=steps).with_crashes(steps_twice=True).run(7).result == "done"
    assert charged == [7, 7]


def test_code_that_cannot_go_on_is_told() -> None:
    @durable_workflow
    async def threaded(context: Any) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(FunctionBlocked, match=r"asyncio.to_thread and executors run outside"):
        FunctionTest(threaded).run()


def test_a_history_against_code_that_has_changed() -> None:
    run = FunctionTest(pay, steps={"charge": "done"}).run(7)

    @durable_workflow(name="pay")
    async def changed(context: Any, cents: int) -> str:
        await context.sleep("1s")
        return str(await context.call("charge", cents))

    @durable_workflow(name="pay")
    async def patched(context: Any, cents: int) -> str:
        if context.patched("wait-first"):
            await context.sleep("1s")
        return str(await context.call("charge", cents))

    with pytest.raises(ReplayMismatch, match=r'its history says call\("charge", \[7\]\)'):
        replay(run.history, changed)
    assert replay([encode(entry) for entry in run.history], patched).value == "completed"
    with pytest.raises(UsageError, match="give a Recorded"):
        replay(run.history, group_of(pay))
    with pytest.raises(UsageError, match="does not begin with its start"):
        replay(run.history[1:], pay)
    assert replay(run.history[:2], pay).value == "running"
    [recorded] = run.histories
    assert Recorded.from_line(recorded.to_line()) == recorded
    assert [decode(encode(entry)) for entry in recorded.entries] == run.history
    assert msgspec.json.decode(recorded.to_line())["function"] == "pay"


def test_what_happened_while_it_was_blocked_is_replayed_too() -> None:
    """The answer came while the code was wrong: whether it goes on is seen only behind it."""

    @durable_workflow(name="pay")
    async def threaded(context: Any, cents: int) -> str:
        await context.call("charge", cents)
        return await asyncio.to_thread(str)

    history = FunctionTest(pay, steps={"charge": "done"}).run(7).history
    assert isinstance(history[0], Started)
    recorded = Recorded(Identity("pay", "1"), tuple(history[:2]), (Answered(history[0].at_ms, 1, b'"done"'),))
    assert Recorded.from_line(recorded.to_line()) == recorded
    assert difference(recorded, {"pay": pay}) is None
    found = difference(recorded, {"pay": threaded})
    assert found and "asyncio.to_thread" in str(found)
    missing = difference(recorded, {})
    assert missing and "there is no function 'pay' any more" in str(missing)
