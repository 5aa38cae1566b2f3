"""Updates, which change something and are answered, and queries, which only look."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions_harness import Evict, World, evictions, named

from headway.errors import UsageError
from headway.functions.declared import durable_workflow
from headway.functions.history import (
    UpdateAnswered,
    UpdateAsked,
)
from headway.functions.status import Status


@evictions
def test_updates(evict: Evict) -> None:
    @durable_workflow
    async def cart(context):
        items: list[str] = context.state.setdefault("items", [])

        async def add(item: str) -> int:
            await context.call("reserve", item)
            items.append(item)
            return len(items)

        def check(item: str) -> None:
            if item == "bad":
                raise ValueError(f"no {item}")

        context.on_update("add", add, check=check)
        context.on_query("count", lambda: len(items))
        await context.wait("done")

    world = World(cart, evict=evict)
    assert named(world.update("u1", "add", "apple")) == ["reserve"]
    assert world.update("u1", "add", "apple") == [], "asked again: it is under way"
    assert world.answer("reserve") == [UpdateAnswered("u1", b"1")]
    assert world.instance.state == {"items": ["apple"]}
    assert world.instance.query("count") == b"1"
    before = world.history
    refusals = (("add", b'"bad"', "no bad"), ("add", b"5", "Expected `str`"), ("x", b"1", "no update 'x'"))
    for name, value, word in refusals:
        refused = world.instance.refusal(UpdateAsked(1_000, "u2", name, value))
        assert refused is not None
        assert word in refused.message
    assert world.instance.refusal(UpdateAsked(1_000, "u2", "add", b'"pear"')) is None
    assert world.history == before
    world.update("u3", "add", "pear")
    assert world.fail("reserve")[0].failure.type == "StepError"  # type: ignore[union-attr]
    world.update("u4", "add", "fig")
    commands = world.signal("done")
    assert isinstance(commands[1], UpdateAnswered)
    assert commands[1].failure is not None
    assert commands[1].failure.type == "FunctionEnded"
    refused = world.instance.refusal(UpdateAsked(1_000, "u5", "add", b'"fig"'))
    assert refused is not None
    world.check_nothing_left()


@evictions
def test_queries_change_nothing(evict: Evict) -> None:
    @durable_workflow
    async def looked_at(context):
        context.state["n"] = 1
        event = asyncio.Event()

        def meddle():
            context.state["n"] = 2
            return context.state["n"]

        context.on_query("meddle", meddle)
        context.on_query("call", lambda: context.call("step"))
        context.on_query("wake", event.set)
        context.on_query("double", lambda n: n * 2)
        await event.wait()

    world = World(looked_at, evict=evict)
    assert world.instance.query("double", b"4") == b"8"
    assert world.instance.query("meddle") == b"2"
    assert world.instance.state == {"n": 1}
    with pytest.raises(RuntimeError, match="only look"):
        world.instance.query("call")
    with pytest.raises(UsageError, match="no query 'other'"):
        world.instance.query("other")
    with pytest.raises(RuntimeError, match="only look"):
        world.instance.query("wake")
    assert world.instance.is_closed, "what it woke cannot be put to sleep again"
    world.again()
    assert (world.status, len(world.history)) == (Status.RUNNING, 1)
