"""The example that must run as it stands, and the ways in which code catches what was not meant for it."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest
from tests.functions_harness import Evict, World, evictions, failure, named

from headway.functions.closing import parked_count
from headway.functions.declared import durable_workflow
from headway.functions.history import CallCancelled, Called, Cancelled, Finished
from headway.functions.status import Cancellation, Status


@durable_workflow
async def refund_order(context, order_id):
    await context.call("cancel_shipping", order_id)
    try:
        await context.call("refund_payment", order_id)
    except:
        await context.call("escalate_issue", order_id)


@evictions
def test_undisturbed(evict: Evict) -> None:
    world = World(refund_order, "o-17", evict=evict)
    assert world.first == [Called(1, "step", "cancel_shipping", b'["o-17"]')]
    assert named(world.answer("cancel_shipping")) == ["refund_payment"]
    assert world.answer("refund_payment") == [Finished()]
    world.check_nothing_left()


@evictions
def test_first_step_fails(evict: Evict) -> None:
    world = World(refund_order, "o-17", evict=evict)
    assert named(world.fail("cancel_shipping")) == []
    assert (world.failed_with.type, world.failed_with.cause) == ("StepError", failure())
    assert "cancel_shipping" in world.failed_with.message
    world.check_nothing_left()


@evictions
@pytest.mark.parametrize("escalation_works", [True, False])
def test_second_step_fails(evict: Evict, escalation_works: bool) -> None:
    world = World(refund_order, "o-17", evict=evict)
    world.answer("cancel_shipping")
    assert named(world.fail("refund_payment")) == ["escalate_issue"]
    if escalation_works:
        world.answer("escalate_issue")
        assert world.status is Status.COMPLETED
    else:
        world.fail("escalate_issue")
        assert world.failed_with.type == "StepError"
    world.check_nothing_left()


@evictions
def test_cancelled_in_the_bare_except(evict: Evict) -> None:
    """It catches its cancellation, as it catches everything, and escalates: told apart from one that follows it."""
    world = World(refund_order, "o-17", evict=evict)
    world.answer("cancel_shipping")
    assert world.cancel() == [CallCancelled(2), Called(3, "step", "escalate_issue", b'["o-17"]')]
    assert world.instance.cancellation is Cancellation.ASKED
    assert world.cancel() == [], "a second request would hit what it does to end orderly"
    world.answer("escalate_issue")
    assert (world.status, world.instance.cancellation) == (Status.COMPLETED, Cancellation.SWALLOWED)
    world.check_nothing_left()


@evictions
def test_cancelled_before(evict: Evict) -> None:
    world = World(refund_order, "o-17", evict=evict)
    assert world.cancel("no more") == [CallCancelled(1), Cancelled("no more")]
    assert world.instance.cancellation is Cancellation.FOLLOWED
    world.check_nothing_left()


TOLD: list[str] = []


@durable_workflow
async def stubborn(context):
    while True:
        try:
            await context.call("work")
        except BaseException:
            TOLD.append("caught")
            context.log.error("caught")


@durable_workflow
async def tidy(context):
    try:
        try:
            await context.call("work")
        except:
            await context.call("inner")
            await asyncio.sleep(5)
        finally:
            await context.call("tidy")
            await asyncio.sleep(0)
    except BaseException:
        async with context.timeout(5):
            await context.wait("never")
        await asyncio.Event().wait()


@durable_workflow
async def returning(context):
    try:
        await context.call("work")
    finally:
        return "mine"  # noqa: B012 - what it does to an outcome is tested


@durable_workflow
async def in_tasks(context):
    async def part(name: str) -> None:
        try:
            await context.call(name)
        except:
            await context.call("escalate")

    await asyncio.gather(part("a"), part("b"), asyncio.create_task(part("c")))


@pytest.mark.parametrize("function", [refund_order, stubborn, tidy, returning, in_tasks], ids=lambda f: f.name)
@pytest.mark.parametrize("how", ["closed", "collected"])
def test_dropping_is_never_heard_of(function: Any, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        world = World(function, *(["o-17"] if function is refund_order else []))
        before = world.history
        if how == "closed":
            world.instance.close()
            assert world.instance._core.journal.end() == []
        del world.instance
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert world.history == before
    assert not unraisable
    assert capfd.readouterr() == ("", "")


def test_one_that_refuses_to_end_is_parked() -> None:
    world = World(stubborn)
    parked = parked_count()
    world.instance.close()
    assert parked_count() == parked + 1
    gc.collect()


@evictions
def test_return_in_finally(evict: Evict) -> None:
    world = World(returning, evict=evict)
    world.fail("work")
    assert world.result == "mine"
    world = World(returning, evict=evict)
    world.cancel()
    assert (world.result, world.instance.cancellation) == ("mine", Cancellation.SWALLOWED)


@evictions
def test_refuses_cancellation(evict: Evict) -> None:
    world = World(stubborn, evict=evict)
    assert world.cancel() == [CallCancelled(1), Called(2, "step", "work", b"[]")]
    assert (world.status, world.instance.cancellation) == (Status.RUNNING, Cancellation.ASKED)
    assert world.terminate("enough")[0] == CallCancelled(2, by_close=True)
    assert world.status is Status.TERMINATED
    world.check_nothing_left()


@evictions
def test_awaits_in_finally(evict: Evict) -> None:
    world = World(tidy, evict=evict)
    assert named(world.fail("work")) == ["inner"]
    assert named(world.answer("inner")) == []
    assert named(world.fire()) == ["tidy"]
    world.answer("tidy")
    assert world.status is Status.COMPLETED
    world.check_nothing_left()


@evictions
@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_what_is_not_the_codes_goes_to_the_driver(evict: Evict, kind: type[BaseException]) -> None:
    """Ctrl-C while the code runs ends in no escalation, although the code catches it."""
    strikes = True

    @durable_workflow
    async def interrupted(context):
        await context.call("first")
        try:
            if strikes:
                raise kind
            await context.call("second")
        except:
            await context.call("escalate")

    world = World(interrupted, evict=evict)
    before = world.history
    with pytest.raises(kind):
        world.answer("first")
    assert world.history == before
    assert world.instance.is_closed
    strikes = False
    world.again()
    assert named(world.answer("first")) == ["second"]


@evictions
def test_system_exit_of_the_code_is_its_outcome(evict: Evict) -> None:
    @durable_workflow
    async def leaving(context):
        await context.call("first")
        sys.exit(3)

    world = World(leaving, evict=evict)
    world.answer("first")
    assert (world.failed_with.type, world.failed_with.message) == ("SystemExit", "3")
