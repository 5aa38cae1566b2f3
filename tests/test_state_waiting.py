"""Waiting records come out in order, whatever the steps, the spills and the codecs."""

from __future__ import annotations

import random
import tempfile
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import IncompatibleStateError, UserCodeError
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.options import StoreOptions
from headway.state.runs import Runs
from headway.state.stage import StageStore

STEPS = st.lists(st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(-1, 21)))


@given(STEPS)
def test_runs_give_what_a_stable_sort_gives(steps: list[tuple[list[int], int]]) -> None:
    runs = Runs()
    expected: list[tuple[int, int]] = []
    arrival = 0
    for times, until_ms in steps:
        added = [(time_ms, arrival + index) for index, time_ms in enumerate(times)]
        arrival += len(added)
        expected += added
        assert runs.add(added) == min(times)
        taken = [record for record in expected if record[0] <= until_ms]
        expected = [record for record in expected if record[0] > until_ms]
        assert runs.take(until_ms) == sorted(taken)
        assert len(runs) == len(expected)
        assert sorted(runs.times()) == sorted(record[0] for record in expected)
        assert not expected or runs.first_ms() == min(record[0] for record in expected)
    late = [record for record in expected if record[0] >= 10]
    assert runs.take_from(10) == sorted(late)
    assert runs.records() == sorted(record for record in expected if record[0] < 10)


def test_runs_copy_each_record_a_logarithmic_number_of_times() -> None:
    runs = Runs()
    shuffled = random.Random(3)
    records = [(shuffled.randrange(1_000_000), index) for index in range(4_000)]
    for record in records:
        runs.add([record])
        assert len(runs._runs) <= 13
    taken = [record for until_ms in range(0, 1_000_001, 500) for record in runs.take(until_ms)]
    assert taken == sorted(records)


def open_stage(path: Path, inputs: list[InputCodec], bound: int = 100) -> tuple[GroupStore, StageStore]:
    group = GroupStore.open(path, 0, StoreOptions(waiting_bound=bound, sync=False))
    return group, group.stage("s", [], inputs)


def release_all(stage: StageStore, watermark_ms: int, limit: int = 7) -> list[Any]:
    """Everything up to a watermark, in steps that are taken back in part."""
    released: list[Any] = []
    while taken := stage.waiting.release(watermark_ms, limit):
        assert len(taken) <= limit
        kept = taken[: max(1, len(taken) // 2)]
        stage.waiting.give_back(taken[len(kept) :])
        released += kept
    return released


def test_order_over_inputs_channels_and_origins(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, [InputCodec(), InputCodec(from_stage=True)])
    with group:
        stage.resume(None)
        waiting = stage.waiting
        waiting.add(1, "g2", [(5, "k", 1, "b"), (5, "k", 2, "a"), (5, "k", 3, "b")])
        waiting.add(0, "p2", [(5, "k", 4), (4, "k", 5), (5, "k", 6)])
        waiting.add(0, "p1", [(5, "k", 7)])
        waiting.add(1, "g1", [(5, "k", 8, "c"), (9, "k", 9, "c")])
        released = waiting.release(5, 100)
        assert [(rank, record[0], record[2]) for rank, record in released] == [
            (0, 4, 5),
            (0, 5, 7),
            (0, 5, 4),
            (0, 5, 6),
            (1, 5, 2),
            (1, 5, 1),
            (1, 5, 3),
            (1, 5, 8),
        ]
        assert len(waiting) == 1


STEP = st.tuples(
    st.integers(0, 2),
    st.sampled_from("pqr"),
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 3]), st.sampled_from("ab"))),
)


