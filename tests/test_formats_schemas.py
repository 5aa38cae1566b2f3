"""Formats with schemas: Avro, Protocol Buffers, JSON behind numbers; registries that answer, are down, or refuse."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway import formats
from headway.errors import FlowError, InputError, UsageError

pytest.importorskip("fastavro", reason="the extra `avro` is not installed")
pytest.importorskip("google.protobuf", reason="the extra `protobuf` is not installed")

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "cents", "type": "long"},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


class Order(hw.Event):
    id: str
    cents: int
    placed: datetime
    note: Optional[str] = None


def written(schema: Any, value: Any, number: Optional[int] = None) -> bytes:
    from fastavro import parse_schema, schemaless_writer

    out = io.BytesIO()
    schemaless_writer(out, parse_schema(json.loads(json.dumps(schema))), value)
    return (b"" if number is None else b"\x00" + number.to_bytes(4, "big")) + out.getvalue()


times = st.integers(0, 7_000_000_000_000).map(
    lambda ms: datetime.fromtimestamp(ms // 1000, timezone.utc).replace(microsecond=ms % 1000 * 1000)
)
orders = st.builds(Order, st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), times, st.none() | st.text(max_size=8))


@given(st.lists(orders, max_size=5))
def test_avro_gives_back_what_was_written(given_orders: list[Order]) -> None:
    decoder = formats.Avro(ORDER).decoder(Order)
    records = [written(ORDER, msgspec.structs.asdict(one)) for one in given_orders]
    assert decoder.decode_records(records) == given_orders


@given(st.binary(max_size=40))
def test_bytes_that_are_no_value_are_bad_records_and_nothing_worse(record: bytes) -> None:
    for form in (
        formats.Avro(ORDER),
        formats.Protobuf(message_class()),
        formats.Protobuf(message_class(), framed=True),
    ):
        decoder = form.decoder(hw.Json)
        try:
            decoder.decode_record(record)
        except ValueError as error:
            assert str(error)


def test_untyped_events_have_the_values_of_json() -> None:
    value = {"id": "a", "cents": 1, "placed": datetime(2024, 5, 1, tzinfo=timezone.utc), "note": None}
    assert formats.Avro(json.dumps(ORDER)).decoder(hw.Json).decode_record(written(ORDER, value)) == {
        "id": "a",
        "cents": 1,
        "placed": "2024-05-01T00:00:00Z",
        "note": None,
    }


def test_a_schema_that_lacks_what_an_event_needs_is_refused_when_the_flow_is_declared() -> None:
    class Wider(hw.Event):
        id: str
        customer: str

    flow = hw.Flow("orders")
    with pytest.raises(
        FlowError, match="schema 'Order' has no field 'customer', which Wider needs: its fields are cents"
    ):
        flow.source("orders", Wider, hw.items([], format=formats.Avro(ORDER)), time=hw.INGESTION_TIME)
    with pytest.raises(FlowError, match=r"message shop\.Order has no field 'customer', which Wider needs"):
        flow.source("orders", Wider, hw.items([], format=formats.Protobuf(message_class())), time=hw.INGESTION_TIME)
    with pytest.raises(UsageError, match="is no schema of Avro"):
        formats.Avro({"type": "recrod"})
    with pytest.raises(UsageError, match="needs a schema, or a registry"):
        formats.Avro()
    with pytest.raises(UsageError, match="expected a class of messages"):
        formats.Protobuf("Order")


class Registry:
    """A registry that answers as it is told to."""

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.asked: list[str] = []
        self.failures: list[int] = []
        self.elsewhere = 0
        """The code with which it answers as no registry does."""
        self.access: Optional[str] = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.access = self.headers["Authorization"]
                number = int(self.path.rpartition("/")[2])
                code = outer.failures.pop(0) if outer.failures else 200 if number in outer.schemas else 404
                unknown = {"error_code": 40403, "message": "Schema not found"}
                body = (
                    b"no such page"
                    if code == outer.elsewhere
                    else json.dumps(outer.schemas.get(number, unknown)).encode()
                )
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    started = Registry()
    yield started
    started.stop()


OLD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "x", "type": "int"}]}


def test_records_are_read_by_the_schema_that_wrote_them_and_resolved_to_the_readers(registry: Registry) -> None:
    registry.schemas = {7: {"schema": json.dumps(OLD)}, 8: {"schema": json.dumps(ORDER)}}
    newer = {**ORDER, "fields": [ORDER["fields"][0], {"name": "cents", "type": "long", "default": 5}]}
    form = formats.Avro(newer, registry=formats.Registry(registry.url, user="ann", password="env:NO_SUCH_REGISTRY"))

    class Small(hw.Event):
        id: str
        cents: int

    with pytest.raises(UsageError, match="there is no registry password: the environment variable 'NO_SUCH_REGISTRY'"):
        form.decoder(Small).decode_record(written(OLD, {"id": "a", "x": 1}, 7))
    form = formats.Avro(newer, registry=formats.Registry(registry.url, user="ann", password="swordfish"))
    decoder = form.decoder(Small)
    new = {"id": "b", "cents": 9, "placed": datetime(2024, 1, 1, tzinfo=timezone.utc), "note": "n"}
    records = [written(OLD, {"id": "a", "x": 1}, 7), written(ORDER, new, 8), written(OLD, {"id": "c", "x": 1}, 7)]
    assert decoder.decode_records(records) == [Small("a", 5), Small("b", 9), Small("c", 5)]
    assert registry.asked == ["/schemas/ids/7", "/schemas/ids/8"]
    assert registry.access == "Basic YW5uOnN3b3JkZmlzaA=="
    assert "swordfish" not in repr(form)


def test_a_registry_that_is_down_stops_nothing_that_is_known_and_is_waited_for_otherwise(registry: Registry) -> None:
    registry.schemas = {7: {"schema": json.dumps(OLD)}, 8: {"schema": json.dumps(OLD)}}
    registry.failures = [503, 500]
    decoder = formats.Avro(registry=formats.Registry(registry.url)).decoder(hw.Json)
    assert decoder.decode_record(written(OLD, {"id": "a", "x": 1}, 7)) == {"id": "a", "x": 1}
    assert len(registry.asked) == 3
    with pytest.raises(ValueError, match="schema 9 is not known to the registry"):
        decoder.decode_record(written(OLD, {"id": "a", "x": 1}, 9))
    registry.failures = [403]
    with pytest.raises(InputError, match=r"refuses the schema 8: it answers 403 .*; check user and password"):
        decoder.decode_record(written(OLD, {"id": "a", "x": 1}, 8))
    registry.stop()
    assert decoder.decode_record(written(OLD, {"id": "b", "x": 2}, 7)) == {"id": "b", "x": 2}


def test_a_registry_that_stays_away_ends_the_run_and_loses_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    registry.elsewhere = 404
    decoder = formats.Avro(registry=formats.Registry(registry.url)).decoder(hw.Json)
    with pytest.raises(InputError, match="it answers 404 Not Found, and not as a registry does: check its URL"):
        decoder.decode_record(written(OLD, {"id": "a", "x": 1}, 7))
    registry.stop()
    decoder = formats.Avro(registry=formats.Registry(registry.url)).decoder(hw.Json)
    with pytest.raises(
        InputError, match=r"does not give the schema 7: .*the run goes on there when it is started again"
    ):
        decoder.decode_record(written(OLD, {"id": "a", "x": 1}, 7))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "does not begin with the number of a schema"),
        (b"\x01\x00\x00\x00\x07a", "does not begin with the number of a schema"),
        (b"\x00\x00\x00\x00\x07\x02", "no value of the schema"),
        (b"\x00\x00\x00\x00\x07\x02a\x02more", "4 bytes are left behind the value"),
        (b"\x00\x00\x00\x00\x08\x02a", "the schema 8 is one of PROTOBUF, not of Avro"),
    ],
)
def test_records_that_are_not_what_the_registry_says(registry: Registry, record: bytes, reason: str) -> None:
    registry.schemas = {7: {"schema": json.dumps(OLD)}, 8: {"schema": "message", "schemaType": "PROTOBUF"}}
    decoder = formats.Avro(registry=formats.Registry(registry.url)).decoder(hw.Json)
    with pytest.raises(ValueError, match=reason):
        decoder.decode_record(record)


def test_json_behind_the_number_of_a_schema() -> None:
    decoder = formats.JsonSchema().decoder(hw.Json)
    assert decoder.decode_records([b'\0\0\0\0\7{"n": 1}', b'\0\0\0\0\x08{\n"n": 2}']) == [{"n": 1}, {"n": 2}]
    with pytest.raises(ValueError, match="does not begin with the number"):
        decoder.decode_records([b'\0\0\0\0\7{"n": 1}', b'{"n": 2}'])


def message_class(name: str = "Order") -> Any:
    """A class as protoc would make it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    for known in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="shop.proto",
        package="shop",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"],
    )
    file.message_type.add(name="Other")
    order = file.message_type.add(name="Order")
    kind = order.enum_type.add(name="Kind")
    kind.value.add(name="UNKNOWN", number=0)
    kind.value.add(name="GIFT", number=1)
    item = order.nested_type.add(name="Item")
    item.field.add(name="sku", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry = order.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    order.oneof_decl.add(name="_note")
    for number, (what, type_number, label, type_name) in enumerate(
        [
            ("id", field.TYPE_STRING, field.LABEL_OPTIONAL, None),
            ("cents", field.TYPE_INT64, field.LABEL_OPTIONAL, None),
            ("kind", field.TYPE_ENUM, field.LABEL_OPTIONAL, ".shop.Order.Kind"),
            ("items", field.TYPE_MESSAGE, field.LABEL_REPEATED, ".shop.Order.Item"),
            ("counts", field.TYPE_MESSAGE, field.LABEL_REPEATED, ".shop.Order.CountsEntry"),
            ("placed", field.TYPE_MESSAGE, field.LABEL_OPTIONAL, ".google.protobuf.Timestamp"),
            ("weight", field.TYPE_MESSAGE, field.LABEL_OPTIONAL, ".google.protobuf.DoubleValue"),
            ("note", field.TYPE_STRING, field.LABEL_OPTIONAL, None),
        ],
        start=1,
    ):
        one = order.field.add(name=what, number=number, type=type_number, label=label, type_name=type_name)
        if what == "note":
            one.proto3_optional, one.oneof_index = True, 0
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}"))


