"""As-of join: the engine against the oracle, and the oracle against SQL."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.joins_harness import SPAN, Left, Right, emitted, in_order, joining, number, sides, sql
from tests.operator_harness import SLOW, Logs, MakeFlow, check

import headway as hw
from headway.testing import FlowTest

HOWS = st.sampled_from(["inner", "left"])
EXPIRIES = st.sampled_from([None, 1, 4, 10])


def asof(how: Any, expire_after: Optional[int]) -> MakeFlow:
    gone = hw.where(gone=True)
    return joining(lambda left, right: left.asof_join("join", right, how=how, delete=gone, expire_after=expire_after))


def closed(logs: Logs) -> Logs:
    """The logs, with a last event for each key that ends its version."""
    last = [{"key": key, "at": SPAN, "gone": True, "n": 1000} for key in "ab"]
    return {**logs, "rights": {**logs["rights"], "2": last}}


@settings(SLOW, max_examples=12)
@given(logs=sides(), how=HOWS, expire_after=EXPIRIES, where=conditions())
def test_engine(logs: Logs, how: str, expire_after: Optional[int], where: Conditions) -> None:
    check(asof(how, expire_after), closed(logs), where)


@settings(SLOW, max_examples=100)
@given(logs=sides(), how=HOWS, expire_after=EXPIRIES)
def test_it_is_the_join_of_sql(logs: Logs, how: str, expire_after: Optional[int]) -> None:
    results = emitted(asof(how, expire_after), closed(logs))
    found = in_order([(at, number(row["left"]), number(row["right"])) for at, row in results])
    holds = "NOT v.gone" + ("" if expire_after is None else f" AND l.ts <= v.ts + {expire_after}")
    versions = "(SELECT key, ts, max(n) AS n, arg_max(gone, n) AS gone FROM r GROUP BY key, ts)"
    query = f"""
        SELECT l.ts, l.n, CASE WHEN {holds} THEN v.n END AS version
        FROM l ASOF LEFT JOIN {versions} v ON l.key = v.key AND l.ts >= v.ts"""
    wanted = query if how == "left" else f"SELECT * FROM ({query}) WHERE version IS NOT NULL"
    assert found == sql(closed(logs), wanted)


@settings(SLOW, max_examples=40)
@given(logs=sides(), seed=st.randoms(use_true_random=False))
def test_the_order_of_arrival_of_different_times_does_not_matter(logs: Logs, seed: Any) -> None:
    logs = closed(logs)
    first = emitted(asof("left", None), logs)
    for partitions in logs.values():
        for name, rows in partitions.items():
            shuffled = sorted({row["at"] for row in rows})
            seed.shuffle(shuffled)
            partitions[name] = [row for at in shuffled for row in rows if row["at"] == at]
    assert emitted(asof("left", None), logs) == first


def test_a_stream_that_joins_itself_finds_its_own_events() -> None:
    flow = joining(lambda left, _: left.asof_join("join", left, expire_after=1))
    logs: Logs = {"lefts": {"0": [{"key": "a", "at": at, "n": at} for at in (1, 2, 5)]}, "rights": {}}
    assert [(row["left"]["n"], row["right"]["n"]) for _, row in emitted(flow, logs)] == [(1, 1), (2, 2), (5, 5)]


def test_one_version_a_key_is_kept_until_it_is_deleted_or_expires() -> None:
    test = FlowTest(asof("left", 50)(lambda _: hw.items([]), lambda _: hw.to_list([])))
    for at in range(10):
        test.send("rights", Right("a", at, at))
        test.send("rights", Right("b", at, at))
    test.send("rights", Right("b", 10, 10, gone=True))
    test.advance(to=58)
    assert (test.state("join", "a").version.n, test.keys("join")) == (9, ["a"])
    test.send("lefts", Left("a", 59, 1))
    test.send("lefts", Left("a", 60, 2))
    test.advance(to=60)
    assert [number(trigger["data"]["right"]) for trigger in test.triggers()] == [9, None]
    assert test.keys("join") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "full"}, 'how=\'full\' is not a kind of this join: expected one of "inner", "left"'),
        ({"expire_after": "soon"}, "'soon'"),
        ({"expire_after": 0}, "expire_after"),
        ({"delete": hw.where(no=1)}, "no field 'no'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    make_flow = joining(lambda left, right: left.asof_join("join", right, **options))
    with pytest.raises(hw.FlowError, match=r"test_operator_asof_join\.py") as raised:
        make_flow(lambda _: hw.items([]), lambda _: hw.to_list([]))
    assert message in str(raised.value)
