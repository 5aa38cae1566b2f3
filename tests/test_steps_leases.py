"""What workers are given, for how long they have it, and what of it counts; on a clock of the test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.steps_harness import World, in_world, rest

import headway as hw
from headway.functions.history import Failure
from headway.steps.attempt import Outcome, Ran
from headway.steps.leases import LeaseBook

DONE = Outcome(b'"done"')


def group(**queue: Any) -> hw.Functions:
    flow = hw.Functions("group", queues=[hw.Queue("remote", runs_on="workers", **{"lease": "10s", **queue})])

    @flow.step(queue="remote", retry=hw.RetryPolicy(initial="1s", maximum_attempts=3))
    def work() -> str:
        raise AssertionError("it runs nowhere here")

    return flow


def failed(call: asyncio.Task[Ran]) -> str:
    ran = call.result()
    return str(ran.failure) if ran.failure else f"retry: {ran.retry and ran.retry.reason}"


def test_work_is_handed_out_up_to_the_limit_and_in_order() -> None:
    async def story(world: World) -> None:
        for number in range(5):
            world.call("work", f"k{number}", priority=0 if number else 1)
        await rest()
        assert world.hub.lease(["other", "default"], 10) == []
        leased = world.hub.lease(["other", "remote"], 10)
        assert [one.work.key for one in leased] == ["k1", "k2", "k3"]
        assert world.hub.lease(["remote"], 10) == []
        assert world.hub.complete(leased[1].lease, DONE)
        await rest()
        assert world.calls["k2"].result().value == b'"done"'
        assert [one.work.key for one in world.hub.lease(["remote"], 1)] == ["k4"]
        assert not world.hub.complete(leased[1].lease, DONE), "once"
        figures = world.hub.figures("remote")
        assert figures and (figures.waiting, figures.running) == (1, 3)
        assert world.hub.resting("remote") == 4, "nothing of it holds up the end of a run"

    in_world(group(concurrency=3), story)


def test_a_lease_ends_unless_its_worker_is_heard_of() -> None:
    async def story(world: World) -> None:
        call = world.call("work", "k")
        await rest()
        [leased] = world.hub.lease(["remote"], 1)
        assert leased.lease_ms == 10_000
        for _ in range(5):
            await world.clock.go_on(9_999)
            assert world.hub.heard(leased.lease)
        await world.clock.go_on(9_999)
        assert not call.done()
        await world.clock.go_on(1)
        assert failed(call) == "retry: WorkerLost: its worker was not heard of for 10s"
        assert not world.hub.heard(leased.lease)
        assert not world.hub.complete(leased.lease, DONE), "a late answer"
        again = world.call("work", "k", attempt=2)
        await rest()
        [second] = world.hub.lease(["remote"], 1)
        assert (second.work.key, second.work.attempt) == ("k", 2)
        assert not world.hub.complete(leased.lease, DONE)
        assert world.hub.complete(second.lease, Outcome(b'"second"'))
        await rest()
        assert again.result().value == b'"second"'

    in_world(group(), story)


def test_a_step_that_is_silent_is_given_up_though_its_worker_is_heard_of() -> None:
    async def story(world: World) -> None:
        call = world.call("work", "k", heartbeat_timeout="3s")
        await rest()
        [leased] = world.hub.lease(["remote"], 1)
        assert leased.work.heartbeat_timeout_ms == 3_000
        for done in range(3):
            await world.clock.go_on(2_000)
            assert world.hub.heard(leased.lease)
            world.hub.beaten(leased.lease, b'{"done":%d}' % done)
        for _ in range(3):
            assert world.hub.heard(leased.lease)
            await world.clock.go_on(1_000)
        assert failed(call) == "retry: TimeoutError: no heartbeat for 3s (heartbeat_timeout)"
        retry = call.result().retry
        assert retry and retry.head == '{"done":2}'
        assert not world.hub.heard(leased.lease), "so its worker hears that it is to end"

    in_world(group(), story)


def test_what_a_worker_says_is_checked_and_tried_again() -> None:
    async def story(world: World) -> None:
        outcomes = {
            "wrong": Outcome(b"7"),
            "bad": Outcome(failure=Failure("OSError", "down"), types=("OSError", "Exception")),
            "final": Outcome(failure=Failure("Declined", "no", non_retryable=True)),
            "later": Outcome(failure=Failure("Busy", "full"), after_ms=90_000),
        }
        for key in outcomes:
            world.call("work", key)
        await rest()
        for leased in world.hub.lease(["remote"], 10):
            assert world.hub.complete(leased.lease, outcomes[leased.work.key])
        await rest()
        assert "the result of step 'work': Expected `str`, got `int`" in failed(world.calls["wrong"])
        assert failed(world.calls["bad"]) == "retry: OSError: down"
        assert failed(world.calls["final"]) == "Declined: no"
        later = world.calls["later"].result().retry
        assert later and later.retry_after_s == 90

    in_world(group(), story)


def test_what_is_given_back_was_no_attempt() -> None:
    async def story(world: World) -> None:
        call = world.call("work", "k")
        await rest()
        [leased] = world.hub.lease(["remote"], 1)
        world.hub.give_back(leased.lease)
        world.hub.give_back("unknown")
        assert not world.hub.heard(leased.lease)
        [again] = world.hub.lease(["remote"], 1)
        assert again.work.attempt == 1
        assert world.hub.complete(again.lease, DONE)
        await rest()
        assert call.done()

    in_world(group(concurrency=1, rate="1/h"), story)


def test_a_cancelled_call_is_taken_from_its_worker() -> None:
    async def story(world: World) -> None:
        call, waiting = world.call("work", "k"), world.call("work", "waits")
        await rest()
        [leased] = world.hub.lease(["remote"], 1)
        world.hub.cancel("k")
        await rest()
        assert failed(call).startswith("CancelledError")
        assert not world.hub.heard(leased.lease)
        assert [one.work.key for one in world.hub.lease(["remote"], 1)] == ["waits"], "its place is free"
        assert not waiting.done()

    in_world(group(concurrency=1), story)


def test_who_waits_for_work_is_told_of_it() -> None:
    async def story(world: World) -> None:
        told: list[str] = []

        def takes_one(name: str) -> bool:
            told.append(name)
            return len(told) == 1

        unwant = world.hub.want(takes_one)
        world.call("work", "k")
        await rest()
        assert told == ["remote"]
        unwant()
        other: list[str] = []
        world.hub.want(lambda name: bool(other.append(name)))  # type: ignore[func-returns-value]
        world.call("work", "k2")
        await rest()
        assert other == ["remote"]

    in_world(group(), story)


def test_a_flow_that_is_started_again_knows_who_has_what(tmp_path: Path) -> None:
    flow = group()
    leases: dict[str, str] = {}

    async def before(world: World) -> None:
        for key in ("held", "done", "back", "waits"):
            world.call("work", key)
        await rest()
        for leased in world.hub.lease(["remote"], 3):
            leases[leased.work.key] = leased.lease
        assert world.hub.complete(leases["done"], DONE)
        world.hub.give_back(leases["back"])
        await rest()

    async def after(world: World) -> None:
        held = world.call("work", "held")
        for key in ("back", "waits"):
            world.call("work", key)
        await rest()
        assert [one.work.key for one in world.hub.lease(["remote"], 9)] == ["back", "waits"]
        await world.clock.go_on(9_000)
        assert world.hub.heard(leases["held"])
        await world.clock.go_on(9_000)
        assert world.hub.complete(leases["held"], DONE)
        await rest()
        assert held.result().value == b'"done"'
        lost = world.call("work", "held", attempt=2)
        await rest()
        assert [one.work.attempt for one in world.hub.lease(["remote"], 9)] == [2], "a lease is of one attempt"
        assert not lost.done()

    in_world(flow, before, tmp_path, 0)
    in_world(flow, after, tmp_path, 1)


def test_a_worker_that_is_gone_with_the_flow_is_noticed(tmp_path: Path) -> None:
    book = LeaseBook(tmp_path / "run", 0)
    book.note("k", 1, "lease", 1)
    book.close()

    async def story(world: World) -> None:
        call = world.call("work", "k")
        await world.clock.go_on(10_000)
        assert failed(call).startswith("retry: WorkerLost")

    in_world(group(), story, tmp_path)


def test_notes_of_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.steps.leases._COMPACT_AT", 50)
    first, second = LeaseBook(tmp_path, 0), LeaseBook(tmp_path, 1)
    for number in range(1_000):
        first.note(f"k{number}", 1, f"lease {number}", number)
        first.drop(f"k{number}", number)
    first.note("a", 1, "old", 10)
    second.note("a", 2, "new", 20)
    first.note("b", 1, "over", 30)
    second.drop("b", 40)
    first.close()
    second.close()
    path = tmp_path / "leases-00.jsonl"
    assert path.stat().st_size < 10_000 and path.stat().st_mode & 0o077 == 0
    with path.open("ab") as file:
        file.write(b'["cut o')
    book = LeaseBook(tmp_path, 2)
    assert book.former("a", 1) == ""
    book.close()
    book = LeaseBook(tmp_path, 2)
    assert (book.former("a", 2), book.former("a", 2)) == ("new", "")
    assert book.former("b", 1) == "over", "who has never had it knows nothing of its end"
    book.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["lease", "complete", "fail", "back", "cancel", "heard", "time"]), st.integers(0, 20)),
    max_size=60,
)


@settings(max_examples=60)
@given(STEPS)
def test_each_call_has_one_answer_whatever_happens(story: list[tuple[str, int]]) -> None:
    answers: dict[str, list[str]] = {}

    async def told(world: World) -> None:
        attempts = dict.fromkeys((f"k{number}" for number in range(8)), 1)
        for key in attempts:
            world.call("work", key)
        leases: list[Any] = []
        over: set[str] = set()
        await rest()
        for what, number in story:
            picked = leases[number % len(leases)] if leases else None
            if what == "lease":
                leases += world.hub.lease(["remote"], number % 3 + 1)
            elif what == "time":
                await world.clock.go_on(number * 500)
            elif what == "cancel":
                world.hub.cancel(f"k{number % 8}")
            elif picked is not None and what == "heard":
                world.hub.heard(picked.lease)
            elif picked is not None and what == "back":
                world.hub.give_back(picked.lease)
                over.add(picked.lease)
            elif picked is not None:
                outcome = Outcome(failure=Failure("E", "")) if what == "fail" else DONE
                counts = world.hub.complete(picked.lease, outcome)
                assert not (counts and picked.lease in over)
                over.add(picked.lease)
            await rest()
            room = world.hub._rooms["remote"]
            assert room.running <= 3 and room.running == len(world.hub._leases)
            for key, call in list(world.calls.items()):
                if call.done() and key in attempts:
                    ran = call.result()
                    if ran.retry is None:
                        answers.setdefault(key, []).append(str(ran.failure or ran.value))
                        del attempts[key]
                    else:
                        attempts[key] += 1
                        world.call("work", key, attempt=attempts[key])
            await rest()
            assert room.waiting + room.running == len(attempts)

    in_world(group(concurrency=3), told)
    assert all(len(found) == 1 for found in answers.values())
