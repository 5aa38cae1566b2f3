"""An instance that is left is freed at once: none waits for the collector, which looks rarely in a large process."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from headway.functions.declared import DurableFunction, durable_workflow
from headway.functions.history import Answered, CancelAsked, Fired, Happening, Identity, Signalled, Started, UpdateAsked
from headway.functions.instance import Instance


@durable_workflow
async def sleeping(context: Any) -> None:
    await context.sleep("30d")


@durable_workflow
async def calling(context: Any) -> None:
    await context.gather(context.call("a"), context.call("b"), context.sleep("1h"))


@durable_workflow
async def waiting(context: Any) -> None:
    context.on_update("add", lambda value: value)
    context.on_query("what", lambda: 7)
    await context.gather(context.wait("go", timeout="1h"), context.wait_for(lambda: False, timeout="2h"))


@durable_workflow
async def stubborn(context: Any) -> None:
    try:
        await context.call("a")
    except:
        await context.call("b")


@durable_workflow
async def failing(context: Any) -> None:
    await context.call("a")
    raise ValueError


@pytest.fixture(autouse=True)
def collector_is_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("function", "happenings"),
    [
        (sleeping, []),
        (sleeping, [Fired(9, 1)]),
        (sleeping, [CancelAsked(9, "no")]),
        (calling, []),
        (calling, [Answered(9, 2), Answered(9, 1)]),
        (waiting, [Signalled(9, "go", b"1"), UpdateAsked(9, "u", "add", b"1")]),
        (stubborn, []),
        (failing, [Answered(9, 1)]),
    ],
)
def test_nothing_is_left_of_it(function: DurableFunction[Any], happenings: list[Happening]) -> None:
    instance = Instance(function, Identity(function.name, "1"))
    for happening in [Started(1), *happenings]:
        assert instance.take(happening)
    held = weakref.ref(instance._core), weakref.ref(instance._run)
    instance.close()
    del instance
    assert [one() for one in held] == [None, None]
