"""The Nexmark queries against DuckDB SQL over the same events, out of order and in two partitions."""

from __future__ import annotations

import tempfile
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.nexmark_sql import SQL, database
from tests.nexmark_tables import table
from tests.operator_harness import SLOW, MakeFlow, check, values

import headway as hw
from headway.errors import UsageError
from headway.flows.nexmark_events import Bid, auction_house
from headway.flows.nexmark_patterns import DROP, by_auction_and_bidder, match_drops
from headway.flows.nexmark_queries import QUERIES, declare
from headway.generate import NexmarkOptions, generate_nexmark
from headway.testing import FlowTest
from headway.testing.oracle import Oracle, OracleResult, run_oracle

DISORDER_MS = 4_000
FOR_GOOD = {"q4": "average"}
"""Queries that keep a row for each key of a small set for good, by the operator that does."""
RATES = {"q15": 0.03, "q16": 0.03, "q17": 0.03}
"""Events per second where the usual ones would all be of one day."""


@cache
def stream(events: int, rate: float, seed: int) -> dict[str, list[bytes]]:
    """The lines of two partitions."""
    options = NexmarkOptions(events=events, rate=rate, seed=seed, disorder_ms=DISORDER_MS, partitions=2)
    with tempfile.TemporaryDirectory() as folder:
        report = generate_nexmark(options, Path(folder))
        return {path.name: path.read_bytes().splitlines() for path in report.files}


def flow_of(query: str) -> MakeFlow:
    def make_flow(input_of: Any, output_of: Any) -> hw.Flow:
        flow = hw.Flow("nexmark")
        declare(flow, query, input_of("events"), output_of("result"), out_of_order=DISORDER_MS)
        return flow

    return make_flow


def run(query: str, partitions: dict[str, list[bytes]]) -> OracleResult:
    oracle = Oracle(flow_of(query)(lambda name: hw.items([]), lambda name: hw.to_list([])))
    oracle.feed({"events": partitions})
    oracle.drain()
    return oracle.result()


def sql_table(query: str, partitions: dict[str, list[bytes]]) -> list[tuple[Any, ...]]:
    return sorted(database(partitions).execute(SQL[query]).fetchall())


@pytest.mark.parametrize("query", [query for query in QUERIES if query != "q12"])
def test_the_table_is_that_of_sql(query: str) -> None:
    partitions = stream(5_000, RATES.get(query, 100), seed=1)
    result = run(query, partitions)
    assert result.late["events"] == [] and result.dead_letters["events"] == []
    expected = sql_table(query, partitions)
    assert table(query, values(result, "result")) == expected
    assert len(expected) > 1
    left = {name for name, rows in result.rows.items() if rows}
    assert left == {FOR_GOOD[query]} if query in FOR_GOOD else not left, "rows are left when all is done"


def test_every_query_is_proved() -> None:
    assert QUERIES.keys() == SQL.keys()


def test_a_drop_is_a_loop_of_what_is_none() -> None:
    """The published pattern, A B* C, gives what the quicker one of the flow does."""

    def stays(bid: Bid, matched: dict[str, list[Bid]]) -> bool:
        return bid.price > matched["a"][0].price - DROP

    def drops(bid: Bid, matched: dict[str, list[Bid]]) -> bool:
        return bid.price < matched["a"][0].price - DROP

    partitions = stream(5_000, 50, seed=50)
    flow = hw.Flow("published")
    house = auction_house(flow, hw.items([]), time=attrgetter("date_time"), out_of_order=DISORDER_MS)
    staying = hw.pattern("a").next("b", stays).one_or_more().consecutive().greedy().optional()
    found = match_drops(by_auction_and_bidder(house), staying.next("c", drops).within("5s"))
    found.to("result", hw.to_list([]))
    lines = values(run_oracle(flow, {"events": partitions}, drain=True), "result")
    assert table("price-drop", lines) == sql_table("price-drop", partitions)


def test_windows_of_the_clock() -> None:
    partitions = stream(2_000, 50, seed=1)
    stamps: list[int] = []

    def now_ms() -> int:
        stamps.append(1_000 + 37 * len(stamps))
        return stamps[-1]

    oracle = Oracle(flow_of("q12")(lambda name: hw.items([]), lambda name: hw.to_list([])), now_ms=now_ms)
    oracle.feed({"events": partitions})
    oracle.drain()
    read = iter(stamps)
    stamped = {name: [_stamped(line, next(read)) for line in lines] for name, lines in partitions.items()}
    assert table("q12", values(oracle.result(), "result")) == sql_table("q12", stamped)


def _stamped(line: bytes, time_ms: int) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(line), "dateTime": time_ms})


@pytest.mark.parametrize("query", ["q5", "q8", "q9", "q11", "price-drop"])
def test_on_the_engine(query: str) -> None:
    @settings(SLOW, max_examples=3)
    @given(seed=st.integers(0, 5), rate=st.sampled_from([5, 20, 100]), where=conditions())
    def prove(seed: int, rate: float, where: Conditions) -> None:
        partitions = stream(100, rate, seed)
        lines = check(flow_of(query), {"events": dict(partitions)}, where)["result"]
        assert table(query, lines) == sql_table(query, partitions)

    prove()


def test_the_flow_that_ships_is_any_of_them() -> None:
    for query in QUERIES:
        FlowTest.load("headway.flows.nexmark", query=query)
    with pytest.raises(UsageError, match="query = 'q10': there is no such query; choose one of q0, q1"):
        FlowTest.load("headway.flows.nexmark", query="q10")
