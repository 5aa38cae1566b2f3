"""Lookup tables: what is read, when it is read again, and what is said of broken ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import pytest

import headway as hw
from headway.errors import InputError
from headway.graph import Port
from headway.operators.joins.lookups import enricher
from headway.results import Pair
from headway.runtime.run import RunOptions, run_flow
from headway.testing import FlowTest


class Product(hw.Event):
    sku: str
    price: float
    label: str = "?"
    ref: Optional[int] = None


class Order(hw.Event):
    sku: str
    at: hw.Time
    user: str = "ann"


class Line(hw.Event):
    sku: str
    price: Optional[float]


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def replace(path: Path, text: str, *, mtime: int) -> None:
    """Replace a file as it should be done: a complete one is renamed to its name."""
    path.with_suffix(".new").write_text(text)
    os.utime(path.with_suffix(".new"), (mtime, mtime))
    path.with_suffix(".new").rename(path)


TABLES = {
    "products.csv": "sku,price,label,ref\ns1,9.5,Tea,7\n\ns2,3,,\n",
    "products.tsv": "sku\tprice\tlabel\tref\ns1\t9.5\tTea\t7\ns2\t3\t\t\n",
    "products.json": '[{"sku": "s1", "price": 9.5, "label": "Tea", "ref": 7},\n {"sku": "s2", "price": 3}]',
    "products.jsonl": '{"sku": "s1", "price": 9.5, "label": "Tea", "ref": 7}\n\n{"sku": "s2", "price": 3}\n',
    "products.NDJSON": '{"sku": "s1", "price": 9.5, "label": "Tea", "ref": 7}\r\n{"sku": "s2", "price": 3}',
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_of_their_type_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TABLES[name])
    table = hw.lookup(tmp_path / name, key="sku", type=Product)
    assert table.get("s1") == Product("s1", 9.5, "Tea", 7)
    assert table.get("s2") == Product("s2", 3.0)
    assert table.get("s3") is None
    assert len(table) == 2


def test_rows_without_a_type_are_objects_and_of_csv_their_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeffid,note\n7,"a ""b"",\nc"\n8,\n', encoding="utf-8")
    (tmp_path / "t.json").write_text('[{"id": 7, "note": [1]}]')
    rows = hw.lookup(str(tmp_path / "t.csv"), key="id")
    assert rows.get("7") == {"id": "7", "note": 'a "b",\nc'}
    assert rows.get("8") == {"id": "8", "note": ""}
    assert hw.lookup(tmp_path / "t.json", key="id").get("7") == {"id": 7, "note": [1]}


def test_integers_are_the_same_as_their_digits(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n7\n")
    (tmp_path / "t.json").write_text('[{"id": 7}]')
    for name in ("t.csv", "t.json"):
        table = hw.lookup(tmp_path / name, key="id")
        assert table.get(7) is not None
        assert table.get(7) is table.get("7")
        assert [table.get(other) for other in (True, 7.0, None, "07")] == [None] * 4


def test_without_refresh_a_table_is_read_once_and_not_before_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = hw.lookup(path, key="id")
    path.write_text("id,v\n1,a\n")
    assert table.get("1") == {"id": "1", "v": "a"}
    replace(path, "id,v\n1,b\n", mtime=1)
    assert table.get("1") == {"id": "1", "v": "a"}


def test_an_empty_table_is_read_once_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,v\n")
    table = hw.lookup(path, key="id")
    assert table.get("1") is None
    path.unlink()
    assert table.get("1") is None


def test_with_refresh_a_changed_file_is_read_again_at_most_that_often(tmp_path: Path) -> None:
    path, clock = tmp_path / "t.csv", Clock()
    path.write_text("id,v\n1,a\n2,a\n")
    table = hw.lookup(path, key="id", refresh="1m", clock=clock)
    found = []
    for mtime, text in ((10, "id,v\n1,b\n"), (11, "id,v\n1,c\n")):
        found.append(table.get("1"))
        replace(path, text, mtime=mtime)
        clock.now += 59
        found.append(table.get("1"))
        clock.now += 1
    found.append(table.get("1"))
    assert [row and row["v"] for row in found] == ["a", "a", "b", "b", "c"]
    assert table.get("2") is None


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "t.csv", Clock()
    path.write_text("id,v\n1,a\n")
    table = hw.lookup(path, key="id", refresh=1, clock=clock)
    row = table.get("1")
    clock.now += 60
    assert table.get("1") is row


BROKEN = [
    ("t.csv", "", 1, "the line with the names of the columns is missing"),
    ("t.csv", "name\nx\n", 2, "there is no 'id', only 'name'"),
    ("t.csv", "id,v\n1,a\n2\n", 3, "1 cells, but there are 2 names of columns"),
    ("t.csv", "id,id\n1,a\n", 1, "two columns have the name 'id'"),
    ("t.csv", "id,v\n1,a\n2,b\n1,c\n", 4, "the key '1' is there already, in line 2"),
    ("t.csv", 'id,v\n1,"a" b\n', 2, "not CSV"),
    ("t.csv", b"id,v\n1,\xff\n", 2, "not UTF-8"),
    ("t.json", '[{"id": 1},', 1, "not JSON"),
    ("t.json", '{"id": 1}', 1, "expected an array of objects"),
    ("t.json", '[{"id": 1}, 5]', 2, "expected an object, not 5"),
    ("t.json", '[{"id": 1}, {"id": null}]', 2, "the key id=None is neither text nor an integer"),
    ("t.jsonl", '{"id": 1}\n\n{"id" 2}\n', 3, "not JSON"),
    ("t.jsonl", b'{"id": "\xff"}\n', 1, "not JSON"),
    ("t.jsonl", '{"id": 1}\n{"id": "1"}\n', 2, "the key '1' is there already, in line 1"),
]


@pytest.mark.parametrize(("name", "text", "line", "reason"), BROKEN)
def test_a_broken_table_is_told_with_its_line(
    tmp_path: Path, name: str, text: str | bytes, line: int, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as raised:
        hw.lookup(path, key="id").get("1")
    place = "object" if name == "t.json" else "line"
    assert f"the lookup table {str(path)!r}, {place} {line}: {reason}" in str(raised.value)
    assert "Correct the file and start the run again" in str(raised.value)


def test_a_row_of_another_type_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sku,price\ns1,1\ns2,cheap\n")
    with pytest.raises(InputError, match=r"line 3: this is not a Product: Expected `float`.*price"):
        hw.lookup(path, key="sku", type=Product).get("s1")


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file or directory \(looked for in .*\); check"):
        hw.lookup(tmp_path / "t.csv", key="id").get("1")


def test_a_broken_new_version_is_told_too(tmp_path: Path) -> None:
    path, clock = tmp_path / "t.csv", Clock()
    path.write_text("id,v\n1,a\n")
    table = hw.lookup(path, key="id", refresh="1s", clock=clock)
    table.get("1")
    replace(path, "id,v\n1\n", mtime=1)
    clock.now += 1
    with pytest.raises(InputError, match="line 2: 1 cells"):
        table.get("1")
    path.unlink()
    clock.now += 1
    with pytest.raises(InputError, match="No such file"):
        table.get("1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "t.parquet", "key": "id"}, "expected one of .csv, .tsv, .json"),
        ({"path": "t.csv", "key": "id", "type": Product}, "key='id' should be one of the fields of Product"),
        ({"path": "t.csv", "key": None}, "key=None should be a column of the file"),
        ({"path": "t.csv", "key": "id", "refresh": "often"}, "'often'"),
        ({"path": "t.csv", "key": "id", "refresh": 0}, "refresh"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(hw.FlowError, match=r"test_lookup\.py") as raised:
        hw.lookup(options.pop("path"), **options)
    assert message in str(raised.value)


def orders(table: Any, **options: Any) -> hw.Flow:
    flow = hw.Flow("orders")
    source = flow.source("orders", Order, hw.items([]), time="at")
    source.key_by("user").enrich("priced", table, **options).to("out", hw.to_list([]))
    return flow


def enriched(flow: hw.Flow, *skus: str) -> list[Any]:
    test = FlowTest(flow)
    for number, sku in enumerate(skus):
        test.send("orders", Order(sku, number))
    test.drain()
    return [line["right"] if isinstance(line, dict) and "right" in line else line for line in test.triggers()]


@pytest.fixture
def products(tmp_path: Path) -> Any:
    (tmp_path / "products.csv").write_text(TABLES["products.csv"])
    return hw.lookup(tmp_path / "products.csv", key="sku", type=Product)


def test_events_are_enriched(products: Any) -> None:
    flow = orders(products, on="sku")
    assert flow.graph.types[Port("priced")] == Pair[Order, Optional[Product]]
    tea, other = {"sku": "s1", "price": 9.5, "label": "Tea", "ref": 7}, {"sku": "s2", "price": 3.0, "label": "?"}
    assert enriched(flow, "s1", "s3", "s2") == [tea, None, {**other, "ref": None}]
    by_function = orders(products, on=lambda order: order.sku.lower(), missing="drop")
    assert by_function.graph.types[Port("priced")] == Pair[Order, Product]
    assert [row["sku"] for row in enriched(by_function, "S1", "s3", "s2")] == ["s1", "s2"]


def test_select_makes_what_comes_out(products: Any) -> None:
    def line(order: Order, product: Optional[Product]) -> Line:
        return Line(order.sku, None if product is None else product.price)

    flow = orders(products, on="sku", select=line)
    assert flow.graph.types[Port("priced")] == Line
    assert enriched(flow, "s1", "s3") == [{"sku": "s1", "price": 9.5}, {"sku": "s3", "price": None}]
    plain = orders(products, on="sku", select=lambda order, product: product.price, into=float, missing="drop")
    assert enriched(plain, "s1", "s3") == [9.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "id"}, "Order has no field 'id'"),
        ({"on": None}, "on=None: say what names the row"),
        ({"on": "sku", "missing": "side"}, "missing='side': expected"),
        ({"on": "sku", "into": Line}, "is the type of what select= makes"),
        ({"on": "sku", "table": {"s1": 1}}, "is not a lookup table"),
    ],
)
def test_wrong_options_of_enrich(products: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(hw.FlowError, match=r"test_lookup\.py") as raised:
        orders(options.pop("table", products), **options)
    assert message in str(raised.value)


def test_untyped_events_without_the_field_have_no_row(products: Any) -> None:
    function, result = enricher(products, hw.Json, on="sku", missing="drop")
    assert result == Pair[hw.Json, Product]
    assert function({"no": "sku"}) == []
    assert function({"sku": "s1"})[0].right.label == "Tea"


def test_streams_without_a_key_are_enriched(tmp_path: Path) -> None:
    table = tmp_path / "names.csv"
    table.write_text("id,name\n1,one\n")
    flow = hw.Flow("f")
    events = flow.source("events", hw.Json, hw.items([]), time="at")
    named = events.enrich("named", hw.lookup(table, key="id"), on="id", select=lambda event, row: row, missing="drop")
    named.to("out", hw.to_list([]))
    test = FlowTest(flow)
    test.send("events", {"at": 1, "id": "1"})
    test.send("events", {"at": 2, "id": "2"})
    test.advance(to=3)
    assert test.triggers("out") == [{"id": "1", "name": "one"}]


def test_a_table_that_cannot_be_read_is_an_error_of_the_input(tmp_path: Path) -> None:
    flow = hw.Flow("f")
    events = flow.source("events", hw.Json, hw.items([{"at": 1, "id": "1"}]), time="at")
    events.enrich("named", hw.lookup(tmp_path / "none.csv", key="id"), on="id").to("out", hw.to_list([]))
    with pytest.raises(InputError, match=r"none\.csv"):
        run_flow(flow, RunOptions(tmp_path / "state"))
