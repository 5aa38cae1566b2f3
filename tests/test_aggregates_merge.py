"""What holds for every aggregate: merging is adding, storage changes nothing, results are of the declared type."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aggregate_cases import CASES, Sample, fold, stored

import headway as hw
from headway.operators.aggregates.base import Bundle
from headway.results import Ranked

FLOATS = st.one_of(
    st.none(),
    st.sampled_from([0.1, 0.2, 1e16, -1e16, 1.0, 1e-9, 100.0, -0.0]),
    st.floats(-1e300, 1e300),
)
SAMPLES = st.lists(
    st.builds(
        Sample,
        at=st.integers(0, 40),
        x=FLOATS,
        n=st.one_of(st.none(), st.integers(-5, 5), st.integers(-(2**50), 2**50)),
        s=st.one_of(st.none(), st.sampled_from(["", "a", "b", "\x00", "abc", "é"])),
        flag=st.booleans(),
    ),
    max_size=30,
).map(lambda events: sorted(events, key=lambda event: event.at))

each_case = pytest.mark.parametrize("name", CASES)
QUICK = settings(max_examples=100, deadline=None)


def bound(*names: str, event_type: Any = Sample) -> Bundle:
    return Bundle({name: CASES[name].make() for name in names or CASES}, event_type)


EVERY = bound()
UNTYPED = bound(event_type=hw.Json)


def results(bundle: Bundle, accumulators: Any, events: list[Sample], later_ms: int = 0) -> dict[str, Any]:
    return bundle.results(accumulators, max((event.at for event in events), default=0) + later_ms)


@QUICK
@given(events=SAMPLES, cuts=st.lists(st.integers(0, 30), max_size=3), later_ms=st.integers(0, 15))
def test_merging_is_adding(events: list[Sample], cuts: list[int], later_ms: int) -> None:
    added = results(EVERY, fold(EVERY, events), events, later_ms)
    borders = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    parts = [fold(EVERY, events[start:end]) for start, end in pairwise(borders)]
    from_left = stored(EVERY, parts[0])
    for part in parts[1:]:
        from_left = EVERY.merge(from_left, stored(EVERY, part))
    from_right = parts[-1]
    for part in parts[-2::-1]:
        from_right = EVERY.merge(part, from_right)
    for merged in (from_left, from_right):
        found = results(EVERY, merged, events, later_ms)
        for name, case in CASES.items():
            assert case.agree(found[name], added[name]), f"{name}: {found[name]!r} merged, {added[name]!r} added"


@QUICK
@given(events=SAMPLES, every=st.integers(1, 4))
def test_storage_changes_nothing(events: list[Sample], every: int) -> None:
    kept = fold(EVERY, events)
    again = fold(EVERY, events, store=lambda number: number % every == 0)
    expected = results(EVERY, kept, events)
    assert results(EVERY, again, events) == expected
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(kept)
    assert results(EVERY, stored(EVERY, kept), events) == expected


@QUICK
@given(events=SAMPLES)
def test_results_are_of_the_declared_type_and_leave_the_accumulator_alone(events: list[Sample]) -> None:
    accumulators = fold(EVERY, events)
    before = msgspec.msgpack.encode(accumulators)
    every_result = results(EVERY, accumulators, events)
    for name, result_type in EVERY.fields:
        found = every_result[name]
        arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=result_type)
        assert (name, arrived, type(arrived)) == (name, found, type(found))
        if isinstance(found, list):
            found.clear()
    assert msgspec.msgpack.encode(accumulators) == before


@QUICK
@given(events=SAMPLES)
def test_untyped_events_give_the_same(events: list[Sample]) -> None:
    objects = [
        {field: value for field, value in msgspec.structs.asdict(e).items() if value is not None} for e in events
    ]
    expected = results(EVERY, fold(EVERY, events), events)
    assert _as_objects(results(UNTYPED, fold(UNTYPED, objects), events)) == _as_objects(expected)


def _as_objects(value: Any) -> Any:
    def strip(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: strip(inner) for key, inner in part.items() if inner is not None}
        return [strip(inner) for inner in part] if isinstance(part, list) else part

    return strip(msgspec.to_builtins(value))


@each_case
def test_none_is_skipped(name: str) -> None:
    if "event" in name or "count" in name or "rate" in name or name in ("aggregate", "heavy_hitters_any"):
        return
    bundle = bound(name)
    nothing = bundle.results(bundle.init(), 5)
    assert bundle.results(fold(bundle, [Sample(at=3), Sample(at=4, flag=True)]), 5) == nothing


@each_case
def test_late_events_may_be_added_after_later_ones(name: str) -> None:
    """Windows with allowed lateness do so; but for lists and ties, the order does not matter."""
    if name in ("collect", "collect_events", "approx_distinct", "heavy_hitters", "heavy_hitters_any", "distinct_limit"):
        return
    events = [Sample(at=at, x=at * 0.1, n=at * 7 % 5, s=str(at), flag=at % 3 == 0) for at in range(1, 25)]
    late = [*events[3:10], *events[:3], *events[12:], *events[10:12]]
    bundle = bound(name)
    expected, found = (results(bundle, fold(bundle, order), events)[name] for order in (events, late))
    if name == "top_k_by":
        assert [entry.by for entry in found] == [entry.by for entry in expected]
    else:
        assert CASES[name].agree(found, expected), f"{found!r} is not {expected!r}"


@each_case
def test_each_is_as_in_a_bundle_of_many(name: str) -> None:
    events = [Sample(at=at, x=at / 7, n=at, s=str(at % 3), flag=at % 2 == 0) for at in range(20)]
    single = bound(name)
    expected = results(EVERY, fold(EVERY, events), events)[name]
    assert results(single, fold(single, events), events) == {name: expected}


def test_at_one_time_the_order_of_coming_decides() -> None:
    bundle = Bundle({"first": hw.first("s"), "last": hw.last("s"), "best": hw.top_k("s", 1, by="n")}, Sample)
    events = [Sample(at=5, s=text, n=1) for text in "abc"]
    expected = {"first": "a", "last": "c", "best": [Ranked(value="a", by=1)]}
    assert bundle.results(fold(bundle, events), 5) == expected
    assert bundle.results(bundle.merge(fold(bundle, events[:2]), fold(bundle, events[2:])), 5) == expected


def test_the_type_of_a_result_follows_the_field() -> None:
    class Typed(hw.Event):
        n: int
        maybe: Optional[float] = None

    def doubled(event: Typed) -> int:
        return event.n * 2

    fields = dict(
        Bundle(
            {
                "least": hw.min("n"),
                "last": hw.last("maybe"),
                "event": hw.first(),
                "total": hw.sum("n"),
                "floats": hw.sum("maybe"),
                "doubled": hw.sum(doubled),
                "all": hw.collect("n"),
                "mean": hw.mean("n"),
                "best": hw.top_k("n", 2, by="maybe"),
            },
            Typed,
        ).fields
    )
    assert fields == {
        "least": Optional[int],
        "last": Optional[float],
        "event": Optional[Typed],
        "total": int,
        "floats": float,
        "doubled": int,
        "all": list[int],
        "mean": Optional[float],
        "best": list[Ranked[int, float]],
    }
