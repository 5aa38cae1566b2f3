"""Rows that were touched: what of them is stored, and what a reader then finds."""

from __future__ import annotations

import tempfile
from typing import Optional

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes
from headway.state.options import StoreOptions
from headway.state.rows import Row, RowTable
from headway.state.stage import OperatorSpec, StageStore


class Count(msgspec.Struct):
    count: int = 0
    seen: list[int] = []


Kept = tuple[int, tuple[int, ...], Optional[int]]
NOTHING: Kept = (0, (), None)
KEYS = st.sampled_from(["a", "b", "é"])
TIMES = st.sampled_from([-1, 0, 127, 128, 70_000, 1 << 40])
ACTIONS = st.one_of(
    st.tuples(st.just("look"), KEYS, TIMES, st.just(0)),
    st.tuples(st.just("count"), KEYS, TIMES, st.sampled_from([-1, 1])),
    st.tuples(st.just("see"), KEYS, TIMES, st.integers(0, 1)),
    st.tuples(st.just("timer"), KEYS, TIMES, st.integers(5, 7)),
    st.tuples(st.just("cancel"), KEYS, TIMES, st.just(0)),
    st.tuples(st.just("forget"), KEYS, TIMES, st.just(0)),
)
EPOCHS = st.lists(st.tuples(st.lists(ACTIONS, max_size=5), st.booleans()), max_size=8)


def apply(table: RowTable, row: Row, kept: Kept, what: str, number: int) -> Kept:
    """Do to a row what a handler might do; returns what it then is."""
    count, seen, due_ms = kept
    if what == "count":
        row.state.count += number
        return count + number, seen, due_ms
    if what == "see":
        row.state.seen = [number]
        return count, (number,), due_ms
    if what == "timer":
        table.set_timer(row, "t", number)
        return count, seen, number
    if what == "cancel":
        table.cancel_timer(row, "t")
        return count, seen, None
    if what == "forget":
        table.forget(row)
        return NOTHING
    return kept


def delta_of(store: StageStore) -> dict[str, bool]:
    """Which rows the last commit has stored (True) or removed (False)."""
    rows = store.tables[0].pending
    return {key[len(id_bytes(0)) :].decode(): value is not None for key, value in rows.items()}


@settings(deadline=None)
@given(epochs=EPOCHS)
def test_only_rows_that_have_changed_are_stored(epochs: list[tuple[list[tuple[str, str, int, int]], bool]]) -> None:
    options = StoreOptions(sync=False)
    with tempfile.TemporaryDirectory() as directory:
        kept: dict[str, Kept] = {}
        version: Optional[int] = None
        number = 0
        group = GroupStore.open(directory, 0, options)
        try:
            store = group.stage("s", [OperatorSpec("s", Count)], [InputCodec()])
            store.resume(None)
            for actions, restarts in epochs:
                number += 1
                before = dict(kept)
                indexed = {key: store.tables[0].fetch(key).indexed for key in kept}
                for what, key, time_ms, change in actions:
                    row = store.tables[0].fetch(key)
                    if not row.dirty:
                        store.tables[0].mark(row)
                    row.touched_ms = time_ms
                    kept[key] = apply(store.tables[0], row, kept.get(key, NOTHING), what, change)
                moved = {key for key in before if store.tables[0].fetch(key).indexed != indexed[key]}
                version = store.commit({"number": number})
                found = delta_of(store)
                changed = {key for key in kept if kept[key] != before.get(key, NOTHING)}
                assert changed <= set(found) <= changed | moved
                assert {key for key, is_there in found.items() if not is_there} == {
                    key for key in changed if kept[key] == NOTHING
                }
                assert store.row_count == sum(row != NOTHING for row in kept.values())
                store.settle()
                if restarts:
                    group.close()
                    group = GroupStore.open(directory, 0, options)
                    store = group.stage("s", [OperatorSpec("s", Count)], [InputCodec()])
                    store.resume(version)
                for key, (count, seen, due_ms) in kept.items():
                    row = store.tables[0].fetch(key)
                    assert (row.state.count, tuple(row.state.seen)) == (count, seen)
                    assert (row.timers or {}).get("t") == due_ms
        finally:
            group.close()


def test_a_touch_alone_stores_nothing() -> None:
    with tempfile.TemporaryDirectory() as directory, GroupStore.open(directory, 0) as group:
        store = group.stage("s", [OperatorSpec("s", Count)], [InputCodec()])
        store.resume(None)
        table = store.tables[0]
        row = table.fetch("a")
        row.state.count = 1
        table.mark(row)
        version = store.commit(None)
        store.settle()
        for time_ms in (1, 200, 1 << 40):
            row.touched_ms = time_ms
            table.mark(row)
            fresh = table.fetch(f"new{time_ms}")
            table.mark(fresh)
            assert store.commit(None) == version
