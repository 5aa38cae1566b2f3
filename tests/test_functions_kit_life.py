"""The kit for tests of durable functions: what happens to them, their children, and what the kit notices."""

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
from tests.test_functions_kit import START_MS, group_of, pay

import headway as hw
from headway import durable_workflow
from headway.errors import FunctionBlocked, ReplayMismatch, UsageError
from headway.functions.history import (
    Answered,
    Continued,
    Failure,
    Finished,
    Identity,
    Started,
    decode,
    encode,
)
from headway.functions.recorded import Recorded, difference
from headway.testing import (
    FunctionFailed,
    FunctionTest,
    NotDurable,
    after,
    fails,
    replay,
)

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
        FunctionFailed, match=r"review/test has not ended: it waits for token .* at .*test_functions_kit_life"
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
    assert f"function 'careless': datetime.now at tests/test_functions_kit_life.py:{line}" in str(told[0].message)
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
