"""Count windows: the engine against the oracle, and the oracle against plain Python."""

from __future__ import annotations

from typing import Any, Optional

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check, oracle_run, values
from tests.windows_harness import Row, events, logs_of, rows, window_flow

import headway as hw

SIZES = st.sampled_from([(1, None), (3, None), (4, 1), (4, 2), (5, 3), (7, 4)])


@settings(SLOW, max_examples=8)
@given(found=events(), sizes=SIZES, times=st.booleans(), where=conditions())
def test_the_engine_does_as_the_oracle(
    found: list[Row], sizes: tuple[int, Optional[int]], times: bool, where: Conditions
) -> None:
    check(window_flow(hw.count_window(sizes[0], every=sizes[1]), times=times), logs_of(found), where, drain=False)


@settings(SLOW, max_examples=100)
@given(found=events(), sizes=SIZES, times=st.booleans())
def test_the_last_so_many_at_each_so_many(found: list[Row], sizes: tuple[int, Optional[int]], times: bool) -> None:
    size, every = sizes[0], sizes[1] or sizes[0]
    expected: list[Any] = []
    for key in "ab":
        mine = sorted((row for row in found if row["key"] == key), key=lambda row: row["at"])
        for end in range(every, len(mine) + 1, every):
            window = mine[max(0, end - size) : end]
            expected.append((key, window[0]["at"], window[-1]["at"], len(window), sum(r["value"] for r in window)))
    make_flow = window_flow(hw.count_window(size, every=every), times=times, out_of_order=60)
    closing = {"at": 200, "key": "c", "value": 0}
    results = values(oracle_run(make_flow, logs_of([*found, closing]), drain=False), "out")
    found_rows = [(r["user"], r["start"], r["end"], r["events"], r["total"]) for r in results if r["user"] != "c"]
    assert sorted(found_rows) == sorted(expected)


@settings(SLOW, max_examples=100)
@given(found=events())
def test_a_timeout_ends_what_is_not_full(found: list[Row]) -> None:
    expected: list[Any] = []
    for key in "ab":
        window: list[int] = []
        for at in [*sorted(row["at"] for row in found if row["key"] == key), 10**9]:
            if window and at > window[0] + 10:
                expected.append((key, window[0], window[-1], window))
                window = []
            window = [*window, at]
            if len(window) == 3:
                expected.append((key, window[0], window[-1], window))
                window = []
    results = rows(window_flow(hw.count_window(3, timeout=10)), found)
    assert sorted((r["user"], r["start"], r["end"], r["times"]) for r in results) == sorted(expected)


def test_a_key_between_two_windows_is_not_stored() -> None:
    found = [{"at": at, "key": "a", "value": 1} for at in range(6)]
    assert len(rows(window_flow(hw.count_window(3)), found)) == 2
