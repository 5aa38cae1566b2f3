"""asyncio as it is, on the deterministic loop: the same again in each replay, and on each version of Python."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.functions_asyncio import FUNCTIONS, SEEDS, as_text, run
from tests.functions_harness import Evict, World, evictions, named

from headway.errors import FunctionBlocked
from headway.functions.closing import parked_count
from headway.functions.declared import durable_workflow
from headway.functions.history import Identity
from headway.functions.instance import Instance
from headway.functions.status import Status

ROOT = Path(__file__).resolve().parent.parent
of_3_11: Any = asyncio
VERSIONS = ("3.10", "3.11", "3.12")


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_dropped_at_every_point(function: Any) -> None:
    for seed in SEEDS:
        lived = run(function, seed)
        assert run(function, seed, lambda: True) == lived
        instance = Instance(function, Identity(function.name, str(seed)))
        instance.restore(lived)
        assert instance.outcome == lived[-1]
        instance.close()


def python(version: str) -> str:
    """An interpreter of a version that has what the functions need, or the test is skipped by name."""
    candidates = [*os.environ.get("HEADWAY_PYTHONS", "").split(os.pathsep), f"python{version}", sys.executable]
    for candidate in filter(None, map(shutil.which, filter(None, candidates))):
        found = subprocess.run(
            [candidate, "-c", "import sys, msgspec; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if found.stdout.strip() == version:
            return candidate
    pytest.skip(f"no Python {version} with msgspec: name one in HEADWAY_PYTHONS")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("hash_seed", ["0", "7"])
def test_versions_of_python_agree(version: str, hash_seed: str) -> None:
    """Histories are equal, and those of this version can be replayed by the other."""
    mine = "".join(as_text(run(function, seed)) + "\n" for function in FUNCTIONS for seed in SEEDS)
    command = [python(version), "-m", "tests.functions_asyncio"]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "PYTHONHASHSEED": hash_seed,
        "HEADWAY_PURE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options: Any = {"env": environment, "capture_output": True, "text": True, "timeout": 120}
    replayed = subprocess.run([*command, "replay"], check=False, input=mine, **options)
    assert (replayed.returncode, replayed.stderr) == (0, "")
    written = subprocess.run([*command, "write"], check=False, **options)
    assert (written.returncode, written.stderr) == (0, "")
    assert written.stdout == mine


@evictions
def test_sets_of_tasks_have_an_order(evict: Evict) -> None:
    """The order in which they were put into a set, as small numbers have it, and not that of their addresses."""

    @durable_workflow
    async def walking(context):
        tasks = [asyncio.create_task(context.sleep(5 + n) if n < 0 else asyncio.sleep(1)) for n in range(20)]
        numbers = {task: number for number, task in enumerate(tasks)}
        await asyncio.wait(set(tasks))
        return [numbers[task] for task in set(tasks)], [task.get_name() for task in tasks[:2]]

    world = World(walking, evict=evict)
    while world.status is Status.RUNNING:
        world.fire()
    order, names = world.result
    other = World(walking)
    while other.status is Status.RUNNING:
        other.fire()
    assert other.result == [order, names]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup and asyncio.timeout are of Python 3.11")
@evictions
def test_task_group_with_two_failures_at_once(evict: Evict) -> None:
    @durable_workflow
    async def grouped(context):
        async def fails(name):
            await context.wait("go") if name == "a" else await asyncio.sleep(0)
            raise ValueError(name)

        async with of_3_11.TaskGroup() as group:
            group.create_task(context.wait_for(lambda: True) and fails("a"))
            group.create_task(fails("b"))
            group.create_task(fails("c"))

    world = World(grouped, evict=evict)
    assert world.failed_with.type == "ExceptionGroup"
    assert sorted(other.message for other in world.failed_with.others) == ["b", "c"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup and asyncio.timeout are of Python 3.11")
@evictions
def test_timeout_and_group(evict: Evict) -> None:
    @durable_workflow
    async def limited(context):
        try:
            async with of_3_11.timeout(5), of_3_11.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                group.create_task(asyncio.wait_for(context.call("slow"), 30))
        except TimeoutError:
            return await context.call("late")

    world = World(limited, evict=evict)
    assert named(world.fire()) == ["late"]
    assert not world.open_timers
    world.answer("late", "yes")
    assert world.result == "yes"


@pytest.mark.parametrize(
    ("what", "word"),
    [
        (lambda: asyncio.to_thread(print), "run_in_executor"),
        (lambda: asyncio.open_connection("127.0.0.1", 1), "create_connection"),
        (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "getaddrinfo"),
        (lambda: next(asyncio.as_completed({asyncio.sleep(1)})), ""),
    ],
    ids=["thread", "connection", "process", "names", "set of coroutines"],
)
def test_what_cannot_be_had_blocks_by_name(what: Any, word: str, recwarn: pytest.WarningsRecorder) -> None:
    """Also where the code catches whatever comes: a bare except makes no outcome of it."""

    @durable_workflow
    async def reaching(context):
        await context.call("first")
        try:
            await what()
        except:
            await context.call("escalate")

    world = World(reaching)
    before = world.history
    with pytest.raises(FunctionBlocked, match=word) as caught:
        world.answer("first")
    assert "context." in str(caught.value)
    assert world.history == before


@pytest.mark.parametrize("endless", ["sleep", "task", "commands", "conditions"])
def test_an_endless_round_blocks(endless: str) -> None:
    @durable_workflow
    async def spinning(context):
        await context.call("first")
        while endless == "sleep":
            await asyncio.sleep(0)
        while endless == "task":
            await asyncio.create_task(asyncio.sleep(0))
        while endless == "commands":
            context.call("again")
            if context.now_ms < 0 or context._core.loop.is_dead:
                await context.call("inert")
        while endless == "conditions":
            await context.wait_for(lambda: True)
            await asyncio.sleep(0)

    world = World(spinning)
    with pytest.raises(FunctionBlocked):
        world.answer("first")
    assert world.instance.is_closed


def test_a_generator_that_is_left_half_way_runs_nothing() -> None:
    heard = []

    @durable_workflow
    async def leaving(context):
        async def numbers():
            try:
                for number in range(9):
                    yield await context.call("number", number)
            finally:
                heard.append("left")
                await context.call("tidy")

        async for number in numbers():
            if number:
                break
        await context.call("after")

    world = World(leaving)
    world.answer("number", 0)
    assert named(world.answer("number", 1)) == ["after"]
    assert heard == []
    world.answer("after")
    assert world.status is Status.COMPLETED
    assert "tidy" not in str(world.history)
    world.check_nothing_left()


def test_leaving_nested_code_that_catches_everything(capfd: pytest.CaptureFixture[str]) -> None:
    """In coroutines in coroutines, in a generator in the middle of its wait: nothing is left for the collector."""
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append

    async def inner(context, name):
        try:
            await context.call(name)
        except:
            await context.call("inner")
        finally:
            await asyncio.sleep(1)

    async def numbers(context):
        try:
            await inner(context, "before")
            yield 1
        except:
            await inner(context, "again")

    @durable_workflow
    async def outer(context):
        try:
            async for _ in numbers(context):
                await inner(context, "within")
        except:
            await inner(context, "outer")

    parked = parked_count()
    try:
        for answers in (), ("before",):
            world = World(outer)
            for name in answers:
                world.answer(name)
                world.fire()
            stored = list(world.stored)
            world.instance.close()
            del world.instance
            gc.collect()
            assert world.stored == stored
    finally:
        sys.unraisablehook = hook
    assert not unraisable
    assert parked_count() == parked
    assert capfd.readouterr() == ("", "")


def test_nobody_awaits_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, once, and changes nothing."""

    @durable_workflow
    async def careless(context):
        async def fails():
            raise ValueError("unheard")

        asyncio.create_task(fails())
        await context.call("work")

    world = World(careless, evict=lambda: True)
    world.answer("work")
    assert world.status is Status.COMPLETED


def test_context_variables_are_fresh() -> None:
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="none")
    variable.set("the driver's")

    @durable_workflow
    async def reading(context):
        before = variable.get()
        variable.set("mine")
        inner = await asyncio.gather(asyncio.create_task(inherits()))
        return [before, *inner, variable.get()]

    async def inherits():
        found = variable.get()
        variable.set("the task's")
        return found

    world = World(reading)
    assert world.result == ["none", "mine", "mine"]
    assert variable.get() == "the driver's"
