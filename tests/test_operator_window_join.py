"""Window join and cogroup: the engine against the oracle, and the oracle against SQL."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.joins_harness import Left, Right, emitted, in_order, joining, number, sides, sql
from tests.operator_harness import SLOW, Logs, check

import headway as hw
from headway.operators.windows.windowers import Cumulative, Session, Sliding, Tumbling, Windower
from headway.testing import FlowTest

HOWS = st.sampled_from(["inner", "left", "right", "full"])
WINDOWERS: st.SearchStrategy[Windower] = st.one_of(
    st.sampled_from([hw.tumbling(4), hw.tumbling(1), hw.tumbling(24, offset=3), hw.session(3), hw.session(1)]),
    st.sampled_from([hw.sliding(6, every=2), hw.sliding(5, every=3), hw.sliding(4, every=4), hw.sliding(10, every=1)]),
    st.sampled_from([hw.cumulative(6, step=2), hw.cumulative(4, step=4)]),
)
MATCHING = """
    SELECT coalesce(lw.e, rw.e) - 1, coalesce(lw.s, rw.s), coalesce(lw.e, rw.e), lw.n, rw.n
    FROM (SELECT w.s, w.e, l.* FROM l JOIN w ON l.key = w.key AND l.ts >= w.s AND l.ts < w.e) lw
    {how} JOIN (SELECT w.s, w.e, r.* FROM r JOIN w ON r.key = w.key AND r.ts >= w.s AND r.ts < w.e) rw
    ON lw.key = rw.key AND lw.s = rw.s AND lw.e = rw.e"""
ALL = "(SELECT key, ts FROM l UNION SELECT key, ts FROM r)"


def windows_of(windower: Windower) -> str:
    """The windows of each key as a table `w` with a start `s` and an end `e`."""
    if isinstance(windower, Session):
        gap = windower.gap_ms
        return f"""
            m AS (SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY key ORDER BY ts) < {gap} THEN 0 ELSE 1 END AS new
                  FROM {ALL}),
            n AS (SELECT *, sum(new) OVER (PARTITION BY key ORDER BY ts) AS id FROM m),
            w AS (SELECT key, min(ts) AS s, max(ts) + {gap} AS e FROM n GROUP BY key, id)"""
    if isinstance(windower, Cumulative):
        bounds = f"""(SELECT s, s + step AS e FROM generate_series(-48, 48, {windower.size_ms}) starts(s),
                      generate_series({windower.step_ms}, {windower.size_ms}, {windower.step_ms}) steps(step))"""
    else:
        assert isinstance(windower, (Tumbling, Sliding))
        every = windower.size_ms if isinstance(windower, Tumbling) else windower.every_ms
        shift = windower.offset_ms
        bounds = f"""(SELECT s + {shift} AS s, s + {shift} + {windower.size_ms} AS e
                      FROM generate_series(-48, 48, {every}) starts(s))"""
    return f"w AS (SELECT key, s, e FROM (SELECT DISTINCT key FROM {ALL}), {bounds})"


@settings(SLOW, max_examples=12)
@given(logs=sides(), windower=WINDOWERS, how=HOWS, itself=st.booleans(), where=conditions())
def test_engine(logs: Logs, windower: Windower, how: Any, itself: bool, where: Conditions) -> None:
    check(
        joining(lambda left, right: left.window_join("join", left if itself else right, windower, how=how)), logs, where
    )


@settings(SLOW, max_examples=10)
@given(logs=sides(), windower=WINDOWERS, where=conditions())
def test_a_cogroup_on_the_engine(logs: Logs, windower: Windower, where: Conditions) -> None:
    check(joining(lambda left, right: left.cogroup("group", right, windower)), logs, where)


@settings(SLOW, max_examples=40)
@given(logs=sides(), windower=WINDOWERS, how=HOWS)
def test_it_is_the_join_of_sql(logs: Logs, windower: Windower, how: Any) -> None:
    results = emitted(joining(lambda left, right: left.window_join("join", right, windower, how=how)), logs)
    found = [(at, row["start"], row["end"], number(row["left"]), number(row["right"])) for at, row in results]
    assert in_order(found) == sql(logs, f"WITH {windows_of(windower)} {MATCHING.format(how=how)}")


@settings(SLOW, max_examples=40)
@given(logs=sides(), windower=WINDOWERS)
def test_a_cogroup_has_all_events_of_each_window(logs: Logs, windower: Windower) -> None:
    groups = emitted(joining(lambda left, right: left.cogroup("group", right, windower)), logs)
    pairs = emitted(joining(lambda left, right: left.window_join("join", right, windower, how="full")), logs)
    expected: dict[Any, tuple[set[int], set[int]]] = {}
    for _, row in pairs:
        key = (row["left"] or row["right"])["key"]
        lefts, rights = expected.setdefault((row["end"], key), (set(), set()))
        lefts |= {row["left"]["n"]} if row["left"] else set()
        rights |= {row["right"]["n"]} if row["right"] else set()
    found = {}
    for _, group in groups:
        for side in ("lefts", "rights"):
            assert group[side] == sorted(group[side], key=lambda event: (event["at"], event["n"]))
        key = (group["lefts"] + group["rights"])[0]["key"]
        found[group["end"], key] = tuple({event["n"] for event in group[side]} for side in ("lefts", "rights"))
    assert found == expected
    assert len(groups) == len(expected)


@settings(SLOW, max_examples=40)
@given(logs=sides(), windower=WINDOWERS, how=HOWS, seed=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(logs: Logs, windower: Windower, how: Any, seed: Any) -> None:
    make_flow = joining(lambda left, right: left.window_join("join", right, windower, how=how))

    def found() -> list[Any]:
        return in_order([(at, number(row["left"]), number(row["right"])) for at, row in emitted(make_flow, logs)])

    first = found()
    for partitions in logs.values():
        for rows in partitions.values():
            seed.shuffle(rows)
    assert found() == first


def test_a_session_ends_where_its_length_does() -> None:
    windower = hw.session(5, max_length=8)
    test = FlowTest(
        joining(lambda left, right: left.window_join("join", right, windower))(
            lambda _: hw.items([]), lambda _: hw.to_list([])
        )
    )
    for at in (0, 4, 7):
        test.send("lefts", Left("a", at, at))
    test.send("rights", Right("a", 8, 8))
    test.send("rights", Right("a", 2, 2))
    test.drain()
    found = [trigger["data"] for trigger in test.triggers()]
    assert sorted((row["start"], row["end"], row["left"]["n"]) for row in found) == [(0, 8, 0), (0, 8, 4), (0, 8, 7)]


def test_an_event_is_kept_once_in_however_many_windows_it_is() -> None:
    test = FlowTest(
        joining(lambda left, right: left.window_join("join", right, hw.sliding(100, every=1)))(
            lambda _: hw.items([]), lambda _: hw.to_list([])
        )
    )
    test.send("lefts", Left("a", 0, 0))
    test.advance(to=50)
    assert len(test.state("join", "a").lefts) == 1
    test.advance(to=99)
    assert test.keys("join") == []


def test_windows_by_number_of_events_are_not_common_to_two_streams() -> None:
    make_flow = joining(lambda left, right: left.window_join("join", right, hw.count_window(3)))
    with pytest.raises(hw.FlowError, match="does not say which windows two streams have in common"):
        make_flow(lambda _: hw.items([]), lambda _: hw.to_list([]))
