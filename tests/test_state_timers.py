"""The timer index with small windows, at the bounds of time, and with hundreds of thousands at one instant."""

from __future__ import annotations

import bisect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.basics.times import LAST_TIMER_MS, MAX_TIME_MS, MIN_TIME_MS
from headway.errors import InternalError, UserCodeError
from headway.state.group import GroupStore
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore
from headway.state.timers import TimerEntry

ENTRIES: st.SearchStrategy[TimerEntry] = st.tuples(
    st.integers(0, 5) | st.sampled_from([MIN_TIME_MS, MAX_TIME_MS]),
    st.sampled_from(["", "\0", "a", "a\0", "ab", "b"]),
    st.integers(0, 1),
    st.sampled_from(["t", "u"]),
)
STEPS = st.lists(
    st.tuples(st.just("toggle"), st.lists(ENTRIES, unique=True, min_size=1, max_size=12))
    | st.tuples(st.just("pop"), st.integers(-1, 6))
    | st.tuples(st.sampled_from(["commit", "settle"]), st.just(0)),
    max_size=30,
)


def open_stage(path: Path, window: int) -> tuple[GroupStore, StageStore]:
    group = GroupStore.open(path, 0, StoreOptions(timer_window=window, sync=False))
    return group, group.stage("s", [OperatorSpec("op", dict, id=7), OperatorSpec("other", dict, id=2)], [])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[StageStore]:
    group, stage = open_stage(tmp_path, 100)
    with group:
        stage.resume(None)
        yield stage


@settings(max_examples=120, deadline=None)
@given(STEPS, st.integers(1, 5))
def test_it_is_a_sorted_set(steps: list[tuple[str, list[TimerEntry] | int]], window: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        group, stage = open_stage(Path(directory), window)
        with group:
            stage.resume(None)
            index = stage.timers
            expected: list[TimerEntry] = []
            for action, argument in steps:
                if isinstance(argument, list):
                    for entry in argument:
                        if entry in expected:
                            expected.remove(entry)
                            index.discard(entry)
                        else:
                            bisect.insort(expected, entry)
                            index.add(entry)
                elif action == "pop":
                    due = expected[0] if expected and expected[0][0] <= argument else None
                    assert index.pop_due(argument) == due
                    if due:
                        del expected[0]
                elif action == "commit":
                    stage.commit(None)
                else:
                    stage.settle()
                assert len(index) == len(expected)
                index.check_valid()
            assert [index.pop_due(MAX_TIME_MS) for _ in range(len(expected) + 1)] == [*expected, None]


def test_many_timers_at_one_instant(tmp_path: Path) -> None:
    total, window = 200_000, 1_000
    keys = [f"cart-{number:07d}" for number in range(total)]
    group, stage = open_stage(tmp_path, window)
    with group:
        stage.resume(None)
        for number, key in enumerate(keys):
            stage.timers.add((5, key, 0, "idle"))
            assert len(stage.timers.near) <= 2 * window + 1
            if number % 50_000 == 0:
                stage.commit(number)
        stage.commit(None)
        version = stage.commit("all")
    group, stage = open_stage(tmp_path, window)
    with group:
        stage.resume(version)
        assert stage.timer_count == total
        assert len(stage.timers.near) == 1
        assert stage.timers.pop_due(4) is None
        for number, key in enumerate(keys):
            entry = stage.timers.pop_due(5)
            assert entry is not None
            assert entry[1] == key
            if number % 10_000 == 0:
                assert len(stage.timers.near) <= 2 * window + 1
        assert stage.timers.pop_due(MAX_TIME_MS) is None
        assert stage.timer_count == 0


def test_putting_off_leaves_the_index_alone(stage: StageStore) -> None:
    row = stage.tables[0].fetch("k")
    stage.tables[0].set_timer(row, "idle", 10)
    for due_ms in range(11, 200):
        stage.tables[0].set_timer(row, "idle", due_ms)
    assert (row.timers, row.indexed) == ({"idle": 199}, {"idle": 10})
    assert stage.timers.near.first == (10, "k", 0, "idle")
    entry = stage.timers.pop_due(10)
    assert entry is not None
    assert stage.tables[0].due_row(entry) is None
    assert (row.timers, row.indexed) == ({"idle": 199}, None)
    assert stage.timers.pop_due(198) is None
    last = stage.timers.pop_due(199)
    assert last == (199, "k", 0, "idle")
    assert stage.tables[0].due_row(last) is row
    assert row.timers is row.indexed is None


def test_moving_to_an_earlier_time_moves_the_entry(stage: StageStore) -> None:
    row = stage.tables[0].fetch("k")
    stage.tables[0].set_timer(row, "idle", 100)
    stage.tables[0].set_timer(row, "idle", MIN_TIME_MS)
    assert stage.timers.pop_due(MIN_TIME_MS) == (MIN_TIME_MS, "k", 0, "idle")
    assert stage.timers.pop_due(MAX_TIME_MS) is None


@pytest.mark.parametrize("due_ms", [LAST_TIMER_MS + 1, MAX_TIME_MS, MAX_TIME_MS + 1])
def test_times_after_the_last_year_are_refused(stage: StageStore, due_ms: int) -> None:
    row = stage.tables[0].fetch("cart-1")
    with pytest.raises(UserCodeError, match=rf"'op', key 'cart-1': timer 'idle' is set to {due_ms}, .* check the"):
        stage.tables[0].set_timer(row, "idle", due_ms)
    assert stage.timer_count == 0


def test_an_entry_that_no_row_knows_is_an_internal_error(stage: StageStore) -> None:
    stage.timers.add((5, "k", 0, "idle"))
    entry = stage.timers.pop_due(5)
    assert entry is not None
    with pytest.raises(InternalError, match=r"the index holds \(5, 'k', 0, 'idle'\), but the row says"):
        stage.tables[0].due_row(entry)
