"""Signals and conditions: in order, kept until they are taken, with types and limits."""

from __future__ import annotations

import asyncio

import msgspec
from tests.functions_harness import Evict, World, evictions

from headway.functions.declared import durable_workflow
from headway.functions.history import (
    CallCancelled,
    Called,
    Continued,
    Fired,
    Identity,
    Signalled,
    Started,
    TimerCancelled,
)
from headway.functions.instance import Instance
from headway.functions.status import Status


class Payment(msgspec.Struct):
    cents: int


@evictions
def test_10000_signals_in_order(evict: Evict) -> None:
    """Before the wait, and while it waits; one that is sent again is not taken again."""

    @durable_workflow
    async def reading(context):
        await context.call("slow")
        return [await context.wait("number") for _ in range(10_000)]

    world = World(reading)
    for number in range(5_000):
        world.signal("number", number, f"id-{number}")
    if evict():
        world.again()
    assert world.signal("number", 4_999, "id-4999") == []
    assert len(world.instance.unread_signals) == 5_000
    world.answer("slow")
    for number in range(5_000, 10_000):
        world.signal("number", number)
    assert world.result == list(range(10_000))


@evictions
def test_signals_have_types_and_limits(evict: Evict) -> None:
    @durable_workflow
    async def paying(context):
        try:
            await context.wait("paid", returns=Payment)
        except ValueError as error:
            wrong = str(error)
        try:
            await context.wait("paid", timeout="5m", returns=Payment)
        except TimeoutError as error:
            late = str(error)
        paid = await context.wait("paid", timeout="5m", returns=Payment)
        return [wrong, late, paid.cents]

    world = World(paying, evict=evict)
    world.signal("paid", {"cents": "many"})
    world.fire()
    assert world.signal("paid", {"cents": 5})[0] == TimerCancelled(2)
    wrong, late, cents = world.result
    assert "Expected `int`" in wrong
    assert "has not come in time" in late
    assert cents == 5


@evictions
def test_signal_and_timer_at_the_same_time(evict: Evict) -> None:
    """What is in the log first has come first, and what comes then is not lost."""

    @durable_workflow
    async def waiting(context):
        try:
            found = await context.wait("a", timeout=5_000)
        except TimeoutError:
            found = "late"
        return [found, await context.wait("a", timeout=1)]

    world = World(waiting, evict=evict)
    world.now_ms = 6_000
    world.signal("a", 1)
    assert world.take(Fired(6_000, 1)) == [], "it was cancelled"
    world.signal("a", 2)
    assert world.result == [1, 2]
    world = World(waiting, evict=evict)
    world.fire()
    world.signal("a", 1)
    assert world.result == ["late", 1]


@evictions
def test_conditions(evict: Evict) -> None:
    @durable_workflow
    async def counting(context):
        seen = []

        async def reader():
            while True:
                seen.append(await context.wait("n"))

        asyncio.create_task(reader())
        await context.wait_for(lambda: len(seen) >= 2)
        try:
            await context.wait_for(lambda: len(seen) >= 4, timeout="1m")
        except TimeoutError:
            return seen

    world = World(counting, evict=evict)
    world.signal("n", 1)
    world.signal("n", 2)
    world.signal("n", 3)
    assert [wait.kind for wait in world.instance.waits] == ["timer", "signalled", "condition"]
    world.fire()
    assert world.result == [1, 2, 3]


@evictions
def test_a_condition_only_looks(evict: Evict) -> None:
    @durable_workflow
    async def doing(context):
        await context.call("first")
        await context.wait_for(lambda: context.call("second"))

    world = World(doing, evict=evict)
    assert world.answer("first")[:-1] == []
    assert world.failed_with.type == "ReadOnly"


@evictions
def test_continuing_as_new_takes_signals_along(evict: Evict) -> None:
    """Nothing is raised: no except and no finally runs to any effect."""

    @durable_workflow
    async def rounds(context, number: int):
        try:
            await context.wait("next")
            context.call("left open")
            await context.continue_as_new(number + 1)
        except:
            await context.call("escalate")
        finally:
            await context.call("tidy")

    world = World(rounds, 1, evict=evict)
    world.signal("other", 5, "id-5")
    commands = world.signal("next")
    signals = (Signalled(1_000, "other", b"5", "id-5"),)
    assert commands == [Called(1, "step", "left open"), CallCancelled(1, by_close=True), Continued(b"[2]", signals)]
    assert world.status is Status.CONTINUED
    world.check_nothing_left()

    following = Instance(rounds, Identity("f", "1", 1))
    following.take(Started(2_000, b"[2]", signals=signals))
    assert following.unread_signals == signals
    assert following.take(Signalled(2_000, "other", b"5", "id-5")) == [], "it was taken by the run before"


def test_continuing_with_compensations_left_is_refused() -> None:
    @durable_workflow
    async def rounds(context):
        context.compensate("undo")
        await context.continue_as_new()

    world = World(rounds)
    world.answer("undo")
    assert "compensations are left" in world.failed_with.message
