"""Secondary indexes: their order, and that they are in step with the rows over commits, crashes and builds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.indexes import IndexSpec, build_indexes, indexed_key, rank_bytes
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest, ViewEntry
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore

ROW, INDEX = 3, 4
numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.integers(2**53 - 3, 2**53 + 3),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, math.inf, -math.inf]),
)


@given(numbers, numbers)
def test_greater_numbers_sort_first(one: float, other: float) -> None:
    first, second = rank_bytes(one), rank_bytes(other)
    assert first is not None and second is not None
    assert (first < second) == (one > other)
    assert (first == second) == (one == other)


@given(st.text(max_size=20), st.text(max_size=20))
def test_greater_texts_sort_first(one: str, other: str) -> None:
    first, second = rank_bytes(one), rank_bytes(other)
    assert first is not None and second is not None
    assert (first < second) == (one.encode() > other.encode())


@given(st.one_of(numbers, st.text(max_size=300)), st.text(max_size=8))
def test_an_entry_tells_its_key(value: Any, key: str) -> None:
    ranked = rank_bytes(value)
    assert ranked is not None
    assert indexed_key(id_bytes(INDEX) + ranked + key.encode()) == key


@pytest.mark.parametrize("value", [None, True, False, float("nan"), [1], {"a": 1}, b"x"])
def test_what_has_no_order_is_not_ranked(value: Any) -> None:
    assert rank_bytes(value) is None


def stage_of(store: GroupStore, *, indexed: bool = True) -> StageStore:
    indexes = [IndexSpec(INDEX, "score")] if indexed else []
    return store.stage("scores", [OperatorSpec("scores", dict, id=ROW, indexes=indexes)], [InputCodec()])


def expected_order(model: dict[str, dict[str, Any]]) -> list[str]:
    ranked = [(rank_bytes(row.get("score")), key.encode()) for key, row in model.items() if row]
    return [key.decode() for rank, key in sorted((rank, key) for rank, key in ranked if rank is not None)]


def stored_order(directory: Path) -> list[str]:
    database = Database(directory, 0, StoreOptions())
    try:
        prefix = id_bytes(INDEX)
        return [indexed_key(key) for key, _ in database.scan(ROWS, prefix, successor(prefix))]
    finally:
        database.close()


stored_integers = st.integers(-(2**63), 2**63 - 1)
changes = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from("abcde"),
            st.one_of(st.none(), st.integers(-3, 3), st.floats(-2, 2), st.sampled_from(["x", "y", True, [1]])),
        ),
        st.sampled_from(["commit", "settle", "crash", "crash in doubt"]),
    ),
    max_size=40,
)


@given(changes)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_is_in_step_with_its_rows(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """Compared with a dict: whatever is committed, promoted, discarded after a crash, and done again."""
    directory = tmp_path_factory.mktemp("index")
    options = StoreOptions(sync=False)
    store = GroupStore.open(directory, 0, options)
    stage = stage_of(store)
    stage.resume(None)
    now: dict[str, dict[str, Any]] = {}
    committed: dict[int, dict[str, dict[str, Any]]] = {0: {}}

    def commit() -> None:
        version = stage.commit(None)
        committed[version] = {key: dict(row) for key, row in now.items()}

    for step in steps:
        if isinstance(step, tuple):
            key, score = step
            row = stage.tables[0].fetch(key)
            row.state.clear()
            if score is not None:
                row.state["score"] = score
            now[key] = dict(row.state)
            stage.tables[0].mark(row)
        elif step == "commit":
            commit()
        elif step == "settle":
            stage.settle()
        else:
            version = stage.version
            if step == "crash in doubt" and version and stage._redo.pending is not None:
                version -= 1
            store.close()
            store = GroupStore.open(directory, 0, options)
            stage = stage_of(store)
            stage.resume(version or None)
            now = {key: dict(row) for key, row in committed[version].items()}
    commit()
    stage.settle()
    store.close()
    assert stored_order(directory) == expected_order(now)


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=3), st.none())
    )
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_that_is_built_later_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, Any]
) -> None:
    directory = tmp_path_factory.mktemp("index")
    with GroupStore.open(directory, 0, StoreOptions(sync=False)) as store:
        stage = stage_of(store, indexed=False)
        stage.resume(None)
        for key, score in scores.items():
            row = stage.tables[0].fetch(key)
            row.state["score"] = score
            stage.tables[0].mark(row)
        stage.commit(None)
        stage.settle()
    view = ViewEntry(operator="scores", operator_id=ROW, index="score", index_id=INDEX, is_built=False)
    manifest = Manifest(flow="f", key_groups=1, sources={}, operators={}, outputs={}, stages=[], views={"scores": view})
    built = build_indexes(directory, manifest)
    assert build_indexes(directory, manifest) == built, "a kill in between means that it is done again"
    assert built.views["scores"].is_built
    assert stored_order(directory) == expected_order({key: {"score": score} for key, score in scores.items()})


def test_a_field_that_is_left_out_has_its_default(tmp_path: Path) -> None:
    class Cart(msgspec.Struct, omit_defaults=True):
        cents: int = 0
        items: int = 0

    with GroupStore.open(tmp_path, 0, StoreOptions(sync=False)) as store:
        spec = OperatorSpec("carts", Cart, id=ROW, indexes=[IndexSpec(INDEX, "cents", "", 0)])
        stage = store.stage("carts", [spec], [InputCodec()])
        stage.resume(None)
        for key, cents in (("a", 0), ("b", 5), ("c", -5)):
            row = stage.tables[0].fetch(key)
            row.state.cents, row.state.items = cents, 1
            stage.tables[0].mark(row)
        stage.commit(None)
        stage.settle()
    assert stored_order(tmp_path) == ["b", "a", "c"]
