"""Couriers: whatever fails, whenever it crashes, all triggers arrive, in the order of each key."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.delivery_world import OUTPUT, World

from headway.delivery import loader
from headway.delivery.requests import Request
from headway.targets.base import Answer, Limits, Outcome
from headway.targets.delivered import Delivering

LANES = st.sampled_from(["a", "a", "a", "b", "\0d", ""])
OUTCOMES = st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.RETRY, Outcome.NEVER])
STEPS = st.one_of(
    st.tuples(st.just("epoch"), st.lists(LANES, max_size=20)),
    st.tuples(st.just("lost"), st.lists(LANES, min_size=1, max_size=4)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("answer"), st.integers(0, 9), st.lists(OUTCOMES, min_size=8, max_size=8)),
    st.tuples(st.just("unheard"), st.integers(0, 9), st.lists(OUTCOMES, min_size=8, max_size=8)),
    st.tuples(st.just("wait"), st.sampled_from([1, 500, 2_000, 30_000, 5_000_000])),
    st.tuples(st.just("crash")),
)


def take_step(world: World, step: tuple[Any, ...]) -> None:
    kind, *given_ = step
    if kind == "epoch":
        world.epoch(given_[0])
    elif kind == "lost":
        world.epoch(given_[0], commits=False)
        world.crash()
    elif kind == "take":
        for _ in range(given_[0]):
            world.take()
    elif kind == "answer" and world.under_way:
        world.answer(*given_)
    elif kind == "unheard" and world.under_way:
        world.answer(*given_, is_heard=False)
        world.crash()
    elif kind == "wait":
        world.now_ms += given_[0]
    elif kind == "crash":
        world.crash()


@pytest.mark.parametrize("in_order", [False, True])
@settings(max_examples=60)
@given(
    steps=st.lists(STEPS, max_size=30),
    batch=st.integers(1, 8),
    concurrency=st.integers(1, 3),
    skips=st.booleans(),
    window=st.sampled_from([4, 1_000]),
    give_up_after_ms=st.sampled_from([None, 1, 60_000]),
)
def test_all_triggers_arrive_in_the_order_of_their_keys(
    steps: list[tuple[Any, ...]],
    batch: int,
    concurrency: int,
    skips: bool,
    window: int,
    give_up_after_ms: int | None,
    in_order: bool,
) -> None:
    delivering = Delivering(
        on_failure="skip" if skips else "block", give_up_after_ms=give_up_after_ms if skips else None
    )
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        # Small bounds, so that they are met: rows of a lane, and of a log, that are read at a time.
        patch.setattr(loader, "_LANE_ROWS", 2)
        patch.setattr(loader, "_CHUNK", 3)
        patch.setattr(loader, "WINDOW_ROWS", window)
        world = World(Path(directory), delivering, Limits(concurrency, batch), in_order=in_order)
        try:
            for step in steps:
                take_step(world, step)
            world.deliver_all()
            world.check_end()
            if not skips and not in_order:
                assert not world.dead()
        finally:
            world.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path, Delivering(), Limits(concurrency=4, batch=1), groups=1)
    yield made
    made.close()


def test_a_key_that_fails_holds_up_no_other(world: World) -> None:
    world.epoch(["a", "b", "a", "b"])
    assert world.take() and world.take() and not world.take()
    world.answer(0, [Outcome.RETRY])
    world.answer(0, [Outcome.DONE])
    assert world.take() and not world.take()
    world.answer(0, [Outcome.DONE])
    assert world.effects == {"b": [2, 4]}


def test_attempts_and_their_times_outlive_a_restart(world: World) -> None:
    world.epoch(["a"])
    for expected_ms in (1_000, 2_000, 4_000):
        assert world.take()
        world.answer(0, [Outcome.RETRY])
        world.crash()
        assert not world.take()
        assert world.courier.wake_at_ms() == world.now_ms + expected_ms
        world.now_ms += expected_ms
    world.deliver_all()
    world.check_end()


def test_a_hundred_thousand_dead_keys_cost_no_memory_and_no_search(tmp_path: Path) -> None:
    """Here some thousands: what is counted is how many rows are in memory while they all wait for their time."""
    world = World(tmp_path, Delivering(retry_first_ms=600_000), Limits(concurrency=64, batch=64), groups=1)
    try:
        world.epoch([f"key-{number}" for number in range(6_000)])
        world.courier.breaker.record = lambda took, began_ms, now_ms: None  # type: ignore[method-assign]
        while world.take():
            world.answer(0, [Outcome.RETRY] * 64)
        (window,) = world.courier.windows
        assert not window.lanes
        assert world.courier.waiting == 6_000
        assert world.courier.wake_at_ms() == world.now_ms + 600_000
        world.epoch(["fresh"])
        assert world.take()
        assert world.under_way[0][1][0].row.row.lane == "fresh"
    finally:
        world.close()


def test_a_receiver_that_wants_no_more_gets_nothing_until_somebody_says_so(world: World) -> None:
    world.epoch(["a", "b"])
    assert world.take()
    _, items = world.under_way.pop()
    world.courier.answered(items, [Answer(Outcome.NEVER, "410 Gone", stops=True)])
    assert not world.take()
    world.crash()
    assert not world.take()
    assert world.courier.wake_at_ms() is None
    assert "410 Gone" in world.told[0]
    asked = Request(action="retry", made_ms=world.now_ms, outputs={OUTPUT: {0: 2}})
    assert [counts.retried for _, counts in world.courier.carry_out(asked)] == [1]
    world.deliver_all()
    world.check_end()


def test_beyond_its_bound_an_indirect_edge_gives_up_its_oldest(tmp_path: Path) -> None:
    world = World(tmp_path, Delivering(edge="indirect", waiting_max=5), Limits(), groups=1)
    try:
        world.epoch(list("abcdefghij"))
        assert world.courier.give_way() == 5
        assert [number for number, _ in sorted(world.dead())] == [1, 2, 3, 4, 5]
        assert len(world.told) == 1
        world.epoch(["k"])
        assert world.courier.give_way() == 1
        assert len(world.told) == 1
        world.deliver_all()
        world.check_end()
    finally:
        world.close()


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_pause_that_is_asked_for_is_that_of_the_trigger_or_of_the_whole_receiver(world: World, is_busy: bool) -> None:
    world.epoch(["a", "b"])
    assert world.take()
    _, items = world.under_way.pop()
    world.courier.answered(items, [Answer(Outcome.RETRY, "later", retry_after_s=600.0, is_busy=is_busy)])
    assert world.take() is not is_busy
    assert world.courier.waiting == 2


def test_a_clock_that_was_set_back_holds_up_nothing(world: World) -> None:
    world.epoch(["a"])
    world.take()
    world.answer(0, [Outcome.RETRY])
    world.now_ms -= 365 * 86_400_000
    world.not_before.clear()
    world.courier.breaker.reset()
    assert world.take()


def test_no_more_begin_in_a_second_than_may(tmp_path: Path) -> None:
    world = World(tmp_path, Delivering(), Limits(concurrency=100, batch=1, per_second=10), groups=1)
    try:
        world.epoch([f"k{number}" for number in range(100)])
        begun = 0
        for _ in range(20):
            while world.take():
                begun += 1
                world.answer(0, [Outcome.DONE])
            wake_ms = world.courier.wake_at_ms()
            assert wake_ms is not None and wake_ms > world.now_ms
            world.now_ms += 100
        assert 10 <= begun <= 31
    finally:
        world.close()


def test_the_reason_of_a_failure_is_that_of_the_last_attempt(world: World) -> None:
    """What went wrong long ago says nothing of a trigger that waits now."""
    world.epoch(["a", "b"])
    assert world.take() and world.take()
    world.answer(0, [Outcome.RETRY])
    assert world.courier.reason
    world.answer(0, [Outcome.DONE])
    assert not world.courier.reason
