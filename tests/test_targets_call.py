"""Functions as targets: what they are given, what they say, and what they do that they should not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from tests.targets_harness import deliver, delivery_of, outcomes, with_target

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Outcome, Target
from headway.testing import check_target

DONE, RETRY, NEVER = Outcome.DONE, Outcome.RETRY, Outcome.NEVER


class Abandoned(hw.Event):
    number: int


def test_what_a_function_is_given() -> None:
    found: list[hw.Trigger[Abandoned]] = []
    target = hw.call(found.append)
    target.takes("cart.abandoned", Abandoned)
    delivery = delivery_of(7, key="a")
    assert outcomes(deliver(target, [delivery])) == [DONE]
    [trigger] = found
    assert trigger.value == Abandoned(7)
    assert (trigger.id, trigger.type, trigger.key) == (delivery.id, "cart.abandoned", "a")
    assert (trigger.time_ms, trigger.source, trigger.attempt) == (delivery.time_ms, "/headway/shop", 1)


def raising(error: BaseException) -> Any:
    def function(trigger: Any) -> None:
        raise error

    return function


def awaiting(error: BaseException) -> Any:
    async def function(trigger: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return function


@pytest.mark.parametrize("kind", [raising, awaiting])
@pytest.mark.parametrize(
    ("error", "outcome", "reason", "after_s"),
    [
        (ValueError("no"), RETRY, "ValueError: no", None),
        (hw.NeverDeliver("no such customer"), NEVER, "no such customer", None),
        (hw.RetryLater("busy", after="5m"), RETRY, "busy", 300.0),
        (hw.RetryLater(), RETRY, "asked for later", None),
        (SystemExit(3), RETRY, "RuntimeError: SystemExit: 3", None),
        (KeyboardInterrupt(), RETRY, "RuntimeError: KeyboardInterrupt", None),
        (StopIteration(), RETRY, "StopIteration", None),
        (asyncio.CancelledError(), RETRY, "RuntimeError", None),
        (GeneratorExit(), RETRY, "GeneratorExit", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_it_raises(kind: Any, error: BaseException, outcome: Outcome, reason: str, after_s: Any) -> None:
    """And the next trigger is taken all the same."""
    function, later = kind(error), [delivery_of(2)]

    async def both(trigger: Any) -> None:
        if trigger.value["number"] == 1:
            await function(trigger)

    chosen = both if kind is awaiting else lambda trigger: function(trigger) if trigger.value["number"] == 1 else None
    first, second = deliver(hw.call(chosen), [delivery_of(1)], later)
    assert (first.outcome, first.retry_after_s) == (outcome, after_s) and reason in first.reason
    assert second.outcome is DONE


def test_several_at_once() -> None:
    def sorted_out(triggers: list[hw.Trigger[Any]]) -> list[Any]:
        return [hw.NeverDeliver("odd") if trigger.value["number"] % 2 else None for trigger in triggers]

    batch = [delivery_of(number) for number in range(4)]
    assert outcomes(deliver(hw.call(sorted_out, batch=10), batch)) == [DONE, NEVER, DONE, NEVER]
    assert outcomes(deliver(hw.call(lambda triggers: None, batch=10), batch)) == [DONE] * 4
    assert outcomes(deliver(hw.call(raising(hw.NeverDeliver("none")), batch=10), batch)) == [NEVER] * 4
    for wrong in ([None], "done", [1, 2, 3, 4], True):
        answers = deliver(hw.call(lambda triggers, wrong=wrong: wrong, batch=10), batch)
        assert outcomes(answers) == [RETRY] * 4 and "expected None, or a list of 4" in answers[0].reason


def test_a_value_of_an_earlier_flow() -> None:
    """What was stored before the class changed is refused by itself, and can be redriven."""
    target = hw.call(lambda triggers: None, batch=10)
    target.takes("cart.abandoned", Abandoned)
    answers = deliver(target, [delivery_of(1), delivery_of(2, {"count": 2})])
    assert outcomes(answers) == [DONE, NEVER]
    assert "is no Abandoned" in answers[1].reason and "number" in answers[1].reason


def test_a_function_that_never_returns_keeps_its_place() -> None:
    """There are never more threads than were asked for, and a process that ends does not wait for them."""
    script = """
import asyncio, threading
import headway as hw
from tests.targets_harness import delivery_of
begun = threading.Semaphore(0)
def stuck(trigger):
    begun.release()
    threading.Event().wait()
