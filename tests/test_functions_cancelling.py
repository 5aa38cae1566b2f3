"""Being asked to end: scopes, shields, deadlines, compensations, and ends from outside."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions_harness import Evict, World, evictions, failure, named

from headway.functions.declared import durable_workflow
from headway.functions.history import (
    CallCancelled,
    Called,
    Cancelled,
    Terminated,
)
from headway.functions.options import CallOptions
from headway.functions.status import Cancellation, Status


@evictions
def test_scopes(evict: Evict) -> None:
    @durable_workflow
    async def scoped(context):
        async def canceller(scope):
            await context.wait("stop")
            scope.cancel()

        async with context.scope() as scope:
            asyncio.create_task(canceller(scope))
            await context.call("inside")
        found = [scope.was_cancelled]
        scope.cancel()
        try:
            async with context.timeout("1m"), context.timeout("1h"):
                await context.call("slow")
        except TimeoutError as error:
            found.append(str(error))
        async with context.timeout("1h") as limit:
            limit.cancel()
        await context.call("after")
        return found

    world = World(scoped, evict=evict)
    assert named(world.signal("stop")) == ["slow"]
    assert named(world.fire()) == ["after"]
    assert not world.open_timers
    world.answer("after")
    assert world.result == [True, "it took longer than 1m"]


@evictions
def test_a_shield_holds_a_cancellation_back(evict: Evict) -> None:
    @durable_workflow
    async def shielded(context):
        async with context.shield():
            await context.call("a")
            try:
                async with context.timeout("1m"):
                    await context.wait("never")
            except TimeoutError:
                await context.call("b")
        await context.call("c")

    world = World(shielded, evict=evict)
    assert world.cancel() == []
    world.answer("a")
    assert named(world.fire()) == ["b"]
    assert world.answer("b") == [Cancelled("asked")]
    world.check_nothing_left()


@evictions
@pytest.mark.parametrize("state", ["sleeping", "waiting", "calling", "child", "condition", "gathering"])
def test_cancelling(evict: Evict, state: str) -> None:
    """Once, at what it waits for; what was open is taken back."""

    @durable_workflow
    async def busy(context):
        waits = {
            "sleeping": lambda: context.sleep("1d"),
            "waiting": lambda: context.wait("s", timeout="1d"),
            "calling": lambda: context.call("step"),
            "child": lambda: context.child("other"),
            "condition": lambda: context.wait_for(lambda: False, timeout="1d"),
            "gathering": lambda: context.gather(context.call("x"), context.sleep("1d"), context.wait("s")),
        }
        try:
            await waits[state]()
        except asyncio.CancelledError:
            await context.call("tidy")
            raise

    world = World(busy, evict=evict)
    assert named(world.cancel("stop")) == ["tidy"]
    assert next(iter(world.open_calls.values())).name == "tidy"
    assert not world.open_timers
    world.answer("tidy")
    assert world.instance.outcome == Cancelled("stop")
    world.check_nothing_left()


@evictions
def test_a_deadline(evict: Evict) -> None:
    @durable_workflow
    async def slow(context):
        context.compensate("undo")
        await context.call("step", context.info.deadline_ms)

    world = World(slow, evict=evict, deadline_ms=61_000)
    assert [timer.at_ms for timer in world.open_timers.values()] == [61_000]
    assert named(world.fire()) == ["undo"]
    assert world.cancel() == [], "it changes nothing any more"
    world.answer("undo")
    assert world.failed_with.type == "DeadlineExceeded"
    world.check_nothing_left()


@evictions
def test_code_that_cancels_itself_has_failed(evict: Evict) -> None:
    @durable_workflow
    async def odd(context):
        await context.call("a")
        raise asyncio.CancelledError

    world = World(odd, evict=evict)
    world.answer("a")
    assert world.failed_with.type == "CancelledError"
    assert world.instance.cancellation is Cancellation.NOT_ASKED


@evictions
def test_compensations_run_backwards(evict: Evict) -> None:
    """One that fails does not stop the others, and is told; a cancellation meanwhile does not stop them either."""

    @durable_workflow
    async def order(context):
        for step in ("reserve", "charge", "ship"):
            await context.call(step)
            context.compensate(f"undo_{step}", step, options=CallOptions(queue="undo"))
        await context.call("notify")

    world = World(order, evict=evict)
    for step in ("reserve", "charge", "ship"):
        world.answer(step)
    assert world.fail("notify", failure("Down", "gone")) == [
        Called(5, "step", "undo_ship", b'["ship"]', options=CallOptions(queue="undo"))
    ]
    assert world.instance.is_compensating
    assert named(world.fail("undo_ship", failure("OSError", "lost"))) == ["undo_charge"]
    assert world.cancel() == []
    assert named(world.answer("undo_charge")) == ["undo_reserve"]
    world.answer("undo_reserve")
    assert world.failed_with.cause == failure("Down", "gone")
    assert [other.message for other in world.failed_with.others] == ["undo_ship: lost"]
    world.check_nothing_left()


@evictions
def test_compensations_when_cancelled_when_asked_for_and_when_forgotten(evict: Evict) -> None:
    @durable_workflow
    async def order(context, how: str):
        context.compensate("undo")
        if how == "undo":
            failures = await context.undo()
            return [each.type for each in failures]
        if how == "forget":
            context.forget_compensations()
        await context.call("work")

    world = World(order, "cancel", evict=evict)
    assert named(world.cancel()) == ["undo"]
    world.fail("undo")
    assert isinstance(world.instance.outcome, Cancelled)
    assert [each.type for each in world.instance.outcome.failures] == ["ValueError"]
    world = World(order, "undo", evict=evict)
    assert world.cancel() == []
    world.fail("undo")
    assert world.status is Status.CANCELLED or world.result == ["ValueError"]
    world = World(order, "forget", evict=evict)
    world.fail("work")
    assert world.status is Status.FAILED
    assert named(world.history) == ["work"]  # type: ignore[arg-type]


@evictions
def test_terminating_runs_no_code(evict: Evict) -> None:
    @durable_workflow
    async def busy(context):
        context.compensate("undo")
        try:
            await context.call("work")
        finally:
            await context.call("tidy")

    world = World(busy, evict=evict)
    assert world.terminate("gone") == [CallCancelled(1, by_close=True), Terminated("gone")]
    assert world.status is Status.TERMINATED
    assert world.signal("late") == world.cancel() == world.terminate() == []
    world.check_nothing_left()


@evictions
def test_a_limit_that_passes_while_it_is_cancelled(evict: Evict) -> None:
    """It ends as cancelled and not as late: somebody has asked for that, and code that caught it was cut off."""

    @durable_workflow
    async def tidying(context):
        try:
            async with context.timeout("1m"):
                try:
                    await context.call("work")
                except asyncio.CancelledError:
                    await context.call("tidy")
        except TimeoutError:
            await context.call("late")

    world = World(tidying, evict=evict)
    assert named(world.cancel()) == ["tidy"]
    assert named(world.fire()) == []
    assert world.instance.outcome == Cancelled("asked")
    world.check_nothing_left()
