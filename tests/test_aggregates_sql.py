"""Aggregates against SQL over the same events, in DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aggregate_cases import Sample, closely, fold

import headway as hw
from headway.operators.aggregates.base import Bundle

BOUNDS = [-10, 0, 0.5, 100]
RANKS = [0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1]
HALF_LIFE_MS = 7
HORIZON_MS = 10

# Events of equal time would leave open which is the first, so each has a time of its own.
ROWS = st.lists(
    st.builds(
        Sample,
        at=st.integers(1, 9),
        x=st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, -10.0, 0.5, 100.0])),
        n=st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**40), 2**40)),
        s=st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "é", "z"])),
        flag=st.booleans(),
    ),
    max_size=40,
)

SQL = f"""
select
    count(*) as "count", count(*) filter (flag) as count_flag, count(n) as count_n,
    coalesce(fsum(x), 0) as sum_x, coalesce(sum(n), 0)::hugeint as sum_n,
    avg(x) as mean_x, avg(n) as mean_n,
    min(x) as min_x, max(x) as max_x, min(s) as min_s, max(n) filter (flag) as max_n_flag,
    var_samp(n) as variance, var_pop(n) as variance_all, stddev_samp(n) as stddev, stddev_pop(n) as stddev_all,
    arg_min(s, t) as "first", arg_max(x, t) as "last",
    count(distinct s) as "distinct", count(distinct x) as distinct_x,
    quantile_disc(x, {RANKS}) as quantiles,
    [count(*) filter (x <= -10), count(*) filter (x > -10 and x <= 0), count(*) filter (x > 0 and x <= 0.5),
     count(*) filter (x > 0.5 and x <= 100), count(*) filter (x > 100)] as histogram,
    coalesce(list(s order by t) filter (s is not null), []) as "collect",
    coalesce(max(n, 3), []) as top_k, coalesce(arg_max(s, n, 1) filter (s is not null), []) as top_by,
    coalesce(fsum(x * power(2.0, (t - $now) / {HALF_LIFE_MS})), 0) as decayed,
    coalesce(sum(n) filter (t > $now - {HORIZON_MS}), 0)::hugeint as sum_over,
    count(*) filter (t > $now - {HORIZON_MS}) as count_over
from samples
"""


def bundle() -> Bundle:
    flagged = hw.where(flag=True)
    return Bundle(
        {
            "count": hw.count(),
            "count_flag": hw.count(flag=True),
            "count_n": hw.count(lambda event: event.n is not None),
            "sum_x": hw.sum("x"),
            "sum_n": hw.sum("n"),
            "mean_x": hw.mean("x"),
            "mean_n": hw.mean("n"),
            "min_x": hw.min("x"),
            "max_x": hw.max("x"),
            "min_s": hw.min("s"),
            "max_n_flag": hw.max("n", where=flagged),
            "variance": hw.variance("n"),
            "variance_all": hw.variance("n", population=True),
            "stddev": hw.stddev("n"),
            "stddev_all": hw.stddev("n", population=True),
            "first": hw.first("s"),
            "last": hw.last("x"),
            "distinct": hw.distinct("s"),
            "distinct_x": hw.distinct("x"),
            "quantiles": hw.quantiles("x", RANKS),
            "histogram": hw.histogram("x", BOUNDS),
            "collect": hw.collect("s"),
            "top_k": hw.top_k("n", 3),
            "top_by": hw.top_k("s", 1, by="n"),
            "decayed": hw.decayed("x", HALF_LIFE_MS),
            "sum_over": hw.sum_over("n", HORIZON_MS, resolution=1),
            "count_over": hw.count_over(HORIZON_MS, resolution=1),
        },
        Sample,
    )


NEARLY = {"sum_x", "mean_x", "mean_n", "variance", "variance_all", "stddev", "stddev_all", "decayed"}


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, later_ms=st.integers(0, 15))
def test_results_are_those_of_sql(rows: list[Sample], later_ms: int) -> None:
    events: list[Sample] = []
    for row in rows:
        at_ms = row.at + (events[-1].at if events else 0)
        events.append(Sample(at=at_ms, x=row.x, n=row.n, s=row.s, flag=row.flag))
    now_ms = (events[-1].at if events else 0) + later_ms
    aggregates = bundle()
    found = aggregates.results(fold(aggregates, events), now_ms)
    expected = in_sql(events, now_ms)
    for name, wanted in expected.items():
        assert agree(name, found[name], wanted), f"{name}: {found[name]!r}, in SQL {wanted!r}"


def agree(name: str, found: Any, wanted: Any) -> bool:
    if name in NEARLY:
        return closely(found, wanted)
    if name == "quantiles" and wanted is not None:
        # Magnitudes below a 10^12th of the greatest count as that.
        least = 1.1e-12 * max(map(abs, wanted))
        return all(abs(a - b) <= 0.010000001 * abs(b) + least for a, b in zip(found, wanted))
    if name == "top_by":
        # Among equals the one kept is the first by time here, and not said in SQL: the rank tells.
        return len(found) == len(wanted)
    return bool(found == wanted)


CONNECTION = duckdb.connect()
CONNECTION.execute("create table samples (t bigint, x double, n bigint, s varchar, flag boolean)")


def in_sql(events: list[Sample], now_ms: int) -> dict[str, Any]:
    CONNECTION.execute("delete from samples")
    for event in events:
        CONNECTION.execute(
            "insert into samples values (?, ?, ?, ?, ?)", [event.at, event.x, event.n, event.s, event.flag]
        )
    cursor = CONNECTION.execute(SQL, {"now": now_ms})
    row = cursor.fetchone()
    assert row is not None
    return dict(zip([column[0] for column in cursor.description], row))


def test_ranked_values_are_those_of_sql() -> None:
    """Who has the three greatest numbers; without ties."""
    events = [Sample(at=at, n=at * 37 % 101, s=f"s{at}") for at in range(100)]
    in_sql(events, 0)
    wanted = CONNECTION.execute("select s, n from samples order by n desc limit 3").fetchall()
    ranked = Bundle({"best": hw.top_k("s", 3, by="n")}, Sample)
    found = ranked.results(fold(ranked, events), 0)["best"]
    assert [(entry.value, entry.by) for entry in found] == wanted


@pytest.mark.parametrize("resolution_ms", [1, 3, 10])
def test_a_horizon_is_short_by_less_than_a_resolution(resolution_ms: int) -> None:
    events = [Sample(at=at, n=1) for at in range(100)]
    over = Bundle({"over": hw.sum_over("n", 10, resolution=resolution_ms)}, Sample)
    accumulators = over.init()
    for event in events:
        over.add(accumulators, event, event.at)
        found = over.results(accumulators, event.at)["over"]
        exact = min(event.at + 1, 10)
        assert exact - resolution_ms < found <= exact
