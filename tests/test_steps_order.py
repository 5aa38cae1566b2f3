"""Whose turn it is in a queue, compared with a model that looks at everything that waits; rates on a clock."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import headway as hw
from headway.errors import FlowError
from headway.steps.alarms import Alarms
from headway.steps.bucket import Bucket
from headway.steps.order import Order
from headway.steps.queues import rate_per_second
from headway.steps.room import Room

WEIGHTS = {"gold": 4, "silver": 2}
KEYS = ["", "gold", "silver", "tin"]


class Model:
    """What waits as a plain list, and finishing tags as fractions, computed anew from what was served."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, str, int]] = []
        """Priority, key, number: in the order in which they came."""
        self.virtual: dict[int, Fraction] = {}
        self.tags: dict[tuple[int, str], tuple[Fraction, int]] = {}
        self.moments = 0

    def _tag(self, priority: int, key: str, since: Fraction) -> None:
        self.moments += 1
        self.tags[priority, key] = (since + Fraction(1, WEIGHTS.get(key, 1)), self.moments)

    def put(self, priority: int, key: str, number: int) -> None:
        if not any(one[0] == priority for one in self.waiting):
            self.virtual[priority] = Fraction(0)
        if not any(one[:2] == (priority, key) for one in self.waiting):
            self._tag(priority, key, self.virtual[priority])
        self.waiting.append((priority, key, number))

    def take(self) -> int:
        priority = min(one[0] for one in self.waiting)
        keys = {one[1] for one in self.waiting if one[0] == priority}
        key = min(keys, key=lambda key: self.tags[priority, key])
        found = next(one for one in self.waiting if one[:2] == (priority, key))
        self.waiting.remove(found)
        self.virtual[priority] = self.tags[priority, key][0]
        self._tag(priority, key, self.virtual[priority])
        return found[2]

    def remove(self, number: int) -> None:
        self.waiting = [one for one in self.waiting if one[2] != number]


class Orders(RuleBasedStateMachine):
    """Any story of putting, taking and removing goes as in the model."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order[int](WEIGHTS)
        self.model = Model()
        self.tickets: dict[int, int] = {}
        self.count = 0

    @rule(priority=st.integers(-1, 1), key=st.sampled_from(KEYS))
    def put(self, priority: int, key: str) -> None:
        self.count += 1
        self.tickets[self.count] = self.order.put(self.count, priority, key)
        self.model.put(priority, key, self.count)

    @precondition(lambda self: self.model.waiting)
    @rule()
    def take(self) -> None:
        assert self.order.take() == self.model.take()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.tickets)))
        waits = any(one[2] == number for one in self.model.waiting)
        assert self.order.remove(self.tickets[number]) == waits
        self.model.remove(number)

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.order) == len(self.model.waiting)


TestOrders = Orders.TestCase


def test_shares_are_those_of_the_weights() -> None:
    order = Order[str](WEIGHTS)
    for number in range(700):
        for key in ("gold", "silver", "tin"):
            order.put(key, 0, key)
        if number < 7:
            order.put("urgent", -5, "")
    assert [order.take() for _ in range(7)] == ["urgent"] * 7
    assert Counter(order.take() for _ in range(700)) == {"gold": 400, "silver": 200, "tin": 100}


def test_who_comes_again_with_each_call_gets_no_more_than_its_share() -> None:
    order = Order[str](WEIGHTS)
    for _ in range(100):
        order.put("gold", 0, "gold")
    order.put("tin", 0, "tin")
    served = Counter[str]()
    for _ in range(50):
        found = order.take()
        served[found] += 1
        if found == "tin":
            order.put("tin", 0, "tin")
    assert served == {"gold": 40, "tin": 10}


def test_coming_and_going_leaves_nothing_behind() -> None:
    order = Order[int]()
    order.put(0, 0, "stays")
    for number in range(10_000):
        order.remove(order.put(number, 0, f"key {number}"))
    [level] = order._levels.values()
    assert len(level.heads) < 200
    assert list(level.lanes) == ["stays"]


@given(
    per_second=st.sampled_from([0.5, 1.0, 3.0, 100.0, 1_500.0]),
    burst=st.integers(1, 5),
    steps=st.lists(st.integers(0, 3_000), max_size=60),
)
def test_a_rate_is_never_exceeded_and_is_used(per_second: float, burst: int, steps: list[int]) -> None:
    bucket = Bucket(per_second, burst, now_ms=0)
    begun: list[int] = []
    now_ms = 0
    for step in steps:
        now_ms += step
        while bucket.take(now_ms):
            begun.append(now_ms)
        wait_ms = bucket.wait_ms(now_ms)
        assert 0 < wait_ms <= 1_000 / per_second + 1
        now_ms += wait_ms
        assert bucket.take(now_ms), "after the wait there is one"
        begun.append(now_ms)
    for first, since_ms in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= burst + (begun[last] - since_ms) * per_second / 1_000 + 1e-6


def test_a_clock_that_goes_back_gives_nothing_twice() -> None:
    bucket = Bucket(1.0, 1, now_ms=10_000)
    assert bucket.take(10_000)
    assert not bucket.take(5_000)
    assert not bucket.take(10_000)
    assert bucket.take(11_000)


@given(st.lists(st.tuples(st.sampled_from(["take", "release", "put"]), st.integers(0, 50)), max_size=80))
def test_no_more_run_than_may(story: list[tuple[str, int]]) -> None:
    room = Room[int](hw.Queue("q", concurrency=3, rate="20/s", burst=2), 0)
    now_ms, running, begun = 0, 0, []
    for what, number in story:
        now_ms += number
        if what == "put":
            room.put(number)
        elif what == "release" and running:
            room.release()
            running -= 1
        elif what == "take":
            waited, found = room.waiting, room.take(now_ms)
            if found is not None:
                running += 1
                begun.append(now_ms)
            elif waited and running < 3:
                wait_ms: Optional[int] = room.wait_ms(now_ms)
                assert wait_ms, "it waits for the rate, and says for how long"
        assert running == room.running <= 3
    for at_ms in begun:
        assert sum(at_ms - 1_000 < other <= at_ms for other in begun) <= 22


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 100))), max_size=200))
def test_alarms(story: list[tuple[str, Optional[int]]]) -> None:
    alarms = Alarms[str]()
    model: dict[str, int] = {}
    for key, at_ms in story:
        alarms.set(key, at_ms)
        model.pop(key, None)
        if at_ms is not None:
            model[key] = at_ms
        assert alarms.next_at_ms == min(model.values(), default=None)
    due = alarms.due(50)
    assert sorted(due) == sorted(key for key, at_ms in model.items() if at_ms <= 50)
    assert [model[key] for key in due] == sorted(model[key] for key in due)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency=0: expected a whole number"),
        ({"rate": "fast"}, "is no rate: write how many in which time"),
        ({"rate": "0/s"}, "is no rate"),
        ({"burst": 3}, "says nothing without a rate"),
        ({"weights": {"gold": 0}}, "weight of 'gold'=0"),
        ({"runs_on": "moon"}, 'expected "flow" or "workers"'),
        ({"lease": "1ms"}, "expected 1s to 1d"),
    ],
)
def test_queues_that_cannot_be(options: Any, said: str) -> None:
    with pytest.raises(FlowError, match=said):
        hw.Queue("q", **options)
    with pytest.raises(FlowError, match="use letters"):
        hw.Queue("a queue")


def test_rates() -> None:
    assert [rate_per_second(text, "") for text in ("5/s", "1/ms", "30 / min", "1.5/h")] == [5, 1_000, 0.5, 1.5 / 3_600]
