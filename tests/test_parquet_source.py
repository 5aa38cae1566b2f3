"""Files of columns as an input: the contract, what rows become compared with JSON, what is refused."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parquet_harness import Order, orders, put, put_arrow, read

import headway as hw
from headway.connectors.naming import in_order
from headway.errors import InputError
from headway.formats.arrays import values_of
from headway.formats.columns import ColumnsDecoder
from headway.testing import check_transport
from headway.types.decoding import LineCodec

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402 - it is there only where the test runs.

UTC = dt.timezone.utc


class Item(msgspec.Struct):
    sku: str
    cents: int


class Wide(hw.Event):
    at: hw.Time
    user: str
    kind: Literal["add", "view"]
    cents: Annotated[int, msgspec.Meta(ge=0)]
    price: float
    items: list[Item] = []
    note: Optional[str] = None
    seen: Optional[dt.datetime] = None
    ok: bool = True


def test_the_contract_file_by_file(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", orders(range(10)))
    put(tmp_path / "b.parquet", orders(range(10, 14)), groups=100)
    put(tmp_path / "empty.parquet", [], pa.schema({"n": pa.int64()}))

    def new_partition() -> str:
        return put(tmp_path / "c.parquet", orders(range(3))).name

    expected = {
        "a.parquet": [Order(n, f"u{n % 3}") for n in range(10)],
        "b.parquet": [Order(n, f"u{n % 3}") for n in range(10, 14)],
        "empty.parquet": [],
    }
    check_transport(hw.parquet(tmp_path), Order, expected, new_partition=new_partition)


def test_the_contract_of_all_files_as_one_log(tmp_path: Path) -> None:
    put(tmp_path / "day-9.parquet", orders(range(7)))
    put(tmp_path / "day-10.parquet", orders(range(7, 8)))
    put(tmp_path / "day-11.parquet", [], pa.schema({"n": pa.int64()}))
    put(tmp_path / "day-12.parquet", orders(range(8, 20)))
    given = hw.parquet(tmp_path / "*.parquet", one_log=True)
    assert in_order(["b", "a10", "a9"]) == ["a9", "a10", "b"]
    check_transport(given, Order, {"*.parquet": [Order(n, f"u{n % 3}") for n in range(20)]})


def test_files_of_arrow_are_read_too(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(orders(range(20_000)))
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=9_000)
    events, bad = read(hw.parquet(tmp_path / "*.arrow"), Order)
    assert ([event.n for event in events], bad) == (list(range(20_000)), [])


VALUES = {
    "at": st.integers(0, 2**42).map(lambda ms: dt.datetime.fromtimestamp(ms // 1000, UTC)),
    "user": st.sampled_from(["ann", "bob", "é", "", "\U0001f6d2"]),
    "kind": st.sampled_from(["add", "view", "other"]),
    "cents": st.integers(-1, 2**40),
    "price": st.floats(allow_nan=False, allow_infinity=False),
    "items": st.lists(st.fixed_dictionaries({"sku": st.sampled_from("ab"), "cents": st.integers(-5, 5)}), max_size=2),
    "note": st.sampled_from(["x", "yy"]),
    "seen": st.integers(0, 2**52).map(
        lambda us: dt.datetime.fromtimestamp(us // 10**6, UTC).replace(microsecond=us % 10**6)
    ),
    "ok": st.booleans(),
}
SCHEMA = pa.schema(
    {
        "at": pa.timestamp("ms", "Europe/Berlin"),
        "user": pa.string(),
        "kind": pa.dictionary(pa.int8(), pa.string()),
        "cents": pa.int64(),
        "price": pa.float64(),
        "items": pa.list_(pa.struct({"sku": pa.string(), "cents": pa.int32()})),
        "note": pa.large_string(),
        "seen": pa.timestamp("us", "UTC"),
        "ok": pa.bool_(),
    }
)
DEFAULTED = ("items", "ok")


@given(
    rows=st.lists(st.fixed_dictionaries({name: st.none() | one for name, one in VALUES.items()}), max_size=12),
    clean=st.booleans(),
    groups=st.integers(1, 8),
    size=st.sampled_from([1, 200, 1 << 16]),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_the_events_and_dead_letters_that_the_same_rows_are_as_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], clean: bool, groups: int, size: int
) -> None:
    if clean:  # So that whole blocks fit, and not only some of their rows.
        rows = [row for row in rows if None not in row.values() and row["kind"] != "other" and row["cents"] >= 0]
    path = put(tmp_path_factory.mktemp("rows") / "a.parquet", rows, SCHEMA, groups)
    codec, expected, wrong = LineCodec(Wide), [], []
    for number, row in enumerate(rows):
        line = {name: row[name] for name in SCHEMA.names if not (row[name] is None and name in DEFAULTED)}
        try:
            expected.append(codec.decode_record(msgspec.json.encode(line)))
        except ValueError as error:
            wrong.append((number, str(error)))
    events, bad = read(hw.parquet(path), Wide, size)
    assert events == expected
    assert [msgspec.msgpack.encode(event) for event in events] == [msgspec.msgpack.encode(each) for each in expected]
    assert [(one.ordinal, one.reason) for one in bad] == wrong
    assert [one.position for one in bad] == [f"row {number + 1}" for number, _ in wrong]
    # What a dead letter holds is what can be put back in, once it is mended.
    assert [json.loads(one.raw)["user"] for one in bad] == [rows[number]["user"] for number, _ in wrong]


class Stamped(hw.Event):
    n: int
    at: hw.Time
    price: Decimal = Decimal(0)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_instants_of_any_unit_are_epoch_milliseconds(tmp_path: Path, unit: str, zone: Optional[str]) -> None:
    moments = [dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), dt.datetime(2024, 5, 1, 12, tzinfo=UTC)]
    at = pa.array([moment if zone else moment.replace(tzinfo=None) for moment in moments], pa.timestamp(unit, zone))
    parquet.write_table(pa.table({"n": [0, 1], "at": at, "price": [Decimal("1.50")] * 2}), tmp_path / "a.parquet")
    events, bad = read(hw.parquet(tmp_path), Stamped)
    assert events == [Stamped(n, int(moment.timestamp() * 1_000), Decimal("1.50")) for n, moment in enumerate(moments)]
    assert bad == []


def test_days_and_texts_are_times_too_and_untyped_events_hold_what_json_has(tmp_path: Path) -> None:
    day, text = [dt.date(2024, 5, 1)], ["2024-05-01T00:00:00Z"]
    parquet.write_table(pa.table({"n": [1], "at": day}), tmp_path / "day.parquet")
    parquet.write_table(pa.table({"n": [1], "at": text}), tmp_path / "text.parquet")
    assert read(hw.parquet(tmp_path), Stamped)[0] == [Stamped(1, 1_714_521_600_000)] * 2
    table = {
        "at": pa.array([0], pa.timestamp("us", "UTC")),
        "raw": [b"\x00"],
        "all": pa.array([[("a", [1])]], pa.map_(pa.string(), pa.list_(pa.int8()))),
        "none": pa.array([None], pa.string()),
    }
    parquet.write_table(pa.table(table), tmp_path / "json.parquet")
    found = read(hw.parquet(tmp_path / "json.parquet"), hw.Json)[0]
    assert found == [{"at": "1970-01-01T00:00:00Z", "raw": "AA==", "all": {"a": [1]}, "none": None}]


def test_text_that_is_no_utf8_is_a_dead_letter(tmp_path: Path) -> None:
    users = _forged()
    parquet.write_table(pa.table({"n": [1, 2, 3], "user": users}), tmp_path / "a.parquet")
    events, bad = read(hw.parquet(tmp_path), Order)
    assert events == [Order(1, "ann"), Order(3, "bob")]
    assert [(one.ordinal, one.reason[:9]) for one in bad] == [(1, "not UTF-8")]


def _forged() -> Any:
    plain = pa.array([b"ann", b"caf\xe9", b"bob"])
    return pa.StringArray.from_buffers(3, plain.buffers()[1], plain.buffers()[2])


def test_files_whose_columns_cannot_be_events_are_refused_before_a_row_is_read(tmp_path: Path) -> None:
    put(tmp_path / "1.parquet", orders(range(3)))
    put(tmp_path / "2.parquet", [{"user": "ann"}])
    decoder = ColumnsDecoder(Order)
    with closing(hw.parquet(tmp_path, one_log=True).open("*.parquet", None, follow=False)) as reader:
        chunk = reader.read(1)
        assert chunk is not None
        with pytest.raises(InputError, match=r"2\.parquet: there is no column 'n', which Order needs: .* user"):
            chunk.decode(decoder)
    put(tmp_path / "2.parquet", [{"n": "one"}])
    with pytest.raises(InputError, match=r"the column 'n' holds string, of which no value fits into .*'n' of Order"):
        read(hw.parquet(tmp_path / "2.parquet"), Order)


def test_steps_on_columns_give_what_steps_on_events_give(tmp_path: Path) -> None:
    """Filters, keys, lateness and dead letters, where an event is made only when a step needs it."""
    rows: list[dict[str, Any]] = [
        {"at": 1_000 * n - (5_000 if n % 7 == 0 else 0), "user": f"u{n % 5}", "kind": "abc"[n % 3], "n": n}
        for n in range(3_000)
    ]
    rows[17]["at"] = -(2**60)
    put(tmp_path / "in.parquet", rows, groups=500)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {}
    for name, source in (("columns", hw.parquet(tmp_path)), ("lines", hw.files(tmp_path / "in.jsonl"))):
        flow = hw.Flow("steps")
        steps = flow.source("steps", Step, source, time="at", out_of_order="2s")
        outputs: dict[str, list[Any]] = {"late": [], "kept": [], "counted": [], "bad": [], "twice": []}
        steps.filter(hw.where(kind="a")).filter(hw.where(user=("u1", "u2"))).to("kept", hw.to_list(outputs["kept"]))
        steps.filter(lambda step: step.n % 100 == 0).to("twice", hw.to_list(outputs["twice"]))
        keyed = steps.key_by("user")
        keyed.window("counted", hw.tumbling("10s"), n=hw.sum("n")).to("counts", hw.to_list(outputs["counted"]))
        steps.late.filter(hw.where(kind="b")).to("late", hw.to_list(outputs["late"]))
        steps.dead_letters.map(lambda letter: letter.reason).to("bad", hw.to_list(outputs["bad"]))
        hw.run(flow, state=tmp_path / name, drain=True)
        found[name] = outputs
    assert found["columns"] == found["lines"]
    assert all(found["lines"].values())


class Step(hw.Event):
    n: int
    at: int
    user: str
    kind: str


class Noted(hw.Event):
    n: int
    tags: list[str] = []
    extra: Any = None


class Bare(hw.Event):
    pass


def nested(n: int) -> dict[str, Any]:
    return {"n": n, "tags": [f"t{n}"], "extra": {"seen": [n]}}


@pytest.mark.parametrize("event_type", [Noted, hw.Json])
@pytest.mark.parametrize("has_bad", [False, True])
def test_what_a_step_changes_in_an_event_is_not_in_what_is_decoded_again(
    tmp_path: Path, event_type: Any, has_bad: bool
) -> None:
    rows = [nested(n) for n in range(5)] + ([{**nested(5), "n": None}] if has_bad else [])
    schema = {"n": pa.int64(), "tags": pa.list_(pa.string()), "extra": pa.struct({"seen": pa.list_(pa.int64())})}
    given = hw.parquet(put(tmp_path / "a.parquet", rows, pa.schema(schema), groups=10))
    decoder = given.format.decoder(event_type)
    with closing(given.open("a.parquet", None, follow=False)) as reader:
        chunk = reader.read(1 << 20)
        assert chunk is not None
        for _ in range(2):
            decoded = chunk.decode(decoder)
            found = [event if event_type is hw.Json else msgspec.to_builtins(event) for event in decoded.events]
            assert found[:5] == [nested(n) for n in range(5)]
            for event in decoded.events:
                tags, extra = (
                    event[name] if event_type is hw.Json else getattr(event, name) for name in schema if name != "n"
                )
                tags.append("changed")
                extra["seen"].clear()
        assert json.loads(chunk.record(3)[1]) == nested(3), "what goes to the dead letters later is as it was read"
        assert len(decoded.bad) == (has_bad and event_type is Noted)


def test_values_of_a_dictionary_of_lists_are_each_rows_own() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 0, 1]), pa.array([["a"], []]))
    first, second, _ = found = values_of(array)
    assert found == [["a"], ["a"], []] and first is not second


def test_a_file_without_a_column_of_the_event_is_refused_and_an_event_without_fields_counts_rows(
    tmp_path: Path,
) -> None:
    class Other(hw.Event):
        sku: str = ""

    for name, write in (("a.parquet", put), ("a.arrow", put_arrow)):
        given = hw.parquet(write(tmp_path / name, [{"n": n} for n in range(7)]))
        with closing(given.open(name, None, follow=False)) as reader:
            chunk = reader.read(1 << 20)
            assert chunk is not None
            with pytest.raises(InputError, match="none of its columns is a field of Other: the columns are n, and the"):
                chunk.decode(given.format.decoder(Other))
        found: list[Any] = []
        with closing(given.open(name, None, follow=False)) as reader:
            while (chunk := reader.read(1 << 20)) is not None:
                found += chunk.decode(given.format.decoder(Bare)).events
        assert found == [Bare()] * 7