@settings(max_examples=150, deadline=None)
@given(
    inputs=st.lists(st.booleans(), min_size=1, max_size=3),
    bound=st.sampled_from([1, 2, 3, 5]),
    steps=st.lists(STEP | st.integers(0, 2) | st.just("commit"), max_size=14),
    limit=st.sampled_from([1, 3, 100]),
)
def test_any_number_may_wait_for_one_instant(inputs: list[bool], bound: int, steps: list[Any], limit: int) -> None:
    """Most records share their time: the order is that of arrival, wherever they have been meanwhile."""
    with tempfile.TemporaryDirectory() as directory:
        group, stage = open_stage(Path(directory), [InputCodec(from_stage=flag) for flag in inputs], bound)
        model: list[tuple[int, int, str, int, Any]] = []
        watermark_ms, arrivals = -1, 0
        with group:
            stage.resume(None)
            for step in steps:
                if step == "commit":
                    stage.commit(arrivals)
                elif isinstance(step, int):
                    watermark_ms += step
                    due = sorted(record for record in model if record[0] <= watermark_ms)
                    model = [record for record in model if record[0] > watermark_ms]
                    expected = [last if len(inputs) == 1 else (rank, last) for _, rank, _, _, last in due]
                    assert release_all(stage, watermark_ms, limit) == expected
                else:
                    rank, part, times = step[0] % len(inputs), step[1], step[2]
                    records: list[Any] = []
                    for delay_ms, name in times:
                        arrivals += 1
                        lane = (part + name).strip("pa") if inputs[rank] else part
                        record: Any = (watermark_ms + 1 + delay_ms, "k", arrivals, *([lane] if inputs[rank] else []))
                        model.append((record[0], rank, lane, arrivals, record))
                        records.append(record)
                    if records:
                        stage.waiting.add(rank, part, records)
            assert len(stage.waiting) == len(model)


def test_what_spills_and_comes_back_is_as_if_it_had_not(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, [InputCodec()], bound=50)
    source = random.Random(5)
    records: list[Any] = [(source.randrange(100), f"k{index}", {"n": index}) for index in range(2_000)]
    with group:
        stage.resume(None)
        released: list[Any] = []
        for start in range(0, 2_000, 100):
            stage.waiting.add(0, "p", records[start : start + 100])
            if start % 300 == 0:
                stage.commit(start)
        assert stage.waiting.spilled > 1_900
        assert len(stage.waiting) == 2_000
        stage.settle()
        for watermark_ms in range(100):
            released += release_all(stage, watermark_ms)
            if watermark_ms % 7 == 0:
                stage.commit(watermark_ms)
        assert released == sorted(records, key=itemgetter(0))
        stage.commit(None)
        assert len(stage.waiting) == 0


def test_more_than_the_bound_at_one_instant(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, [InputCodec()], bound=10)
    records: list[Any] = [(7, "k", index) for index in range(100)]
    with group:
        stage.resume(None)
        stage.waiting.add(0, "p", records.copy())
        stage.waiting.add(0, "p", [(8, "k", 100)])
        version = stage.commit(None)
    group, stage = open_stage(tmp_path, [InputCodec()], bound=10)
    with group:
        stage.resume(version)
        assert release_all(stage, 6) == []
        assert len(stage.waiting.release(7, 1_000)) <= 10, "no more than fits into memory"
    group, stage = open_stage(tmp_path, [InputCodec()], bound=10)
    with group:
        stage.resume(version)
        assert release_all(stage, 7) == records
        assert release_all(stage, 9) == [(8, "k", 100)]


class Order(msgspec.Struct):
    item: str
    price: float = 0.0


class OrderLater(msgspec.Struct):
    item: int


@pytest.mark.parametrize("bound", [1, 100])
def test_typed_values_survive_a_restart_and_a_change_of_type_is_refused(tmp_path: Path, bound: int) -> None:
    group, stage = open_stage(tmp_path, [InputCodec(Order)], bound)
    records: list[Any] = [(5, "k", Order("a", 1.5)), (6, "k", Order("b")), (7, "k", Order("c"))]
    with group:
        stage.resume(None)
        stage.waiting.add(0, "p", records.copy())
        version = stage.commit(None)
    group, stage = open_stage(tmp_path, [InputCodec(Order)], bound)
    with group:
        stage.resume(version)
        assert release_all(stage, 5) == records[:1]
    group, stage = open_stage(tmp_path, [InputCodec(OrderLater)], bound)
    with (
        group,
        pytest.raises(IncompatibleStateError, match=r"wait at input 0 .* group 000, .*`int`, got `str`.*; run the ver"),
    ):
        stage.resume(version)
        release_all(stage, 7)


def test_a_value_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, [InputCodec()])
    with group:
        stage.resume(None)
        stage.waiting.add(0, "p", [(5, "cart-9", object())])
        with pytest.raises(UserCodeError, match=r"records of input 0 cannot be stored .*'cart-9', <object"):
            stage.commit(None)
