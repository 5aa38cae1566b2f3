"""Interval join: the engine against the oracle, and the oracle against SQL."""

from __future__ import annotations

from random import Random
from typing import Any, Optional

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.joins_harness import Declare, Left, Right, emitted, in_order, joining, number, numbered, sides, sql
from tests.operator_harness import SLOW, Logs, check

import headway as hw
from headway.graph import Port
from headway.operators.joins.interval import IntervalJoin
from headway.results import Joined
from headway.testing import FlowTest

HOWS = ["inner", "left", "right", "full"]
INTERVALS = st.sampled_from([(-3, 5), (0, 0), (0, 4), (-4, 0), (2, 6), (-6, -2), (-1, 1), (-24, 24), (3, 3)])


def interval(lower: int, upper: int, how: Any, **options: Any) -> Declare:
    return lambda left, right: left.interval_join("join", right, lower=lower, upper=upper, how=how, **options)


def by_content(results: list[tuple[int, Any]]) -> list[Any]:
    """Results as a multiset of (time, left, right)."""
    return in_order([(time, number(pair["left"]), number(pair["right"])) for time, pair in results])


@settings(SLOW, max_examples=15)
@given(logs=sides(), bounds=INTERVALS, how=st.sampled_from(HOWS), itself=st.booleans(), where=conditions())
def test_engine(logs: Logs, bounds: tuple[int, int], how: str, itself: bool, where: Conditions) -> None:
    declare = interval(*bounds, how)
    check(joining(lambda left, right: declare(left, left if itself else right)), logs, where)


@settings(SLOW, max_examples=100)
@given(logs=sides(), bounds=INTERVALS, how=st.sampled_from(HOWS), exclusive=st.tuples(st.booleans(), st.booleans()))
def test_it_is_the_join_of_sql(logs: Logs, bounds: tuple[int, int], how: str, exclusive: tuple[bool, bool]) -> None:
    lower, upper = bounds
    if upper - lower < sum(exclusive):
        exclusive = (False, False)
    declare = interval(lower, upper, how, lower_exclusive=exclusive[0], upper_exclusive=exclusive[1])
    found = by_content(emitted(joining(declare), logs))
    assert found == sql(logs, join_sql(bounds, how, exclusive))


def join_sql(bounds: tuple[int, int], how: str, exclusive: tuple[bool, bool] = (False, False)) -> str:
    """The join as SQL: time, left and right."""
    lower, upper = bounds
    after, before = ">" if exclusive[0] else ">=", "<" if exclusive[1] else "<="
    last, first = upper - exclusive[1], lower + exclusive[0]
    return f"""
        SELECT CASE WHEN r.n IS NULL THEN l.ts + greatest({last}, 0)
                    WHEN l.n IS NULL THEN r.ts - least({first}, 0)
                    ELSE greatest(l.ts, r.ts) END, l.n, r.n
        FROM l {how} JOIN r ON l.key = r.key AND r.ts {after} l.ts + {lower} AND r.ts {before} l.ts + {upper}"""


@pytest.mark.parametrize("bounds", [(-300, 200), (0, 400), (-400, 0), (100, 300), (-150, -50)])
@pytest.mark.parametrize("how", HOWS)
def test_of_many_events_of_one_key_none_is_dropped_too_early(bounds: tuple[int, int], how: str) -> None:
    rng = Random(f"{bounds}{how}")

    def side() -> dict[str, list[dict[str, Any]]]:
        burst = [rng.randint(0, 1_000) for _ in range(150)] + [rng.randint(2_000, 2_050) for _ in range(60)]
        return numbered([{"key": "a", "at": at, "gone": False} for at in sorted(burst)])

    logs = {"lefts": side(), "rights": side()}
    found = by_content(emitted(joining(interval(*bounds, how)), logs))
    assert found == sql(logs, join_sql(bounds, how))


@settings(SLOW, max_examples=60)
@given(logs=sides(), seed=st.randoms(use_true_random=False), how=st.sampled_from(HOWS))
def test_the_order_of_arrival_does_not_matter(logs: Logs, seed: Any, how: str) -> None:
    make_flow = joining(interval(-3, 5, how))
    first = emitted(make_flow, logs)
    for partitions in logs.values():
        for rows in partitions.values():
            seed.shuffle(rows)
    second = emitted(make_flow, logs)
    assert by_content(first) == by_content(second)


