"""Random programs, whatever happens to them and whenever they are dropped: as a run of them in memory."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.functions_grammar import Interpreter, Node, OnContext, programs
from tests.functions_harness import World, failure
from tests.functions_model import Model

from headway.functions.declared import durable_workflow
from headway.functions.history import (
    CallCancelled,
    Called,
    Command,
    Continued,
    TimerCancelled,
    TimerSet,
)
from headway.functions.status import Cancellation, Status

ROUNDS_MAX = 60


def asked(commands: list[Command], world: World) -> list[tuple[Any, ...]]:
    """Commands as the model tells them; what is taken back at the end is not told by it."""
    history = world.history
    labels = {entry.number: entry.name for entry in history if isinstance(entry, Called)}
    times = {entry.number: entry.at_ms for entry in history if isinstance(entry, TimerSet)}
    has_ended = world.status is not Status.RUNNING
    found: list[tuple[Any, ...]] = []
    for command in commands:
        if isinstance(command, Called):
            found.append(("call", command.name))
        elif isinstance(command, TimerSet):
            found.append(("timer", command.at_ms))
        elif isinstance(command, CallCancelled) and not command.by_close:
            found.append(("call cancelled", labels[command.number]))
        elif isinstance(command, TimerCancelled) and not has_ended:
            found.append(("timer cancelled", times[command.number]))
    return sorted(found)


def agree(model: Model, world: World, commands: list[Command]) -> bool:
    """Whether both still run; what they asked for in this round, and their ends, must be the same."""
    expected = model.round()
    if model.has_ended:
        expected = [command for command in expected if command[0] != "timer cancelled"]
    assert asked(commands, world) == expected
    assert model.has_ended == (world.status is not Status.RUNNING)
    if not model.has_ended:
        return True
    if model.main.cancelled():
        assert world.status is Status.CANCELLED or world.failed_with.type == "CancelledError"
    elif model.main.exception() is not None:
        assert world.status is Status.FAILED
    else:
        assert msgspec.json.encode(model.main.result()) == msgspec.json.encode(world.result)
    return False


def happens(chance: random.Random, model: Model, world: World) -> list[Command]:
    """One thing that can happen, to both."""
    world.now_ms = model.now_ms = max(world.now_ms, model.now_ms) + chance.choice((0, 0, 0, 7))
    dice = chance.random()
    open_calls = sorted((call.name, number) for number, call in world.open_calls.items())
    if dice < 0.05:
        if world.instance.cancellation is Cancellation.NOT_ASKED:
            model.cancel()
        return world.cancel()
    if dice < 0.3 and world.open_timers:
        commands = world.fire()
        model.now_ms = world.now_ms
        model.fire()
        return commands
    waits = sorted({wait.name for wait in world.instance.waits if wait.kind == "signalled"})
    if (dice < 0.5 and waits) or not open_calls:
        label = chance.choice(waits) if waits else f"n{chance.randrange(12)}"
        commands = world.signal(label, world.now_ms)
        model.signal(label, world.now_ms)
        return commands
    label = chance.choice(open_calls)[0]
    if chance.random() < 0.25:
        commands = world.fail(label, failure("ValueError"))
        model.answer(label, ValueError("no"))
    else:
        value = chance.randrange(1_000)
        commands = world.answer(label, value)
        model.answer(label, value)
    return commands


def play(program: tuple[Node, ...], seed: int, dropped: float) -> World:
    """A program and its model, until both have ended or enough has happened."""

    @durable_workflow(name="program")
    async def run(context):
        return await Interpreter(OnContext(context)).block(program)

    chance, drops = random.Random(seed), random.Random(seed + 1)
    model = Model(program, 1_000)
    world = World(run, evict=lambda: drops.random() < dropped)
    try:
        runs = agree(model, world, world.first)
        for _ in range(ROUNDS_MAX):
            if not runs or len({at_ms for at_ms, _ in model.timers}) < len(model.timers):
                break
            commands = happens(chance, model, world)
            runs = agree(model, world, commands)
    finally:
        model.close()
    if world.status is Status.RUNNING:
        world.terminate()
    world.check_nothing_left()
    world.instance.close()
    return world


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(programs, st.integers(0, 2**20), st.sampled_from([0.0, 0.3, 1.0]))
def test_as_in_memory(program: tuple[Node, ...], seed: int, dropped: float) -> None:
    play(program, seed, dropped)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@settings(deadline=None, max_examples=3_000, suppress_health_check=list(HealthCheck))
@given(programs, st.integers(0, 2**20), st.sampled_from([0.0, 0.3, 1.0]))
def test_as_in_memory_for_long(program: tuple[Node, ...], seed: int, dropped: float) -> None:
    play(program, seed, dropped)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs, st.integers(0, 2**20))
def test_dropping_changes_nothing(program: tuple[Node, ...], seed: int) -> None:
    """The same happenings give the same bytes, whenever it was dropped."""
    assert play(program, seed, 0.0).stored == play(program, seed, 1.0).stored
    assert not any(isinstance(entry, Continued) for entry in play(program, seed, 0.5).history)
