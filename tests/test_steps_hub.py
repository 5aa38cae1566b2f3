"""Attempts in a hub: turns, limits of time, heartbeats, cancellation, what steps are told; on a clock of the test."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
from tests.steps_harness import STARTED_MS, World, group, in_world, rest

import headway as hw
from headway.basics.times import duration_ms
from headway.errors import UsageError
from headway.steps.attempt import Ran


class Declined(Exception):
    """An error that says of itself that it is final."""

    non_retryable = True


def attempt(code: Any, number: int = 1, *, passed_ms: int = 0, options: Any = None, **declared: Any) -> Ran:
    """One attempt that ends by itself, so long after its call."""
    found: list[Ran] = []

    async def story(world: World) -> None:
        world.clock.passed_ms = passed_ms
        found.append(await world.call("work", attempt=number, at_ms=STARTED_MS, **(options or {})))

    in_world(group(code, **declared), story)
    return found[0]


async def never() -> None:
    await asyncio.Event().wait()


def broken() -> None:
    raise OSError("down")


def declined() -> None:
    raise Declined("no")


def exits() -> None:
    sys.exit(3)


async def exits_async() -> None:
    raise KeyboardInterrupt


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def later() -> None:
    raise hw.RetryLater("the bank is closed", after="7h")


def not_json() -> Any:
    return object()


def of_another_type() -> int:
    return "text"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (broken, "OSError: down"),
        (exits, "SystemExit: 3"),
        (exits_async, "KeyboardInterrupt"),
        (cancels_itself, "CancelledError"),
    ],
)
def test_what_a_step_raises_is_tried_again_and_ends_nothing_else(code: Any, said: str) -> None:
    ran = attempt(code, retry=hw.RetryPolicy(initial="3s"))
    assert ran.retry and ran.retry.retry_after_s == 3
    assert said in ran.retry.reason


def test_an_error_that_is_final_is_not_tried_again() -> None:
    ran = attempt(declined)
    assert ran.failure and (ran.failure.type, ran.failure.non_retryable) == ("Declined", True)
    assert "in declined" in ran.failure.traceback
    named = attempt(broken, retry=hw.RetryPolicy(non_retryable=("OSError",)))
    assert named.failure and named.failure.message == "down"
    last = attempt(broken, 3, retry=hw.RetryPolicy(maximum_attempts=3))
    assert last.failure and last.failure.message == "down"


def test_a_step_may_say_when_to_try_again() -> None:
    ran = attempt(later, retry=hw.RetryPolicy(initial="1s"))
    assert ran.retry and ran.retry.retry_after_s == duration_ms("7h") / 1_000


@pytest.mark.parametrize("code", [not_json, of_another_type])
def test_a_result_that_cannot_be_is_a_failure_with_the_name_of_the_step(code: Any) -> None:
    ran = attempt(code)
    assert ran.failure and ran.failure.non_retryable
    assert "the result of step 'work'" in ran.failure.message


def test_arguments_that_do_not_fit() -> None:
    async def story(world: World) -> None:
        ran = await world.call("work", arguments=b"[1]")
        assert ran.failure and "takes 0 arguments" in ran.failure.message
        ran = await world.call("play")
        assert ran.failure and "there is no step 'play': there are work" in ran.failure.message
        ran = await world.call("work", queue="quick")
        assert ran.failure and "there is no queue 'quick': there are default, processes" in ran.failure.message

    in_world(group(broken), story)


def test_all_attempts_together_have_a_time_limit() -> None:
    late = attempt(broken, 7, passed_ms=5_000, timeout="5s")
    assert late.failure and str(late.failure) == "TimeoutError: not done in 5s"
    pause = attempt(broken, 7, passed_ms=4_000, timeout="5s").retry
    assert pause and pause.retry_after_s == 1, "not later than at the end of its time"
    over = attempt(broken, passed_ms=4_000, timeout="1s", options={"timeout": "1h"})
    assert over.retry, "what the call says goes before what the step says"


def test_an_attempt_has_its_time_limit_and_is_tried_again() -> None:
    async def story(world: World) -> None:
        call = world.call("work")
        await world.clock.go_on(1_999)
        assert not call.done()
        await world.clock.go_on(1)
        ran = call.result()
        assert ran.retry and "the attempt was not done in 2s (attempt_timeout)" in ran.retry.reason
        last = world.call("work", attempt=2)
        await world.clock.go_on(2_000)
        failed = last.result().failure
        assert failed and failed.type == "TimeoutError"
        whole = world.call("work", "f/2#0.1", timeout="1500ms")
        await world.clock.go_on(1_500)
        failed = whole.result().failure
        assert failed and failed.message == "not done in 1s500ms"

    in_world(group(never, attempt_timeout="2s", retry=hw.RetryPolicy(maximum_attempts=2)), story)


def test_a_call_that_is_not_started_in_time_has_failed_for_good() -> None:
    async def story(world: World) -> None:
        first = world.call("work", "f/1#0.1")
        second = world.call("work", "f/2#0.1", start_timeout="10s")
        third = world.call("work", "f/3#0.1", timeout="20s")
        await world.clock.go_on(10_000)
        failed = second.result().failure
        assert failed and failed.non_retryable
        assert failed.message == "not started in 10s (start_timeout), in the queue 'single'"
        await world.clock.go_on(10_000)
        failed = third.result().failure
        assert failed and failed.message == "not done in 20s"
        assert not first.done()
        room = world.hub._rooms["single"]
        assert (room.running, room.waiting) == (1, 0)

    in_world(group(never, queue="single", queues=[hw.Queue("single", concurrency=1)]), story)


def test_turns_by_priority_and_fairness() -> None:
    begun: list[str] = []
    go_on = asyncio.Event()

    async def work() -> None:
        begun.append(hw.step_info().key)
        await go_on.wait()

    async def story(world: World) -> None:
        world.call("work", "first")
        for number in range(3):
            world.call("work", f"big-{number}", fairness="big")
        world.call("work", "small-0", fairness="small")
        world.call("work", "urgent", priority=-1, fairness="big")
        world.call("work", "whenever", priority=5)
        await rest()
        assert begun == ["first"]
        go_on.set()
        await rest()
        await asyncio.wait(world.calls.values())
        assert begun == ["first", "urgent", "big-0", "small-0", "big-1", "big-2", "whenever"]

    in_world(group(work, queue="q", queues=[hw.Queue("q", concurrency=1)]), story)


def test_a_rate_holds_and_one_queue_holds_up_no_other() -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append(hw.step_info().key)

    async def story(world: World) -> None:
        for number in range(25):
            world.call("work", f"slow-{number}", queue="slow")
        world.call("work", "quick")
        await rest()
        assert begun == ["slow-0", "slow-1", "quick"]
        counts = []
        for _ in range(6):
            await world.clock.go_on(250)
            counts.append(len(begun) - 1)
        assert counts == [4, 7, 9, 12, 14, 17], "a burst of two, and ten a second"
        figures = world.hub.figures("slow")
        assert figures and (figures.waiting, figures.running, figures.to_start.count) == (8, 0, 17)
        assert figures.to_end.count == 17

    in_world(group(work, queues=[hw.Queue("slow", rate="10/s", burst=2)]), story)


def test_a_step_knows_its_attempt_in_a_thread_too() -> None:
    found: list[Any] = []

    def work() -> None:
        info = hw.step_info()
        found.append((info.key, info.attempt, info.function, info.id, info.run, info.queue, info.step))
        found.append((info.deadline_ms, info.heartbeat_timeout_ms, info.last_details, threading.current_thread().name))

    async def story(world: World) -> None:
        await world.call("work", "f/1#0.9", attempt=4, details='{"done":3}', timeout="1h", attempt_timeout="10s")

    in_world(group(work, heartbeat_timeout="5s"), story)
    assert found[0] == ("f/1#0.9", 4, "f", "1", 0, "default", "work")
    assert found[1][:3] == (STARTED_MS + 10_000, 5_000, {"done": 3})
    assert "headway-step" in found[1][3]
    with pytest.raises(UsageError, match="there is none here"):
        hw.step_info()


def test_heartbeats_keep_an_attempt_alive_and_silence_ends_it() -> None:
    infos: list[hw.StepInfo] = []

    async def work() -> str:
        infos.append(hw.step_info())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "a late answer"
        return ""

    async def story(world: World) -> None:
        call = world.call("work")
        for done in range(4):
            await world.clock.go_on(2_900)
            infos[0].heartbeat({"done": done})
        await world.clock.go_on(2_999)
        assert not call.done()
        await world.clock.go_on(1)
        ran = call.result()
        assert ran.retry and "no heartbeat for 3s (heartbeat_timeout)" in ran.retry.reason
        assert ran.retry.head == '{"done":3}', "the next attempt is told, also after a restart"
        again = world.call("work", attempt=2, details=ran.retry.head)
        await rest()
        assert infos[1].last_details == {"done": 3}
        assert infos[1].key == infos[0].key
        assert infos[0].is_cancelled
        with pytest.raises(asyncio.CancelledError):
            infos[0].heartbeat()
        await world.clock.go_on(2_000)
        assert not again.done(), "the late answer of the first attempt is that of no other one"
        with pytest.raises(UsageError, match="2,000 may be"):
            infos[1].heartbeat("x" * 2_000)

    in_world(group(work, heartbeat_timeout="3s"), story)


def test_a_heartbeat_may_come_from_any_thread_of_a_step() -> None:
    may_end = asyncio.Event()

    async def work() -> str:
        await asyncio.to_thread(hw.step_info().heartbeat, "from a thread")
        await may_end.wait()
        return "done"

    async def story(world: World) -> None:
        call = world.call("work")
        await rest()
        [under_way] = world.hub._attempts.values()
        while under_way.details != '"from a thread"':
            await asyncio.sleep(0.001)
        may_end.set()
        assert (await call).value == b'"done"'

    in_world(group(work, heartbeat_timeout="3s"), story)


def test_cancelled_while_it_waits_and_while_it_runs() -> None:
    heard: list[str] = []
    may_end = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(hw.step_info().key)
            await may_end.wait()
            raise

    async def story(world: World) -> None:
        running, waiting, next_one = (world.call("work", key) for key in ("running", "waiting", "next"))
        await rest()
        for key in ("running", "waiting", "unknown"):
            world.hub.cancel(key)
        await rest()
        for call in (running, waiting):
            failed = call.result().failure
            assert failed and failed.type == "CancelledError"
        assert heard == ["running"]
        assert world.hub._rooms["q"].running == 1, "what has not come to its end has its place"
        assert not next_one.done()
        may_end.set()
        await rest()
        world.hub.cancel("next")
        await rest()
        assert heard == ["running", "next"]

    in_world(group(work, queue="q", queues=[hw.Queue("q", concurrency=1)]), story)


def test_a_thread_that_is_given_up_has_its_place_until_it_ends() -> None:
    may_end = threading.Event()
    ended: list[str] = []

    def work() -> None:
        may_end.wait(30)
        ended.append(hw.step_info().key)

    async def story(world: World) -> None:
        first, second = world.call("work", "first"), world.call("work", "second")
        await world.clock.go_on(1_000)
        assert first.result().retry
        assert world.hub._rooms["q"].running == 1 and not second.done()
        may_end.set()
        assert (await second).value == b"null"
        assert ended == ["first", "second"]

    queue = hw.Queue("q", concurrency=1)
    in_world(group(work, queue="q", attempt_timeout="1s", queues=[queue]), story)


def test_a_call_that_comes_after_its_cancellation_is_not_begun() -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append(hw.step_info().key)

    async def story(world: World) -> None:
        world.hub.cancel("late")
        ran = await world.call("work", "late")
        assert ran.failure and ran.failure.type == "CancelledError"
        await world.call("work", "other")
        assert begun == ["other"]

    in_world(group(work), story)
