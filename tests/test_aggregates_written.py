"""Aggregates written out do what their methods do, and what they are told to leave alone they leave alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aggregate_cases import CASES, Sample, fold, stored

import headway as hw
from headway.basics.tracebacks import user_frames
from headway.errors import FlowError
from headway.operators.aggregates.base import Bundle
from headway.operators.aggregates.basic import Count
from headway.operators.conditions import resolve

NUMBERS = st.one_of(st.none(), st.integers(-(2**50), 2**50))
FLOATS = st.one_of(st.none(), st.sampled_from([0.1, 1e16, -1e16, -0.0, float("nan")]), st.floats(-1e300, 1e300))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "abc"]))
SAMPLES = st.lists(
    st.builds(Sample, at=st.integers(0, 40), x=FLOATS, n=NUMBERS, s=TEXTS, flag=st.booleans()), max_size=20
)
"""In no order of time, as late events come."""

QUICK = settings(max_examples=100, deadline=None)
BOTH = [Sample, hw.Json]


def bundle_for(event_type: Any) -> Bundle:
    return Bundle({name: case.make() for name, case in CASES.items()}, event_type)


BUNDLES = [bundle_for(event_type) for event_type in BOTH]


def encoded(held: Any) -> bytes:
    return msgspec.msgpack.encode(held)


def called(bundle: Bundle, event_type: Any, events: list[Any]) -> Any:
    """The accumulators as the methods alone make them."""
    held = bundle.init()
    for name, aggregate in bundle.aggregates.items():
        test = None if aggregate.where is None else resolve(aggregate.where, event_type)
        accumulator = aggregate.init()
        for event in events:
            if test is None or test(event):
                at = event["at"] if isinstance(event, dict) else event.at
                accumulator = aggregate.add(accumulator, event, at)
        setattr(held, name, accumulator)
    return held


def merged(bundle: Bundle, earlier: Any, later: Any) -> Any:
    held = bundle.init()
    for name, aggregate in bundle.aggregates.items():
        setattr(held, name, aggregate.merge(getattr(earlier, name), getattr(later, name)))
    return held


@pytest.mark.parametrize("index", range(len(BOTH)))
@QUICK
@given(events=SAMPLES, others=SAMPLES, at_ms=st.integers(41, 60))
def test_what_is_written_out_does_as_the_methods(
    index: int, events: list[Sample], others: list[Sample], at_ms: int
) -> None:
    bundle = BUNDLES[index]
    left, right = (
        [msgspec.structs.asdict(event) for event in found] if index else list(found) for found in (events, others)
    )
    earlier, later = fold(bundle, left), fold(bundle, right)
    expected = called(bundle, BOTH[index], left), called(bundle, BOTH[index], right)
    assert (encoded(earlier), encoded(later)) == (encoded(expected[0]), encoded(expected[1]))
    by_name = {name: a.result(getattr(earlier, name), at_ms) for name, a in bundle.aggregates.items()}
    assert encoded(bundle.results(earlier, at_ms)) == encoded(by_name)

    whole = encoded(merged(bundle, *expected))
    before = encoded(earlier), encoded(later)
    assert encoded(bundle.combine(earlier, later)) == whole
    assert (encoded(earlier), encoded(later)) == before
    assert encoded(bundle.absorb(stored(bundle, earlier), later)) == whole
    assert encoded(later) == before[1]
    assert encoded(bundle.merge(earlier, later)) == whole


def test_what_is_combined_shares_nothing_that_is_changed() -> None:
    bundle = BUNDLES[0]
    events = [Sample(at=at, x=at / 3, n=at, s=str(at), flag=True) for at in range(5)]
    earlier, later = fold(bundle, events[:2]), fold(bundle, events[2:])
    before = encoded(earlier), encoded(later)
    whole = bundle.combine(earlier, later)
    for other in (fold(bundle, events), later):
        whole = bundle.absorb(whole, other)
    assert (encoded(earlier), encoded(later)) == before


def test_a_subclass_with_methods_of_its_own_is_called() -> None:
    class Twice(Count):
        def add(self, accumulator: int, event: Any, time_ms: int) -> int:
            return accumulator + 2

    class Named(Count):
        """Nothing of its own: still written out."""

    bundle = Bundle({"twice": Twice(), "once": Named()}, dict)
    held = bundle.init()
    bundle.add(held, {}, 0)
    assert bundle.results(bundle.combine(held, held), 0) == {"twice": 4, "once": 2}


def test_conditions_and_functions_are_called_once_for_an_event_that_asks_for_them() -> None:
    tested: list[Any] = []
    read: list[Any] = []

    def is_dear(event: Any) -> bool:
        tested.append(event["v"])
        return bool(event["v"] > 2)

    def value(event: Any) -> int:
        read.append(event["v"])
        found: int = event["v"]
        return found

    bundle = Bundle(
        {"dear": hw.count(is_dear), "total": hw.sum(value, where=is_dear), "greatest": hw.max("v", where=is_dear)}, dict
    )
    held = bundle.init()
    assert [bundle.add(held, {"v": v}, 0) for v in (1, 3, 5)] == [False, True, True]
    assert bundle.results(held, 0) == {"dear": 2, "total": 8, "greatest": 5}
    assert (tested, read) == ([1, 3, 5], [3, 5])


def test_equal_conditions_are_tested_once() -> None:
    class Asked:
        """A wanted value that counts how often it is compared."""

        times = 0

        def __eq__(self, other: object) -> bool:
            if isinstance(other, str):
                self.times += 1
                return other == "a"
            return self is other

        __hash__ = None  # type: ignore[assignment]

    asked = Asked()
    wheres = [hw.where(s=asked), hw.where(s=asked)]
    bundle = Bundle({"one": hw.count(wheres[0]), "two": hw.sum("n", where=wheres[1])}, Sample)
    held = bundle.init()
    for text in "ab":
        bundle.add(held, Sample(at=0, s=text, n=5), 0)
    assert bundle.results(held, 0) == {"one": 1, "two": 5}
    assert asked.times == 2


def test_the_order_in_a_flow_does_not_matter_to_what_is_stored() -> None:
    aggregates = {"cents": hw.sum("n"), "best": hw.max("n"), "all": hw.count()}
    there = Bundle(aggregates, Sample)
    back = Bundle(dict(reversed(aggregates.items())), Sample)
    events = [Sample(at=at, n=at) for at in (3, 5)]
    assert back.results(stored(back, fold(there, events)), 0) == {"all": 2, "best": 5, "cents": 8}
    assert list(there.results(fold(there, events), 0)) == ["cents", "best", "all"]


@pytest.mark.parametrize(
    ("wanted", "met"),
    [("a", "a"), (("a", "b"), "ab"), ([], ""), ({"b"}, "b"), (None, ""), (["a", None], "a")],
)
def test_conditions_on_fields_are_written_out(wanted: Any, met: str) -> None:
    conditions = {"one": hw.where(s=wanted), "two": hw.where(s=wanted, flag=True)}
    for event_type, make in ((Sample, Sample), (hw.Json, dict)):
        bundle = Bundle({name: hw.count(condition) for name, condition in conditions.items()}, event_type)
        for text in "abc":
            held = bundle.init()
            events: list[Any] = [make(at=0, s=text, flag=flag) for flag in (True, False)]
            for event in events:
                bundle.add(held, event, 0)
            assert bundle.results(held, 0) == ({"one": 2, "two": 1} if text in met else {"one": 0, "two": 0})


def test_events_of_several_types_are_read_by_name() -> None:
    class Other(hw.Event):
        n: int = 7

    either: Any = Optional[Sample]
    bundle = Bundle({"total": hw.sum("n"), "flags": hw.count(flag=True)}, either)
    held = bundle.init()
    for event in (Sample(at=0, n=1, flag=True), Other(), {"n": 30}, {"flag": True}):
        bundle.add(held, event, 0)
    assert bundle.results(held, 0) == {"total": 38, "flags": 2}


@pytest.mark.parametrize("name", ["class", "two words", "", "9"])
def test_names_that_cannot_be_written_are_refused(name: str) -> None:
    with pytest.raises(FlowError, match="cannot be the name of an aggregate"):
        Bundle({name: hw.count()}, dict)


def _broken(event: Any) -> bool:
    msg = "broken"
    raise ValueError(msg)


@pytest.mark.parametrize("make", [lambda: hw.sum(_broken), lambda: hw.max("v", where=_broken)])
def test_a_traceback_shows_the_code_of_the_flow_alone(make: Callable[[], Any]) -> None:
    bundle = Bundle({"it": make()}, dict)
    with pytest.raises(ValueError, match="broken") as caught:
        bundle.add(bundle.init(), {"v": 1}, 0)
    assert "<aggregates>" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert "<aggregates>" not in user_frames(caught.value)
    assert "_broken" in user_frames(caught.value)