@settings(SLOW, max_examples=40)
@given(logs=sides(), bounds=INTERVALS, how=st.sampled_from(HOWS))
@example(logs={"lefts": {"0": [{"key": "a", "at": 1, "n": 0, "gone": False}]}, "rights": {}}, bounds=(0, 0), how="full")
def test_a_stream_joins_itself(logs: Logs, bounds: tuple[int, int], how: str) -> None:
    both = {"lefts": logs["lefts"], "rights": logs["lefts"]}
    itself = joining(lambda left, _: interval(*bounds, how)(left, left))
    of_two = joining(interval(*bounds, how), types=(Left, Left))
    assert by_content(emitted(itself, logs)) == by_content(emitted(of_two, both))


def test_only_what_may_still_find_a_partner_is_kept() -> None:
    test = FlowTest(joining(interval(-10, 100, "inner"))(lambda _: hw.items([]), lambda _: hw.to_list([])))
    for at in range(0, 1000, 10):
        test.send("lefts", {"key": "a", "at": at, "n": at})
        test.send("rights", {"key": "a", "at": at, "n": at})
    state = test.state("join", "a")
    assert (len(state.lefts), len(state.rights)) == (11, 2)


def test_of_a_key_with_many_events_little_more_is_kept() -> None:
    test = FlowTest(joining(interval(-100, 700, "inner"))(lambda _: hw.items([]), lambda _: hw.to_list([])))
    for at in range(3_000):
        test.send("lefts", {"key": "a", "at": at, "n": at})
        test.send("rights", {"key": "b", "at": at, "n": at})
        if at % 100 == 99 and at > 1_000:
            assert 700 <= len(test.state("join", "a").lefts) <= 701 * 8 // 7 + 1
            assert 100 <= len(test.state("join", "b").rights) <= 101 * 8 // 7 + 1


def test_of_rows_whose_interval_lies_in_the_past_nothing_is_kept() -> None:
    test = FlowTest(joining(interval(-10, -5, "left"))(lambda _: hw.items([]), lambda _: hw.to_list([])))
    test.send("lefts", Left("a", 100, 1))
    test.send("rights", Right("b", 95, 2))
    test.advance(to=100)
    assert [trigger["time"] for trigger in test.triggers()] == ["1970-01-01T00:00:00.100Z"]
    assert test.keys("join") == ["b"]


def test_select_makes_what_is_emitted() -> None:
    def names(left: Left, right: Right) -> list[int]:
        return [left.n, right.n]

    for options in ({"select": names}, {"select": lambda left, right: [left.n, right.n], "into": list[int]}):
        flow = joining(interval(0, 5, "inner", **options))(lambda _: hw.items([]), lambda _: hw.to_list([]))
        assert flow.graph.types[Port("join")] == list[int]
        test = FlowTest(flow)
        test.send("lefts", Left("a", 1, 1))
        test.send("rights", Right("a", 6, 2))
        test.drain()
        assert [trigger["data"] for trigger in test.triggers()] == [[1, 2]]


def test_the_sides_that_may_lack_are_optional_in_the_type() -> None:
    by_how = {how: IntervalJoin(lower=0, upper=1, how=how).bind(Left, right=Right).output_type for how in HOWS}  # type: ignore[arg-type]
    assert by_how == {
        "inner": Joined[Left, Right],
        "left": Joined[Left, Optional[Right]],
        "right": Joined[Optional[Left], Right],
        "full": Joined[Optional[Left], Optional[Right]],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower": 5, "upper": 4}, "lower=5, upper=4: no time is in this interval"),
        ({"lower": "1s", "upper": "1s", "lower_exclusive": True}, "no time is in this interval"),
        ({"lower": "-5 parsecs", "upper": 4}, "lower='-5 parsecs' is not a distance in time"),
        ({"lower": 0, "upper": True}, "upper=True is not a distance in time"),
        ({"lower": 0, "upper": 1, "how": "outer"}, "how='outer' is not a kind of this join"),
        ({"lower": 0, "upper": 1, "select": "left"}, "select='left' is not a function"),
        ({"lower": 0, "upper": 1, "into": int}, "is the type of what select= makes"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    make_flow = joining(lambda left, right: left.interval_join("join", right, **options))
    with pytest.raises(hw.FlowError, match=r"test_operator_interval_join\.py") as raised:
        make_flow(lambda _: hw.items([]), lambda _: hw.to_list([]))
    assert message in str(raised.value)


def test_the_other_side_needs_a_key() -> None:
    flow = hw.Flow("joins")
    source = flow.source("lefts", Left, hw.items([]), time="at")
    with pytest.raises(hw.FlowError, match="the other side must be a stream with the same key"):
        source.key_by("key").interval_join("join", source, lower=0, upper=1)  # type: ignore[call-overload]
