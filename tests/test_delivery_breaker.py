"""The circuit breaker: what opens it, what closes it, and that only a probe says how it stands while it is open."""

from __future__ import annotations

from pathlib import Path

from tests.delivery_world import World

from headway.delivery.breaker import Breaker, BreakerState
from headway.targets.base import Limits, Outcome
from headway.targets.delivered import Delivering


def opened(width: int = 16, pause_longest_ms: int = 600_000) -> Breaker:
    """A breaker that five failures at 0 ms have opened: it is asked again at 1,000 ms, or sooner."""
    breaker = Breaker(width, pause_longest_ms)
    for _ in range(5):
        breaker.record(False, began_ms=0, now_ms=0)
    return breaker


def test_attempts_that_began_before_it_opened_are_no_probes() -> None:
    breaker = opened()
    for now_ms in range(2_000, 32_000, 2_000):
        breaker.record(False, began_ms=0, now_ms=now_ms)
        breaker.record(True, began_ms=999, now_ms=now_ms)
    assert breaker.opens_at_ms == 1_000
    assert breaker.state(now_ms=1_000) is BreakerState.HALF_OPEN


def test_a_pause_that_was_asked_for_is_kept_though_others_were_taken_meanwhile() -> None:
    breaker = Breaker(width=16)
    breaker.leave_alone(60_000, now_ms=0)
    breaker.record(True, began_ms=0, now_ms=10)
    assert breaker.state(now_ms=59_999) is BreakerState.OPEN


def test_the_pause_doubles_with_each_probe_up_to_its_bound() -> None:
    def pauses(breaker: Breaker) -> list[int]:
        found = []
        for _ in range(8):
            began_ms = breaker.opens_at_ms
            assert began_ms is not None and breaker.has_room([], began_ms)
            breaker.record(False, began_ms, now_ms=began_ms + 30_000)
            found.append((breaker.opens_at_ms or 0) - began_ms - 30_000)
        return found

    assert pauses(opened()) == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    assert pauses(opened(pause_longest_ms=5_000)) == [2_000, 4_000, *[5_000] * 6]
    assert pauses(opened(pause_longest_ms=100)) == [100] * 8


def test_a_probe_that_is_taken_closes_it_and_the_number_at_a_time_doubles() -> None:
    breaker = opened()
    assert not breaker.has_room([], now_ms=999)
    assert breaker.has_room([0, 0], now_ms=1_000), "what began before is no probe"
    assert not breaker.has_room([0, 1_000], now_ms=1_000), "one probe at a time"
    assert not breaker.has_room([0] * 16, now_ms=1_000), "never more at a time than may be"
    breaker.record(True, began_ms=1_000, now_ms=1_005)
    assert breaker.state(now_ms=1_005) is BreakerState.CLOSED and breaker.opens_at_ms is None
    assert breaker.has_room([], now_ms=1_005) and not breaker.has_room([0], now_ms=1_005)
    breaker.record(True, began_ms=1_005, now_ms=1_006)
    assert breaker.has_room([0], now_ms=1_006) and not breaker.has_room([0, 0], now_ms=1_006)


def test_after_it_was_closed_the_pause_is_the_first_one_again() -> None:
    breaker = opened()
    breaker.record(False, began_ms=1_000, now_ms=1_000)
    breaker.record(True, began_ms=3_000, now_ms=3_000)
    for _ in range(5):
        breaker.record(False, began_ms=3_000, now_ms=4_000)
    assert breaker.opens_at_ms == 5_000


def test_a_clock_that_was_set_back_ends_the_pause() -> None:
    breaker = Breaker(width=2)
    breaker.leave_alone(60_000, now_ms=1_000_000)
    assert not breaker.has_room([], now_ms=1_000_010)
    assert breaker.has_room([], now_ms=10)
    breaker.record(True, began_ms=10, now_ms=20)
    assert breaker.state(now_ms=20) is BreakerState.CLOSED


def test_one_that_never_opens_stays_closed() -> None:
    breaker = Breaker(4, never=True)
    for _ in range(20):
        breaker.record(False, began_ms=0, now_ms=0)
    breaker.leave_alone(1_000, now_ms=0)
    assert breaker.has_room([0, 0, 0], now_ms=0)


def test_a_receiver_that_is_away_for_long_attempts_is_asked_within_a_minute(tmp_path: Path) -> None:
    """Attempts of 30 s, many at a time: the pause is that of the probes, however many others fail meanwhile."""
    world = World(tmp_path, Delivering(retry_first_ms=1), Limits(concurrency=8, batch=1), groups=1)
    try:
        world.epoch([f"key-{number}" for number in range(50)])
        while world.take():
            pass
        assert world.courier.under_way == 8
        world.now_ms += 30_000
        while world.under_way:
            world.answer(0, [Outcome.RETRY])
        opens_ms = world.courier.breaker.opens_at_ms
        assert opens_ms is not None and opens_ms - world.now_ms == 1_000
        world.now_ms = opens_ms
        assert world.take() and not world.take()
        world.answer(0, [Outcome.DONE])
        assert world.take()
    finally:
        world.close()
