"""Session windows: the engine against the oracle, the oracle against SQL and plain Python."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check
from tests.windows_harness import Row, bounds, events, logs_of, rows, sql, window_flow

import headway as hw

GAPS = st.sampled_from([1, 3, 8])
EARLY: list[Any] = [None, 2, 5, hw.every(1), hw.every(2)]


@settings(SLOW, max_examples=8)
@given(
    found=events(),
    gap=GAPS,
    max_length=st.sampled_from([None, 1, 10]),
    early=st.sampled_from(EARLY),
    where=conditions(),
)
def test_the_engine_does_as_the_oracle(
    found: list[Row], gap: int, max_length: Any, early: Any, where: Conditions
) -> None:
    check(window_flow(hw.session(gap, max_length=max_length), early=early), logs_of(found), where)


@settings(SLOW, max_examples=120)
@given(found=events(), gap=GAPS)
def test_the_results_are_those_of_sql(found: list[Row], gap: int) -> None:
    query = f"""
        with marked as (
            select *, coalesce(t - lag(t) over (partition by key order by t) >= {gap}, true)::int as begins from events
        ), numbered as (
            select *, sum(begins) over (partition by key order by t rows unbounded preceding) as session from marked
        )
        select key, min(t), max(t) + {gap}, count(*), sum(value)::bigint from numbered
        group by key, session order by 1, 2
    """
    assert bounds(rows(window_flow(hw.session(gap)), found)) == sql(query, found)


@settings(SLOW, max_examples=100)
@given(found=events(), gap=GAPS, max_length=st.integers(1, 25))
def test_sessions_end_when_they_are_too_long(found: list[Row], gap: int, max_length: int) -> None:
    expected = []
    for key in "ab":
        sessions: list[list[int]] = []
        for at in sorted(row["at"] for row in found if row["key"] == key):
            if sessions and at - sessions[-1][-1] < gap and at - sessions[-1][0] < max_length:
                sessions[-1].append(at)
            else:
                sessions.append([at])
        expected += [(key, s[0], min(s[-1] + gap, s[0] + max_length), s) for s in sessions]
    results = rows(window_flow(hw.session(gap, max_length=max_length)), found)
    assert sorted((r["user"], r["start"], r["end"], r["times"]) for r in results) == expected


@settings(SLOW, max_examples=60)
@given(found=events(), gap=GAPS, early=st.sampled_from(EARLY[1:]))
def test_early_results_are_what_has_come_so_far(found: list[Row], gap: int, early: Any) -> None:
    results = rows(window_flow(hw.session(gap), early=early), found)
    sessions: dict[tuple[str, int], list[Row]] = {}
    for row in results:
        sessions.setdefault((row["user"], row["start"]), []).append(row)
    plain = rows(window_flow(hw.session(gap)), found)
    assert [(r["user"], r["start"], r["end"], r["times"]) for r in results if r["final"]] == [
        (r["user"], r["start"], r["end"], r["times"]) for r in plain
    ]
    for revisions in sessions.values():
        ordered = sorted(revisions, key=lambda row: row["revision"])
        assert [row["revision"] for row in ordered] == list(range(len(ordered)))
        assert [row["final"] for row in ordered] == [False] * (len(ordered) - 1) + [True]
        last = ordered[-1]["times"]
        assert [r["end"] for r in ordered] == [r["times"][-1] + gap for r in ordered]
        assert [r["times"] for r in ordered] == [last[: r["events"]] for r in ordered]
        assert [r["events"] for r in ordered[:-1]] == early_counts(last, gap, early)


def early_counts(times: list[int], gap: int, early: Any) -> list[int]:
    """How many events each early result of one session has."""
    end = times[-1] + gap
    if isinstance(early, int):
        counts = [sum(at <= moment for at in times) for moment in range(times[0] + early, end - 1, early)]
        return [n for number, n in enumerate(counts) if n > (counts[number - 1] if number else 0)]
    counts = []
    since = 0
    for number, _at in enumerate(times, 1):
        since += 1
        if since >= early.events and gap > 1:
            counts.append(number)
            since = 0
    return counts


def test_an_event_a_gap_later_begins_a_session() -> None:
    found = [{"at": at, "key": "a", "value": 1} for at in (0, 9, 19)]
    assert [(r["start"], r["end"]) for r in rows(window_flow(hw.session(10)), found)] == [(0, 19), (19, 29)]