async def main():
    target = hw.call(stuck, concurrency=2)
    await target.open()
    for number in range(5):
        task = asyncio.ensure_future(target.deliver([delivery_of(number)]))
        if number < 2:
            await asyncio.get_running_loop().run_in_executor(None, begun.acquire)
        else:
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
    print(sum(thread.name.startswith("call") for thread in threading.enumerate()))
    await target.close()
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.stdout, ran.returncode) == ("2\n", 0), ran.stderr


def test_an_async_function_that_refuses_to_end() -> None:
    """Who is cancelled does not wait for it."""
    go_on = asyncio.Event()

    async def stubborn(trigger: Any) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    async def cancelled(opened: Target) -> None:
        task = asyncio.ensure_future(opened.deliver([delivery_of(1)]))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    with_target(hw.call(stubborn), cancelled)


def test_kinds_of_functions() -> None:
    class Callee:
        async def __call__(self, trigger: Any) -> None:
            assert threading.current_thread() is threading.main_thread()

    class Other:
        def method(self, trigger: Any) -> None:
            assert threading.current_thread() is not threading.main_thread()

    async def later(extra: int, trigger: Any) -> None:
        assert threading.current_thread() is threading.main_thread()

    async def inner() -> None:
        raise hw.NeverDeliver

    for function, outcome in (
        (Callee(), DONE),
        (Other().method, DONE),
        (partial(later, 1), DONE),
        (lambda trigger: inner(), NEVER),
    ):
        assert outcomes(deliver(hw.call(function), [delivery_of(1)])) == [outcome]
    assert hw.call(partial(later, 1)).name.endswith("test_kinds_of_functions.<locals>.later")


def test_what_cannot_be() -> None:
    for wrong in (1, "print", Abandoned):
        with pytest.raises(UsageError, match="needs a function of one trigger"):
            hw.call(wrong)  # type: ignore[arg-type]
    target = hw.call(print)
    target.takes("a", Abandoned)
    with pytest.raises(UsageError, match="values of two types, Abandoned and Json"):
        target.takes("a", hw.Json)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("is_async", [False, True])
def test_the_contract(batch: int, is_async: bool) -> None:
    ids: list[str] = []

    def take(given: Any) -> None:
        ids.extend(trigger.id for trigger in (given if isinstance(given, list) else [given]))

    async def take_later(given: Any) -> None:
        await asyncio.sleep(0)
        take(given)

    check_target(lambda: hw.call(take_later if is_async else take, batch=batch), received=lambda: ids)


class Forgetful(Target):
    """Wrong in the way that a test asks for."""

    name = "forgetful"
    fault = ""
    token = ""

    async def deliver(self, batch: Sequence[Any]) -> Sequence[Any]:
        if self.fault == "short":
            return []
        if self.fault == "ends the run":
            msg = "there is no token"
            raise UsageError(msg)
        if self.fault == "task":
            self.kept = asyncio.ensure_future(asyncio.Event().wait())
        return [hw.DONE] * len(batch)


def faulty(fault: str) -> Target:
    target = Forgetful()
    target.fault = fault
    target.token = "swordfish" if fault == "token" else ""
    return target


@pytest.mark.parametrize(
    ("fault", "options", "said"),
    [
        ("short", {}, "1 triggers got 0 answers"),
        ("task", {}, "leaves tasks behind"),
        ("", {"received": list}, "are missing"),
        ("token", {"secrets": ["swordfish"]}, "a secret shows"),
        ("", {"make_unreachable": Forgetful}, "nobody has taken the trigger"),
        ("", {"make_unreachable": lambda: faulty("ends the run")}, "raises UsageError, which ends the run"),
    ],
)
def test_the_suite_finds(fault: str, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.testing.targets._ENDING_S", 0.01)
    with pytest.raises(AssertionError, match=said):
        check_target(lambda: faulty(fault), **options)


def test_the_suite_finds_what_is_there_twice() -> None:
    ids: list[str] = []

    class Twice(Forgetful):
        guarantee = hw.Guarantee.EXACT
        in_order = True

        async def deliver(self, batch: Sequence[Any]) -> Sequence[Any]:
            ids.extend(delivery.id for delivery in batch)
            return await super().deliver(batch)

    with pytest.raises(AssertionError, match="triggers are there twice"):
        check_target(Twice, received=lambda: ids)
