"""Several things at once: all, the first, each as it comes."""

from __future__ import annotations

import asyncio
import random

from tests.functions_harness import Evict, World, evictions, named

from headway.functions.declared import durable_workflow
from headway.functions.failures import StepError
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    TimerCancelled,
)


@evictions
def test_gather_of_1000_in_any_order(evict: Evict) -> None:
    @durable_workflow
    async def gathering(context):
        return await context.gather(context.call("step", n) for n in range(1_000))

    world = World(gathering, evict=lambda: False)
    numbers = list(world.open_calls)
    random.Random(5).shuffle(numbers)
    for at, number in enumerate(numbers):
        if evict() and at % 100 == 0:
            world.again()
        world.take(Answered(2_000, number, str(number).encode()))
    assert world.result == list(range(1, 1_001))
    world.check_nothing_left()


@evictions
def test_gather_cancels_the_others_when_one_fails(evict: Evict) -> None:
    @durable_workflow
    async def gathering(context):
        async def part():
            await context.call("c")

        try:
            await context.gather(context.call("a"), context.call("b"), part())
        except StepError as error:
            return [error.type, error.message, str(error)]

    world = World(gathering, evict=evict)
    assert CallCancelled(1) in world.fail("b")
    assert world.result == ["ValueError", "no", "step 'b' has failed: ValueError: no"]
    world.check_nothing_left()


@evictions
def test_gather_with_errors_among_the_results(evict: Evict) -> None:
    @durable_workflow
    async def gathering(context):
        found = await context.gather(context.call("a"), context.call("b"), return_exceptions=True)
        return [type(each).__name__ for each in found], await context.gather()

    world = World(gathering, evict=evict)
    world.fail("a")
    world.answer("b", 5)
    assert world.result == [["StepError", "int"], []]


@evictions
def test_first_wins_and_losers_are_cancelled(evict: Evict) -> None:
    """Also one that swallows its cancellation: nobody waits for it, and it ends with the function."""

    @durable_workflow
    async def racing(context):
        async def loser():
            try:
                await context.call("slow")
            except asyncio.CancelledError:
                await context.call("sulking")

        winner = await context.first(context.call("quick"), loser(), context.wait("never", timeout="1h"))
        return winner, await context.call("after")

    world = World(racing, evict=evict)
    commands = world.answer("quick", "won")
    assert sorted(named(commands)) == ["after", "sulking"]
    assert CallCancelled(world_number(world, "slow")) in commands
    assert any(isinstance(command, TimerCancelled) for command in commands)
    commands = world.answer("after")
    assert commands[0] == CallCancelled(world_number(world, "sulking"), by_close=True)
    assert world.result == ["won", None]
    world.check_nothing_left()


def world_number(world: World, name: str) -> int:
    return next(entry.number for entry in world.history if isinstance(entry, Called) and entry.name == name)


@evictions
def test_as_completed(evict: Evict) -> None:
    @durable_workflow
    async def following(context):
        found = []
        async for done in context.as_completed(context.call(name) for name in "abc"):
            found.append(await done)
        return found

    world = World(following, evict=evict)
    for name in "cab":
        world.answer(name, name)
    assert world.result == ["c", "a", "b"]


def test_coroutines_in_a_set_are_refused() -> None:
    @durable_workflow
    async def careless(context):
        async def part():
            await context.call("a")

        await context.gather({part(), part()})

    assert "give a list" in World(careless).failed_with.message
