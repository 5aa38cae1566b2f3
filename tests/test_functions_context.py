"""What a context gives that is the same in each replay, and who a function is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.functions_harness import Evict, World, evictions

from headway.functions.declared import durable_workflow
from headway.functions.history import (
    Identity,
    Parent,
    Signalled,
    encode,
)

YEAR_MS = 365 * 86_400_000


@evictions
def test_sleeps(evict: Evict) -> None:
    @durable_workflow
    async def sleeping(context):
        await context.sleep(0)
        await context.sleep_until(context.now_ms - 5)
        before = context.now()
        await context.sleep("365d")
        await context.sleep_until("2031-01-01T00:00:00Z")
        return [(context.now() - before).days, context.now().isoformat()]

    world = World(sleeping, evict=evict)
    assert world.first == [world.open_timers[1]]
    assert world.open_timers[1].at_ms == 1_000 + YEAR_MS
    world.fire()
    world.fire()
    assert world.result[1] == "2031-01-01T00:00:00+00:00"


def test_a_sleep_that_is_no_duration_fails_the_function() -> None:
    @durable_workflow
    async def sleeping(context):
        await context.sleep(-1)

    assert "not a length of time" in World(sleeping).failed_with.message


@evictions
def test_time_never_goes_back(evict: Evict) -> None:
    @durable_workflow
    async def looking(context):
        found = [context.now_ms]
        for _ in range(3):
            await context.wait("tick")
            found.append(context.now_ms)
        return found

    world = World(looking, evict=evict)
    for at_ms in (5_000, 4_000, 6_000):
        world.now_ms = at_ms
        entries = world.instance.take(Signalled(at_ms, "tick"))
        world.stored += [encode(entry) for entry in entries]
    assert world.result == [1_000, 5_000, 5_000, 6_000]
    assert [entry.at_ms for entry in world.history if isinstance(entry, Signalled)] == [5_000, 5_000, 6_000]


@evictions
def test_chance_is_the_same_in_a_replay_and_another_for_each_run(evict: Evict) -> None:
    @durable_workflow
    async def choosing(context):
        first = [context.random.random(), str(context.uuid())]
        await context.wait("go")
        return [*first, context.random.randrange(1_000_000), str(context.uuid())]

    def result(identity: Identity) -> Any:
        world = World(choosing, evict=evict, identity=identity)
        world.signal("go")
        return world.result

    assert result(Identity("c", "1")) == result(Identity("c", "1"))
    different = [result(Identity("c", "1")), result(Identity("c", "2")), result(Identity("c", "1", 1))]
    assert len({str(each) for each in different}) == 3


@evictions
def test_logs_are_written_once(evict: Evict, caplog: pytest.LogCaptureFixture) -> None:
    @durable_workflow
    async def talking(context):
        for number in range(3):
            context.log.info("number %d", number)
            await context.wait("next")

    caplog.set_level(logging.INFO)
    world = World(talking, evict=evict)
    world.signal("next")
    world.signal("next")
    world.again()
    records = [record for record in caplog.records if record.name == "headway.functions.f"]
    assert [record.getMessage() for record in records] == ["number 0", "number 1", "number 2"]
    assert {record.function_id for record in records} == {"1"}  # type: ignore[attr-defined]


@evictions
def test_who_it_is(evict: Evict) -> None:
    @durable_workflow
    async def asking(context):
        info = context.info
        await context.wait("go")
        parent = info.parent
        return [info.name, info.id, info.run, info.attempt, info.started_at_ms, str(parent.identity), info.traceparent]

    parent = Parent(Identity("p", "1"), 4)
    world = World(asking, evict=evict, parent=parent, attempt=2, traceparent="00-1-2-01")
    world.signal("go")
    assert world.result == ["f", "1", 0, 2, 1_000, "p/1#0", "00-1-2-01"]


@evictions
def test_what_it_waits_for(evict: Evict) -> None:
    @durable_workflow
    async def waiting(context):
        async def inner():
            await context.gather(context.call("step"), context.sleep(5), context.wait("paid"))

        await inner()

    world = World(waiting, evict=evict)
    waits = [(wait.kind, wait.name, wait.number) for wait in world.instance.waits]
    assert waits == [("step", "step", 1), ("timer", "", 2), ("signalled", "paid", 0)]
    assert world.instance.line.startswith("tests/test_functions_context.py:")
