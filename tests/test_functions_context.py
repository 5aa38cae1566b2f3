"""What the context of a durable function gives, with the function dropped before each happening or never."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import msgspec
import pytest
from tests.functions_harness import Evict, World, evictions, failure, named

from headway.errors import UsageError
from headway.functions.declared import durable_workflow
from headway.functions.failures import StepError
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    Cancelled,
    Continued,
    Failure,
    Fired,
    Identity,
    Parent,
    Signalled,
    Started,
    Terminated,
    TimerCancelled,
    UpdateAnswered,
    UpdateAsked,
    encode,
)
from headway.functions.instance import Instance
from headway.functions.options import CallOptions, RetryPolicy
from headway.functions.status import Cancellation, Status
from headway.functions.tokens import read_token

YEAR_MS = 365 * 86_400_000


class Payment(msgspec.Struct):
    cents: int


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
        return [info.name, info.id, info.run, info.attempt, info.started_at_ms, str(parent.identity), info.attributes]

    parent = Parent(Identity("p", "1"), 4)
    world = World(asking, evict=evict, parent=parent, attempt=2, attributes={"city": "Wien"})
    world.signal("go")
    assert world.result == ["f", "1", 0, 2, 1_000, "p/1#0", {"city": "Wien"}]


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