class Message(hw.Event):
    id: str
    cents: int
    kind: str
    items: list[dict[str, str]]
    counts: dict[str, int]
    placed: Optional[datetime] = None
    weight: Optional[float] = None
    note: str = "no note"


@pytest.mark.parametrize("is_framed", [False, True])
def test_messages_become_events(is_framed: bool) -> None:
    kind = message_class()
    message = kind(id="a", cents=2**60, kind=1, counts={"x": 3})
    message.items.add(sku="s1")
    message.placed.FromMilliseconds(1_714_521_600_000)
    message.weight.value = 1.5
    form = formats.Protobuf(kind, framed=is_framed)
    head = b"\0\0\0\0\7\x02\x02" if is_framed else b""
    decoder = form.decoder(Message)
    assert decoder.decode_records([head + message.SerializeToString(), head]) == [
        Message("a", 2**60, "GIFT", [{"sku": "s1"}], {"x": 3}, datetime(2024, 5, 1, tzinfo=timezone.utc), 1.5),
        Message("", 0, "UNKNOWN", [], {}),
    ]
    if is_framed:
        with pytest.raises(ValueError, match=r"it is the message \[0\] of its file, expected \[1\]"):
            decoder.decode_record(b"\0\0\0\0\7\0")


def test_a_message_that_stands_in_others_has_a_path() -> None:
    kind = message_class("Order.Item")
    form = formats.Protobuf(kind, framed=True)
    assert form.decoder(hw.Json).decode_record(b"\0\0\0\0\7\x04\x02\x00" + kind(sku="s").SerializeToString()) == {
        "sku": "s"
    }
