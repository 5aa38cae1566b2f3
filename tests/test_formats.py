"""Formats: what the bytes of records mean, in files and beside brokers' records."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.connectors.base import Decoded, PartitionReader
from headway.errors import FlowError, UsageError
from headway.formats.base import UNDECODABLE, Format
from headway.formats.delimited import Csv
from headway.formats.json import Json
from headway.formats.messagepack import MessagePack
from headway.formats.plain import Raw, Text
from headway.testing import run_oracle


class Trade(hw.Event):
    symbol: str
    price: float
    size: int = 100
    note: Optional[str] = None


def read_all(reader: PartitionReader, form: Format, event_type: Any, size: int = 1 << 16) -> Decoded:
    decoder = form.decoder(event_type)
    events: list[Any] = []
    ordinals: list[int] = []
    bad = []
    while (chunk := reader.read(size)) is not None:
        found = chunk.decode(decoder)
        events += found.events
        ordinals += found.ordinals
        bad += found.bad
    return Decoded(events, ordinals, bad)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)


@given(st.lists(st.tuples(texts, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 10**9)), max_size=20))
def test_csv_reads_what_the_standard_library_writes(rows: list[tuple[str, float, int]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["symbol", "price", "size"])
    writer.writerows([symbol, repr(price), size] for symbol, price, size in rows)
    lines = out.getvalue().encode().split(b"\n")[1:-1]
    decoder = Csv(columns=("symbol", "price", "size")).decoder(Trade)
    assert decoder.decode_records(lines) == [Trade(symbol, price, size) for symbol, price, size in rows]


@pytest.mark.parametrize("size", [1, 30, 1 << 16])
@pytest.mark.parametrize("split", [1, 3])
def test_a_file_of_csv_with_its_names_in_the_first_line(tmp_path: Path, size: int, split: int) -> None:
    path = tmp_path / "trades.csv"
    head = b"\xef\xbb\xbfsymbol,price,unknown,size\r\n"
    path.write_bytes(head + b'ACME,1.5,x,7\r\n\r\n"A,B",2,,\r\nbad,two,,1\r\nshort,1\r\n"open,1,2,3\r\nLAST,3,,9')
    form = Csv()
    source = hw.files(path, format=form, split=split)
    found = [read_all(source.open(name, None, follow=False), form, Trade, size) for name in source.partitions()]
    [one] = [each for each in found if each.events]
    assert one.events == [Trade("ACME", 1.5, 7), Trade("A,B", 2.0), Trade("LAST", 3.0, 9)]
    assert [(bad.ordinal, bad.position.partition(",")[0], bad.reason) for bad in one.bad if split == 1] == (
        []
        if split > 1
        else [
            (4, "line 5", "Expected `float`, got `str` - at `$.price`"),
            (5, "line 6", "2 values, and there are 4 columns: symbol, price, unknown, size"),
            (6, "line 7", "unexpected end of data"),
        ]
    )
    assert len(one.bad) == 3


def test_csv_is_read_on_from_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("size;symbol;price\n1;a;1\n2;b;2\n")
    source = hw.files(path, format=Csv(delimiter=";"))
    reader = source.open("trades.csv", None, follow=True)
    first = read_all(reader, source.format, Trade)
    with path.open("a") as file:
        file.write("3;c;3\n4;")
    again = source.open("trades.csv", reader.position(), follow=True)
    reader.close()
    assert read_all(again, source.format, Trade).events == [Trade("c", 3.0, 3)]
    assert first.events == [Trade("a", 1.0, 1), Trade("b", 2.0, 2)]
    again.close()


@pytest.mark.parametrize("first", ["symbol,symbol", "symbol,\xff", ""])
def test_a_first_line_that_names_no_columns_is_a_dead_letter_and_so_is_nothing_else(tmp_path: Path, first: str) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(first.encode("latin-1") + b"\nACME,1\n")
    source = hw.files(path, format="csv")
    found = read_all(source.open("trades.csv", None, follow=False), source.format, Trade)
    assert found.events == []
    assert [bad.ordinal for bad in found.bad] == [0]


def test_values_of_csv_have_the_types_of_fields() -> None:
    class All(hw.Event):
        at: hw.Time
        flag: bool
        name: str = "none"
        count: Optional[int] = 3

    decoder = Csv(columns=("at", "flag", "name", "count")).decoder(All)
    assert decoder.decode_records([b"2024-05-01T00:00:00Z,true,,", b"17,false,x,4", b"17,1,x,"]) == [
        All(1714521600000, True, "", 3),
        All(17, False, "x", 4),
        All(17, True, "x", 3),
    ]
    with pytest.raises(UNDECODABLE):
        decoder.decode_record(b"17,perhaps,x,4")


def test_untyped_csv_is_text() -> None:
    assert Csv(columns=("a", "b")).decoder(hw.Json).decode_records([b"1,"]) == [{"a": "1", "b": ""}]


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_no_bytes_break_a_decoder(records: list[bytes]) -> None:
    for form, kind in (
        (Json(), Trade),
        (MessagePack(), Trade),
        (Csv(columns=("symbol", "price")), Trade),
        (Text(), str),
    ):
        decoder = form.decoder(kind)
        alone = []
        for record in records:
            try:
                alone.append(decoder.decode_record(record))
            except UNDECODABLE:
                break
        try:
            together: Optional[list[Any]] = decoder.decode_records(records)
        except UNDECODABLE:
            together = None
        assert together == (alone if len(alone) == len(records) else None)


@given(
    st.lists(st.builds(Trade, texts, st.floats(allow_nan=False), st.integers(-(2**63), 2**64 - 1), st.none() | texts))
)
def test_messagepack_gives_what_json_gives(trades: list[Trade]) -> None:
    packed = MessagePack().decoder(Trade).decode_records(list(map(msgspec.msgpack.encode, trades)))
    assert packed == trades


def test_wrong_options_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="format='xml': expected 'json', 'json-schema', 'text', 'bytes', 'msgpack', 'csv', or a"
    ):
        hw.files("a", format="xml")
    with pytest.raises(UsageError, match="may have line ends in them"):
        hw.files("a", format="msgpack")
    with pytest.raises(UsageError, match=r"name the columns, as in headway.formats.Csv\(columns=...\)"):
        hw.files("a", format="csv", rotated=True)
    with pytest.raises(UsageError, match="needs the first line of the stream"):
        hw.stdin(format="csv")
    with pytest.raises(UsageError, match="delimiter=';;'"):
        Csv(delimiter=";;")
    with pytest.raises(UsageError, match="names, each of them once"):
        Csv(columns=("a", "a"))
    flow = hw.Flow("wrong")
    with pytest.raises(FlowError, match="'bytes' are events of type bytes, not Trade"):
        flow.source("trades", Trade, hw.items([], format=Raw()), time=hw.INGESTION_TIME)
    with pytest.raises(FlowError, match="has named values, and int has no fields"):
        flow.source("trades", int, hw.items([], format=Csv(columns=("a",))), time=hw.INGESTION_TIME)


def test_bad_records_of_a_binary_format_are_base64_in_their_letters(tmp_path: Path) -> None:
    flow = hw.Flow("packed")
    log = [hw.Record(msgspec.msgpack.encode({"symbol": "a", "price": 1.0}), time_ms=1), hw.Record(b"\xc1", time_ms=2)]
    source = flow.source("trades", Trade, hw.items(log, format="msgpack"), time=hw.record_time)
    letters: list[Any] = []
    source.dead_letters.to("letters", hw.to_list(letters))
    source.to("good", hw.to_list([]))
    hw.run(flow, state=tmp_path, drain=True)
    assert [letter["raw"] for letter in letters] == ["base64:wQ=="]


class Order(hw.Event):
    cents: int
    customer: str = ""
    headers: dict[str, str] = {}
    at: hw.Time = 0
    number: int = -1
    shop: str = ""


PARTS = {
    "customer": hw.record_key,
    "headers": hw.record_headers,
    "at": hw.record_time,
    "number": hw.record_offset,
    "shop": hw.record_partition,
}


def orders_flow(log: list[hw.Record], found: list[Any], letters: list[Any], event_type: Any = Order) -> hw.Flow:
    flow = hw.Flow("orders")
    parts = PARTS if event_type is Order else {"customer": hw.record_key}
    orders = flow.source("orders", event_type, hw.items({"north": log}), time=hw.record_time, fields=parts)
    orders.dead_letters.to("letters", hw.to_list(letters))
    orders.filter(hw.where(cents=(7, 8))).key_by(hw.record_key).aggregate("orders-of", orders=hw.count()).to(
        "counts", hw.to_list(found)
    )
    return flow


def record(cents: int, key: Any, time_ms: Optional[int], *headers: tuple[str, bytes]) -> hw.Record:
    return hw.Record(b'{"cents": %d, "customer": "another"}' % cents, key, tuple(headers), time_ms)


LOG = [
    record(7, b"ann", 1_000, ("trace", b"1"), ("trace", b"2")),
    record(8, "bob", 2_000),
    record(9, b"ann", 3_000),
    record(7, b"\xff", 4_000),
    record(7, None, 4_500),
    record(7, b"ann", None),
    record(8, b"ann", 5_000),
    hw.Record(None, b"ann", (), 6_000),
]


def test_fields_of_records_are_the_key_the_headers_and_the_time(tmp_path: Path) -> None:
    flow = hw.Flow("orders")
    found: list[Any] = []
    orders = flow.source("orders", Order, hw.items({"north": LOG[:2]}), time=hw.record_time, fields=PARTS)
    orders.to("found", hw.to_list(found))
    hw.run(flow, state=tmp_path, drain=True)
    assert found == [
        {"cents": 7, "customer": "ann", "headers": {"trace": "2"}, "at": 1000, "number": 0, "shop": "north"},
        {"cents": 8, "customer": "bob", "headers": {}, "at": 2000, "number": 1, "shop": "north"},
    ]


@pytest.mark.parametrize("event_type", [Order, hw.Json])
def test_records_without_what_the_flow_needs_are_dead_letters(event_type: Any, tmp_path: Path) -> None:
    found: list[Any] = []
    letters: list[Any] = []
    flow = orders_flow(LOG, found, letters, event_type)
    hw.run(flow, state=tmp_path, drain=True)
    expected = run_oracle(orders_flow(LOG, [], [], event_type), {"orders": {"north": LOG}}, drain=True)
    assert [msgspec.json.encode(one) for one in found] == expected.outputs["counts"]
    assert [msgspec.json.encode(one) for one in letters] == expected.outputs["letters"]
    reasons = {letter["position"]: letter["reason"] for letter in letters}
    assert reasons["item 3"].startswith("key: not UTF-8: byte 0xff")
    assert reasons["item 5"].startswith("time: ")


def test_parts_that_an_input_does_not_have_are_refused(tmp_path: Path) -> None:
    flow = hw.Flow("orders")
    with pytest.raises(FlowError, match=r"have no hw.record_time: they have nothing but their values"):
        flow.source("orders", Order, hw.files(tmp_path / "*.jsonl"), time=hw.record_time)
    with pytest.raises(FlowError, match="needs a default"):
        flow.source("a", Order, hw.items([]), time=hw.record_time, fields={"cents": hw.record_offset})
    with pytest.raises(FlowError, match="has no field 'key', its fields are cents"):
        flow.source("b", Order, hw.items([]), time=hw.record_time, fields={"key": hw.record_key})
    with pytest.raises(FlowError, match=r"is no time: use hw\.record_time"):
        flow.source("c", Order, hw.items([]), time=hw.record_key)
    plain = flow.source("d", Order, hw.items([]), time=hw.record_time)
    with pytest.raises(FlowError, match="no field of these events is the key of their records"):
        plain.key_by(hw.record_key)
