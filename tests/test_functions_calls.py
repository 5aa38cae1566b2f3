"""Calls of steps and other functions: options, results, errors, and what comes too late."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.functions_harness import Evict, World, evictions, failure

from headway.errors import UsageError
from headway.functions.declared import durable_workflow
from headway.functions.failures import StepError
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    Failure,
    Fired,
    Identity,
    Started,
)
from headway.functions.options import CallOptions, RetryPolicy
from headway.functions.tokens import read_token


class Payment(msgspec.Struct):
    cents: int


@durable_workflow
async def child(context, number: int) -> int:
    return number


@evictions
def test_children(evict: Evict) -> None:
    @durable_workflow
    async def parent(context):
        started = await context.start(child, 1, id="own", options=CallOptions(parent_close="terminate"))
        first = context.child(child, 2)
        second = context.call(child, 3)
        try:
            return [started, await first, await second]
        except StepError as error:
            return [error.type, error.message]

    world = World(parent, evict=evict, identity=Identity("parent", "p"))
    assert world.first == [
        Called(1, "start", "child", b"[1]", "own", CallOptions(parent_close="terminate")),
    ]
    commands = world.answer("child", {"run": 0})
    assert commands == [Called(2, "function", "child", b"[2]", "p.1"), Called(3, "function", "child", b"[3]", "p.2")]
    world.take(Answered(world.now_ms, 2, b"2"))
    commands = world.take(Answered(world.now_ms, 3, b'"text"'))
    assert commands[0] == CallCancelled(1, by_close=True)
    kind, message = world.result
    assert (kind, message.partition(":")[0]) == ("ResultError", "its result is not of the declared type")


@evictions
@pytest.mark.parametrize("close", ["cancel", "abandon", "terminate"])
def test_a_child_whose_parent_ends(evict: Evict, close: Any) -> None:
    @durable_workflow
    async def parent(context):
        context.child(child, 1, id="c", options=CallOptions(parent_close=close))
        context.start(child, 1, id="s")
        context.signal(child, "x", "hello", 5)
        await context.wait("end")

    world = World(parent, evict=evict)
    assert world.first[2] == Called(3, "signal", "hello", b"5", "child/x")
    cancelled = [command for command in world.signal("end") if isinstance(command, CallCancelled)]
    assert cancelled == ([] if close == "abandon" else [CallCancelled(1, by_close=True)])


@evictions
def test_queries_of_views_and_tokens(evict: Evict) -> None:
    @durable_workflow
    async def looking(context):
        found = await context.query("carts", "c-1")
        token = context.token(returns=Payment)
        await context.call("send_mail", token.text)
        return [found, (await token).cents]

    world = World(looking, evict=evict)
    assert world.first == [Called(1, "query", "carts", b'"c-1"')]
    world.answer("carts", {"items": 2})
    sent = next(call for call in world.open_calls.values() if call.name == "send_mail")
    identity, number = read_token(msgspec.json.decode(sent.arguments)[0])
    assert (identity, world.open_calls[number].kind) == (world.identity, "token")
    world.answer("send_mail")
    world.take(Answered(world.now_ms, number, b'{"cents": 7}'))
    assert world.result == [{"items": 2}, 7]
    assert world.take(Answered(world.now_ms, number, b'{"cents": 8}')) == []
    with pytest.raises(UsageError, match="no token"):
        read_token("what?")


@evictions
def test_results_and_arguments_that_cannot_be_written(evict: Evict) -> None:
    @durable_workflow
    async def odd(context, how: str) -> int:
        if how == "argument":
            await context.call("step", object())
        return "text" if how == "type" else object()  # type: ignore[return-value]

    assert "context.call('step'" in World(odd, "argument", evict=evict).failed_with.message
    wrong = World(odd, "type", evict=evict).failed_with
    assert (wrong.type, "the result of function 'odd'" in wrong.message) == ("ResultError", True)
    assert World(odd, "object", evict=evict).failed_with.type == "ResultError"
    assert World(odd, 5, evict=evict).failed_with.type == "UsageError"


@evictions
def test_large_values(evict: Evict) -> None:
    @durable_workflow
    async def large(context, text: str) -> str:
        echo: str = await context.call("echo", text)
        return echo

    text = "x" * 10_000_000
    world = World(large, text, evict=evict)
    world.answer("echo", text)
    assert world.result == text


@evictions
def test_errors_keep_their_text(evict: Evict) -> None:
    @durable_workflow
    async def failing(context):
        try:
            await context.call("step")
        except StepError as error:
            raise RuntimeError(f"failed at {object()}") from error

    world = World(failing, evict=evict)
    world.fail("step", Failure("Refused", "no funds", "the step's frames", True, Failure("OSError", "down")))
    failed = world.failed_with
    assert (failed.type, failed.message) == ("RuntimeError", "failed at <object object at 0x...>")
    assert failed.cause is not None
    assert "0x7" not in failed.traceback
    assert "raise RuntimeError" in failed.traceback
    assert "headway/functions" not in failed.traceback


@evictions
def test_options_of_calls(evict: Evict) -> None:
    @durable_workflow
    async def careful(context):
        retry = RetryPolicy(initial="2s", maximum_attempts=3, non_retryable=("Refused",))
        await context.call("step", options=CallOptions(retry=retry, timeout="5m", attempt_timeout="10s", priority=2))

    world = World(careful, evict=evict)
    options = world.open_calls[1].options
    assert options is not None
    assert options.retry is not None
    assert (options.timeout_ms, options.attempt_timeout_ms, options.priority) == (300_000, 10_000, 2)
    assert (options.retry.pause_ms(2), options.retry.gives_up(3), options.retry.gives_up(1, ("Refused",))) == (
        4_000,
        True,
        True,
    )


@evictions
def test_a_timeout_of_a_step_is_one_for_except(evict: Evict) -> None:
    @durable_workflow
    async def limited(context):
        try:
            await context.call("slow")
        except TimeoutError as error:
            return type(error).__name__

    world = World(limited, evict=evict)
    world.fail("slow", failure("TimeoutError", "took longer than 5s"))
    assert world.result == "StepTimeout"


@evictions
def test_what_comes_too_late_changes_nothing(evict: Evict) -> None:
    @durable_workflow
    async def limited(context):
        try:
            await asyncio.wait_for(context.call("slow"), 1)
        except asyncio.TimeoutError:
            await context.call("next")

    world = World(limited, evict=evict)
    world.fire()
    before = world.history
    slow = world_number(world, "slow")
    assert world.take(Answered(9_000, slow)) == world.take(Answered(9_000, 99)) == world.take(Fired(9_000, 77)) == []
    assert world.take(Started(9_000)) == []
    assert world.history == before


def world_number(world: World, name: str) -> int:
    return next(entry.number for entry in world.history if isinstance(entry, Called) and entry.name == name)
