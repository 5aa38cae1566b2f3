"""Code that changes under running functions, histories that do not fit, and what both cost."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.functions_harness import World, named

from headway.errors import CorruptStateError, FunctionBlocked, InternalError, ReplayMismatch, UsageError
from headway.functions.declared import durable_workflow
from headway.functions.history import (
    Answered,
    Called,
    Finished,
    Fired,
    Identity,
    Patched,
    Started,
    decode,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.status import Status


@durable_workflow(name="changing")
async def original(context):
    await context.call("a", 1)
    await context.call("b", 2)
    await context.sleep("1h")
    await context.call("c", 3)


@durable_workflow(name="changing")
async def added_before(context):
    await context.call("new")
    await context.call("a", 1)


@durable_workflow(name="changing")
async def added_within(context):
    await context.call("a", 1)
    await context.call("new")
    await context.call("b", 2)


@durable_workflow(name="changing")
async def removed(context):
    await context.call("a", 1)
    await context.sleep("1h")
    await context.call("c", 3)


@durable_workflow(name="changing")
async def reordered(context):
    await context.call("b", 2)
    await context.call("a", 1)


@durable_workflow(name="changing")
async def renamed(context):
    await context.call("a", 1)
    await context.call("bb", 2)


@durable_workflow(name="changing")
async def with_other_argument(context):
    await context.call("a", 1)
    await context.call("b", 22)


@durable_workflow(name="changing")
async def ends_early(context):
    await context.call("a", 1)


@durable_workflow(name="changing")
async def fails_early(context):
    await context.call("a", 1)
    raise ValueError


@durable_workflow(name="changing")
async def sleeps_longer(context):
    await context.call("a", 1)
    await context.call("b", 2)
    await context.sleep("2h")


@durable_workflow(name="changing")
async def waits_only(context):
    await context.call("a", 1)
    await context.wait("s")


@durable_workflow(name="changing")
async def calls_more(context):
    await context.call("a", 1)
    context.call("more")
    await context.call("b", 2)


MISFITS = [
    (added_before, 'call("a", [1])', 'call("new", [])'),
    (added_within, 'call("b", [2])', 'call("new", [])'),
    (removed, 'call("b", [2])', "a timer at"),
    (reordered, 'call("a", [1])', 'call("b", [2])'),
    (renamed, 'call("b", [2])', 'call("bb", [2])'),
    (with_other_argument, 'call("b", [2])', 'call("b", [22])'),
    (ends_early, 'call("b", [2])', "to return"),
    (fails_early, 'call("b", [2])', "to fail"),
    (sleeps_longer, "a timer at 3601000", "a timer at 7201000"),
    (waits_only, 'call("b", [2])', ""),
    (calls_more, "", ""),
]


def under_way() -> World:
    world = World(original)
    world.answer("a")
    world.answer("b")
    return world


@pytest.mark.parametrize(("changed", "expected", "found"), MISFITS, ids=lambda value: getattr(value, "__name__", ""))
def test_changed_code_is_told_with_both_steps(changed: Any, expected: str, found: str) -> None:
    world = under_way()
    with pytest.raises(ReplayMismatch) as caught:
        world.again(changed)
    error = caught.value
    if changed is calls_more:
        assert error.found in ('call("more", [])', 'call("b", [2])')
    else:
        assert error.expected == expected
        assert error.found.startswith(found)
    assert expected in str(error)
    if error.found.startswith("call"):
        assert error.line.startswith("tests/test_functions_replay.py:")
        assert error.line in str(error)
    assert isinstance(error, FunctionBlocked)
    with pytest.raises(InternalError, match="is closed"):
        world.instance.take(Fired(1, 1))
    # Nothing is lost: with the code as it was it goes on, and others were never concerned.
    world.again(original)
    assert named(world.fire()) == ["c"]


def test_a_bare_except_makes_no_outcome_of_a_misfit() -> None:
    @durable_workflow(name="changing")
    async def catching(context):
        try:
            await context.call("a", 1)
            await context.call("changed")
        except:
            await context.call("escalate")

    with pytest.raises(ReplayMismatch):
        under_way().again(catching)


@durable_workflow(name="changing")
async def patched(context):
    await context.call("a", 1)
    if context.patched("new"):
        await context.call("new")
    else:
        await context.call("b", 2)
    await context.sleep("1h")
    await context.call("c", 3)


@durable_workflow(name="changing")
async def deprecated(context):
    await context.call("a", 1)
    context.deprecate_patch("new")
    await context.call("new")
    await context.sleep("1h")
    await context.call("c", 3)


@durable_workflow(name="changing")
async def cleaned_up(context):
    await context.call("a", 1)
    await context.call("new")
    await context.sleep("1h")
    await context.call("c", 3)


def test_patches() -> None:
    """On: those under way take the old way, others the new. Then deprecated, then removed."""
    old = under_way()
    old.again(patched)
    assert named(old.fire()) == ["c"]

    new = World(patched)
    assert new.answer("a") == [Patched("new"), Called(2, "step", "new")]
    new.again()
    new.again(deprecated)
    new.answer("new")
    with pytest.raises(ReplayMismatch, match="patched"):
        new.again(cleaned_up)
    new.again(deprecated)
    assert named(new.fire()) == ["c"]

    newest = World(deprecated)
    assert newest.answer("a") == [Called(2, "step", "new")]
    newest.again(cleaned_up)
    newest.answer("new")
    assert newest.open_timers


def test_a_patch_is_decided_once() -> None:
    """In a loop that was under way the old way stays the way, whether it is dropped or not."""

    @durable_workflow(name="loop")
    async def before(context):
        for _ in range(3):
            await context.call("old")

    @durable_workflow(name="loop")
    async def after(context):
        for _ in range(3):
            await context.call("new" if context.patched("x") else "old")

    world = World(before)
    world.answer("old")
    world.again(after)
    assert named(world.answer("old")) == ["old"]
    world.again()
    world.answer("old")
    assert world.status is Status.COMPLETED


def test_sets_in_two_orders_are_told_with_both_steps() -> None:
    """As two values of PYTHONHASHSEED have it."""
    order = ["x", "y"]

    @durable_workflow
    async def walking(context):
        for name in order:
            await context.call(name)

    world = World(walking)
    world.answer("x")
    order.reverse()
    with pytest.raises(ReplayMismatch) as caught:
        world.again()
    assert (caught.value.expected, caught.value.found) == ('call("x", [])', 'call("y", [])')


def test_order_within_a_round_is_free() -> None:
    """Calls of one round are found by what they are, and take the recorded numbers."""

    @durable_workflow
    async def both(context):
        results = {name: context.call(name) for name in names}
        return [await results["a"], await results["b"]]

    names = ["a", "b"]
    world = World(both)
    names.reverse()
    world.again()
    world.answer("a", 1)
    world.answer("b", 2)
    assert world.result == [1, 2]


def test_a_blocked_one_is_taken_up_after_a_fix() -> None:
    broken = True

    @durable_workflow
    async def fixing(context):
        await context.call("a")
        while broken:
            context.call("again")
        return "fixed"

    world, other = World(fixing), World(original)
    before = world.history
    with pytest.raises(FunctionBlocked, match="without waiting"):
        world.answer("a")
    assert world.history == before
    broken = False
    world.again()
    world.answer("a")
    assert world.result == "fixed"
    assert named(other.answer("a")) == ["b"]


def test_a_watchdog_ends_code_that_never_waits() -> None:
    """Nothing that it does after it was given up has an effect, also if it catches what is raised into it."""
    import ctypes

    from headway.functions.tasks import Interrupted

    spins = threading.Event()
    gave_up = threading.Event()

    @durable_workflow
    async def spinning(context):
        await context.call("a")
        try:
            spins.set()
            while not gave_up.is_set():
                pass
            while True:
                pass
        except:
            await context.call("escalate")

    world = World(spinning)
    before = world.history
    stepping = threading.get_ident()

    def watch() -> None:
        spins.wait(30)
        world.instance.interrupt()
        gave_up.set()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(stepping), ctypes.py_object(Interrupted))

    watchdog = threading.Thread(target=watch)
    watchdog.start()
    try:
        with pytest.raises(FunctionBlocked, match="waits for nothing"):
            world.answer("a")
    finally:
        watchdog.join()
    assert world.history == before


def test_100000_entries_are_linear() -> None:
    """Steps and replay: what is looked at for each entry does not grow with the history."""

    @durable_workflow
    async def long(context, count: int) -> int:
        for number in range(count):
            await context.call("step", number)
        return count

    instance = Instance(long, Identity("long", "1"))
    history = instance.take(Started(0, b"[50000]"))
    for number in range(1, 50_001):
        entries = instance.take(Answered(number, number))
        assert len(entries) == 2
        history += entries
    assert (len(history), history[-1]) == (100_002, Finished(b"50000"))
    again = Instance(long, Identity("long", "1"))
    again.restore(history)
    assert again.outcome == Finished(b"50000")
    assert len(again._core.calls) == len(again._core.timers) == len(again._core.loop.open_tasks) == 0


@pytest.mark.parametrize("count", [3])
def test_histories_that_are_none(count: int) -> None:
    instance = Instance(original, Identity("changing", "1"))
    with pytest.raises(UsageError, match="begins with Called"):
        instance.restore([Called(1, "step", "a")])
    instance = Instance(original, Identity("changing", "1"))
    with pytest.raises(FunctionBlocked, match="nothing waits for"):
        instance.restore([Started(0), Called(1, "step", "a", b"[1]"), Answered(0, count)])
    for data in (b"", b"\x02abc", b"\x01\xff", encode(Started(0))[:-1]):
        with pytest.raises(CorruptStateError):
            decode(data)
