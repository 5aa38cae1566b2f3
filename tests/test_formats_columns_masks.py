"""What is told of columns without making their events, against the events themselves."""

from __future__ import annotations

from itertools import compress
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.formats.columns import ColumnsDecoder
from headway.operators.conditions import mask_of
from headway.types.eventcolumns import EventColumns, picked

pa = pytest.importorskip("pyarrow")


class Click(hw.Event):
    at: hw.Time
    kind: Optional[str] = None
    cents: Optional[int] = None
    size: int = 0
    ratio: float = 0.0
    ok: bool = True


TEXTS = st.sampled_from(["", "add", "view", "ä", "\x00", "add "])
WANTED = st.one_of(
    TEXTS, st.integers(-2, 2), st.floats(-2, 2), st.booleans(), st.none(), st.sampled_from(["\ud800", 2**70, 2**63])
)
TIMES = st.one_of(st.integers(-5, 2_000), st.integers(-3_000_000, 3_000_000))
AT = [
    (pa.int64(), 1, 1),
    (pa.timestamp("s"), 1_000, 1),
    (pa.timestamp("ms", "UTC"), 1, 1),
    (pa.timestamp("us"), 1, 1_000),
    (pa.timestamp("ns", "UTC"), 1, 1_000_000),
    (pa.date32(), 86_400_000, 1),
]
"""Types of the time: milliseconds are a number of these times a factor, by a divisor."""
COLUMNS = {
    "kind": (st.one_of(TEXTS, st.none()), [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]),
    "cents": (st.one_of(st.integers(-2, 2), st.none()), [pa.int8(), pa.int64(), pa.dictionary(pa.int8(), pa.int32())]),
    "size": (st.integers(0, 2), [pa.uint8(), pa.int64(), pa.uint64()]),
    "ratio": (st.floats(-2, 2, width=16), [pa.float32(), pa.float64()]),
    "ok": (st.booleans(), [pa.bool_()]),
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[Any, list[Click]]:
    """Some rows, and the events that they are."""
    count = draw(st.integers(1, 12))
    at_type, factor, divisor = draw(st.sampled_from(AT))
    counts = draw(st.lists(TIMES, min_size=count, max_size=count))
    arrays = {"at": pa.array(counts, pa.int32() if at_type == pa.date32() else pa.int64()).cast(at_type)}
    values: dict[str, list[Any]] = {"at": [count * factor // divisor for count in counts]}
    for name, (each, types) in COLUMNS.items():
        values[name] = draw(st.lists(each, min_size=count, max_size=count))
        arrays[name] = pa.array(values[name], draw(st.sampled_from(types)))
    start = draw(st.integers(0, count - 1))
    end = draw(st.integers(start + 1, count))
    events = [Click(*row) for row in zip(*values.values())]
    return pa.record_batch(arrays).slice(start, end - start), events[start:end]


def columns_of(batch: Any) -> EventColumns:
    decoder = ColumnsDecoder(Click)
    decoder.check(batch.schema)
    found = decoder.rows(batch, is_valid=True).decode(0, batch.num_rows).events
    assert isinstance(found, EventColumns), "the test proves nothing"
    return found


@given(batches(), st.sampled_from(["kind", "cents", "size", "ratio", "ok"]), st.lists(WANTED, min_size=1, max_size=3))
def test_a_condition_chooses_the_events_that_python_finds_equal(
    rows: tuple[Any, list[Click]], field: str, wanted: list[Any]
) -> None:
    columns, events = columns_of(rows[0]), rows[1]
    expected = [getattr(event, field) in wanted for event in events]
    mask = mask_of(hw.where(**{field: wanted}).bind(Click), columns)
    assert list(map(bool, mask)) == expected
    assert columns.chosen(mask) == list(compress(events, expected))
    both = hw.where(**{field: wanted, "size": [0, 1]}).bind(Click)
    assert list(map(bool, mask_of(both, columns))) == list(map(both, events))


@given(batches(), st.data())
def test_what_is_chosen_is_what_a_mask_says(rows: tuple[Any, list[Click]], data: st.DataObject) -> None:
    columns, events = columns_of(rows[0]), rows[1]
    truths = st.sampled_from([0, 1, "", "yes", None, True])
    mask = data.draw(st.lists(truths, min_size=len(events), max_size=len(events)))
    expected = list(compress(events, mask))
    assert columns.chosen(mask) == expected
    assert columns.chosen(bytes(map(bool, mask))) == expected
    assert columns == events
    assert columns.chosen(mask) == expected, "the events are there now"


@given(batches(), st.data())
def test_numbers_are_those_of_the_events(rows: tuple[Any, list[Click]], data: st.DataObject) -> None:
    columns, events = columns_of(rows[0]), rows[1]
    for field in ("at", "cents", "size", "kind", "ratio", "ok", "nothing"):
        found = columns.numbers_of(field)
        if found is None:
            assert field not in ("at", "size")
            continue
        values = [getattr(event, field) for event in events]
        assert found.span == (min(values), max(values), sorted(values) == values)
        mask = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
        assert found.chosen(mask) == list(compress(values, mask))
        assert (list(found), found[0], len(found)) == (values, values[0], len(values))
        assert picked(found, mask) == list(compress(values, mask))


def test_text_is_compared_without_looking_at_each() -> None:
    batch = pa.record_batch({"at": [1, 2, 3], "kind": ["add", "view", "add"]})
    columns = columns_of(batch)
    assert columns.holding("kind", ["add"]) == b"\x01\x00\x01"
    assert columns.holding("kind", ["nothing"]) == b"\x00\x00\x00"
    assert columns.holding("at", [2]) == b"\x00\x01\x00"
    assert columns.holding("ratio", [0.0]) is None
    assert columns.holding("kind", ["add", 1]) is None
