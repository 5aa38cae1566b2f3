"""What the tests of windows share: flows with one window step, events, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import duckdb
from hypothesis import strategies as st
from tests.operator_harness import Logs, oracle_run, values

import headway as hw
from headway.connectors.base import Input, Output
from headway.operators.windows.windowers import Windower

MakeFlow = Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]
Row = dict[str, Any]

WHOLE_RANGE = 9 * 10**12
"""A bound of disorder within which nothing is late."""


class Reading(hw.Event):
    at: hw.Time
    key: str
    value: int


def events(last: int = 60, first: int = 0, size: int = 30, least: int = 0) -> st.SearchStrategy[list[Row]]:
    """Events of two keys, with numbers; `least` to `size` of them."""
    return st.lists(
        st.fixed_dictionaries(
            {"at": st.integers(first, last), "key": st.sampled_from("ab"), "value": st.integers(-9, 9)}
        ),
        min_size=least,
        max_size=size,
    )


def window_flow(windower: Windower, *, out_of_order: int = WHOLE_RANGE, times: bool = True, **options: Any) -> MakeFlow:
    """A flow that counts and sums in windows, with options of the step; with `late_time`, late events too."""

    def make_flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        flow = hw.Flow("windows")
        source = flow.source("events", Reading, input_of("events"), time="at", out_of_order=out_of_order)
        given = dict(options)
        if "late_time" in given:
            given["late"] = source.late.key_by("key")
        if times:
            given["times"] = hw.collect("at")
        first = hw.first("key")
        result = source.key_by("key").window(
            "windows", windower, **given, user=first, events=hw.count(), total=hw.sum("value")
        )
        result.to("out", output_of("out"))
        if "late" in given:
            for side in result._operator.sides:
                result.side(side).to(side, output_of(side))
        return flow

    return make_flow


def logs_of(found: list[Row]) -> Logs:
    return {"events": {"0": found}}


def rows(make_flow: MakeFlow, found: list[Row], output: str = "out") -> list[Row]:
    """What comes out when all is done, in order; checks that no state is left."""
    results = values(oracle_run(make_flow, logs_of(found)), output)
    assert all(row["key"] == row.get("user", row["key"]) for row in results), "a result carries the key of its events"
    return results


def bounds(found: list[Row]) -> list[tuple[Any, ...]]:
    """Results as tuples: key, start, end, events, total; sorted."""
    return sorted((row["user"], row["start"], row["end"], row["events"], row["total"]) for row in found)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute("set threads = 1")
    database.execute("create table events (t bigint, key varchar, value bigint)")
    return database


def sql(query: str, found: list[Row]) -> list[tuple[Any, ...]]:
    """What DuckDB makes of a query over the table `events (t, key, value)`."""
    database = _database()
    database.execute("delete from events")
    if found:
        given = ", ".join(f"({row['at']}, '{row['key']}', {row['value']})" for row in found)
        database.execute(f"insert into events values {given}")
    return [tuple(row) for row in database.execute(query).fetchall()]
