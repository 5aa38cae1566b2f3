"""What the tests of joins share: two sources of events, drawn at random, and the same events as tables in DuckDB."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Optional

import duckdb
import msgspec
from hypothesis import strategies as st
from tests.operator_harness import Logs, MakeFlow, oracle_run

import headway as hw
from headway.basics.times import parse_time
from headway.connectors.base import Input, Output
from headway.testing.oracle import Oracle

Rows = list[dict[str, Any]]
"""Events of one side, numbered in the order in which those of equal time are taken."""

Declare = Callable[[Any, Any], Any]
"""Declares a join of two keyed streams."""

SPAN = 24
"""Times of random events are from 0 to this."""


class Left(hw.Event):
    key: str
    at: hw.Time
    n: int
    gone: bool = False


class Right(hw.Event):
    key: str
    at: hw.Time
    n: int
    gone: bool = False


def sides(keys: str = "ab", max_size: int = 8) -> st.SearchStrategy[Logs]:
    """Logs of two sources with two partitions each, out of order, with events of equal times."""
    event = st.fixed_dictionaries(
        {
            "key": st.sampled_from(keys),
            "at": st.integers(0, SPAN),
            "gone": st.sampled_from([False, False, False, True]),
        }
    )
    partition = st.lists(event, max_size=max_size)
    return st.tuples(partition, partition, partition, partition).map(
        lambda drawn: {"lefts": numbered(drawn[0], drawn[1]), "rights": numbered(drawn[2], drawn[3])}
    )


def numbered(*partitions: Rows) -> dict[str, Rows]:
    """Partitions whose events are numbered one after the other."""
    numbers = iter(range(1000))
    return {str(label): [{**row, "n": next(numbers)} for row in rows] for label, rows in enumerate(partitions)}


def rows_of(logs: Logs, side: str) -> Rows:
    return [row for partition in logs[side].values() for row in partition]


def joining(declare: Declare, types: tuple[Any, Any] = (Left, Right)) -> MakeFlow:
    """A flow with one join of two sources, whose results are triggers of the output `out`."""

    def make_flow(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        flow = hw.Flow("joins")
        lefts = flow.source("lefts", types[0], input_of("lefts"), time="at", out_of_order=SPAN)
        rights = flow.source("rights", types[1], input_of("rights"), time="at", out_of_order=SPAN)
        joined = declare(lefts.key_by("key"), rights.key_by("key"))
        joined.trigger("joined", output_of("out"), name="out")
        return flow

    return make_flow


def emitted(make_flow: MakeFlow, logs: Logs, *, drained_to_nothing: bool = True) -> list[tuple[int, dict[str, Any]]]:
    """Time and data of each result that the oracle gives; no row may be left, unless that is said."""
    if drained_to_nothing:
        lines = oracle_run(make_flow, logs).outputs["out"]
    else:
        oracle = Oracle(make_flow(lambda name: hw.items([]), lambda name: hw.to_list([])))
        oracle.feed(logs)
        oracle.drain()
        lines = oracle.result().outputs["out"]
    triggers = [msgspec.json.decode(line) for line in lines]
    for trigger in triggers:
        if {"left", "lefts", "op"} & trigger["data"].keys():
            assert trigger["data"]["key"] == trigger["subject"], "a result carries the key of its events"
    return [(parse_time(trigger["time"]), trigger["data"]) for trigger in triggers]


def number(event: Optional[dict[str, Any]]) -> Optional[int]:
    return None if event is None else event["n"]


def in_order(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as a multiset that can be compared."""
    return sorted(rows, key=lambda row: tuple((value is not None, value) for value in row))


@cache
def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute("SET threads = 1")
    for table in "lr":
        database.execute(f"CREATE TABLE {table} (key VARCHAR, ts BIGINT, n BIGINT, gone BOOLEAN)")
    return database


atexit.register(_database.cache_clear)  # Else DuckDB calls it a leak.


def sql(logs: Logs, query: str) -> list[tuple[Any, ...]]:
    """What a query gives over the tables `l` and `r` of the two sides."""
    database = _database()
    for table, side in (("l", "lefts"), ("r", "rights")):
        database.execute(f"DELETE FROM {table}")
        rows = [(row["key"], row["at"], row["n"], row["gone"]) for row in rows_of(logs, side)]
        if rows:
            database.execute(f"INSERT INTO {table} VALUES " + ", ".join(map(str, rows)))
    return in_order(database.execute(query).fetchall())
