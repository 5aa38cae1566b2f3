"""Table-table join: the engine against the oracle, and its changes, summed up at each time, against SQL."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.joins_harness import SPAN, Left, Right, emitted, in_order, joining, number, sides, sql
from tests.operator_harness import SLOW, Logs, MakeFlow, check

import headway as hw
from headway.testing import FlowTest

HOWS = st.sampled_from(["inner", "left", "right", "full"])
GONE = hw.where(gone=True)


def tables(how: Any) -> MakeFlow:
    return joining(lambda left, right: left.table_join("join", right, how=how, delete=GONE, other_delete=GONE))


def closed(logs: Logs) -> Logs:
    """The logs, with a last event for each key and side that ends its row."""
    last = [{"key": key, "at": SPAN, "gone": True, "n": 1000} for key in "ab"]
    return {side: {**partitions, "2": last} for side, partitions in logs.items()}


@settings(SLOW, max_examples=12)
@given(logs=sides(), how=HOWS, where=conditions())
def test_engine(logs: Logs, how: str, where: Conditions) -> None:
    check(tables(how), closed(logs), where)


@settings(SLOW, max_examples=100)
@given(logs=sides(), how=HOWS)
def test_at_each_time_it_is_the_join_of_sql(logs: Logs, how: str) -> None:
    logs = closed(logs)
    changes = emitted(tables(how), logs)
    found = []
    table: dict[str, Any] = {}
    for time in range(SPAN + 1):
        for change in (change for at, change in changes if at == time):
            row = change["after"] or change["before"]
            key = (row["left"] or row["right"])["key"]
            assert change["before"] == table.pop(key, None)
            assert change["op"] == _op(change)
            if change["after"] is not None:
                table[key] = change["after"]
        found += [(time, key, number(row["left"]), number(row["right"])) for key, row in table.items()]
    assert not table

    def versions(side: str) -> str:
        latest = f"""SELECT t.t, {side}.* FROM generate_series(0, {SPAN}) t(t) JOIN {side} ON {side}.ts <= t.t
                     QUALIFY row_number() OVER (PARTITION BY t.t, key ORDER BY ts DESC, n DESC) = 1"""
        return f"(SELECT * FROM ({latest}) WHERE NOT gone)"

    query = f"""
        SELECT coalesce(a.t, b.t), coalesce(a.key, b.key), a.n, b.n
        FROM {versions("l")} a {how} JOIN {versions("r")} b ON a.t = b.t AND a.key = b.key"""
    assert in_order(found) == sql(logs, query)


def _op(change: dict[str, Any]) -> str:
    if change["before"] is None:
        return "insert"
    return "delete" if change["after"] is None else "update"


def test_a_version_that_equals_the_last_changes_nothing() -> None:
    def sizes(left: Any, right: Any) -> Any:
        return left.map(lambda event: event.n, into=int).table_join("join", right, how="left")

    events = [{"key": "a", "at": at, "n": n} for at, n in [(1, 7), (2, 7), (3, 8), (3, 9), (3, 7), (4, 8)]]
    logs: Logs = {"lefts": {"0": events}, "rights": {"0": [{"key": "b", "at": 1, "n": 1}]}}
    changes = emitted(joining(sizes), logs, drained_to_nothing=False)
    assert [(at, change["op"], change["after"]["left"]) for at, change in changes] == [
        (1, "insert", 7),
        (4, "update", 8),
    ]


def test_nothing_is_kept_of_rows_that_both_sides_have_deleted() -> None:
    test = FlowTest(tables("inner")(lambda _: hw.items([]), lambda _: hw.to_list([])))
    test.send("lefts", Left("a", 1, 7))
    test.send("rights", Right("a", 2, 7))
    test.send("rights", Right("a", 3, 7, gone=True))
    test.send("rights", Right("b", 3, 7, gone=True))
    test.advance(to=3)
    assert test.keys("join") == ["a"]
    test.send("lefts", Left("a", 4, 7, gone=True))
    test.advance(to=4)
    assert [trigger["data"]["op"] for trigger in test.triggers()] == ["insert", "delete"]
    assert test.keys("join") == []


def test_a_table_joins_itself() -> None:
    flow = joining(lambda left, _: left.table_join("join", left, delete=GONE, other_delete=GONE))
    events = [{"key": "a", "at": at, "n": at, "gone": at == 3} for at in (1, 2, 3)]
    changes = [change for _, change in emitted(flow, {"lefts": {"0": events}, "rights": {}})]
    assert [change["op"] for change in changes] == ["insert", "update", "delete"]


def test_what_happens_at_one_time_is_one_change() -> None:
    rows = [(1, 1, False), (5, 2, False), (5, 3, True), (5, 4, False), (6, 5, True), (6, 6, False)]
    events = [{"key": "a", "at": at, "n": n, "gone": gone} for at, n, gone in rows]
    end = [{"key": "a", "at": 7, "n": 9, "gone": True}]
    changes = emitted(tables("left"), {"lefts": {"0": [*events, *end]}, "rights": {}})
    shown = [
        (at, change["op"], *(row and row["left"]["n"] for row in (change["before"], change["after"])))
        for at, change in changes
    ]
    assert shown == [(1, "insert", None, 1), (5, "update", 1, 4), (6, "update", 4, 6), (7, "delete", 6, None)]
