"""Formats with a real schema registry, Apicurio by Confluent's interface: schemas that evolve, and what goes wrong."""

from __future__ import annotations

import base64
import json
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import producer, topic_of
from tests.servers import RegistryServer, kafka_server, registry_server
from tests.test_formats_schemas import message_class, written

import headway as hw
from headway import formats
from headway.errors import InputError

pytest.importorskip("fastavro", reason="the extra `avro` is not installed")
pytest.importorskip("google.protobuf", reason="the extra `protobuf` is not installed")


def record_of(*fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "Order", "namespace": "shop", "fields": list(fields)}


ID = {"name": "id", "type": "string"}
OLD = record_of(ID, {"name": "note", "type": ["null", "string"], "default": None})
NEW = record_of(ID, {"name": "cents", "type": "long", "default": 5})
"""Another field, and one less: what is written by either can be read as the other."""
BAD = record_of(ID, {"name": "cents", "type": "long"})
PROTO = """syntax = "proto3";
package shop;
message Other {{}}
message Order {{
  string id = 1;
  {cents} cents = 2;{more}
}}
"""


class Order(hw.Event):
    id: str
    cents: int = 0


@pytest.fixture
def server() -> RegistryServer:
    started = registry_server()
    assert started.ask("PUT", "/config", {"compatibility": "FULL"})[0] == 200
    return started


def framed(number: int, data: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + data


def decoded(records: list[Any], form: Any) -> tuple[list[Any], list[Any]]:
    """What a source makes of records: events, and the reasons of dead letters."""
    flow, found, letters = hw.Flow("orders"), list[Any](), list[Any]()
    orders = flow.source("orders", Order, hw.items(records, format=form), time=hw.INGESTION_TIME)
    orders.to("found", hw.to_list(found))
    orders.dead_letters.to("letters", hw.to_list(letters))
    with tempfile.TemporaryDirectory() as state:
        hw.run(flow, state=state, drain=True)
    return found, sorted(letter["reason"] for letter in letters)


def test_schemas_of_avro_evolve_while_records_are_read(server: RegistryServer, tmp_path: Path) -> None:
    """Through a topic: records of both versions, read by either. A version that does not fit the registry refuses."""
    kafka = kafka_server()
    topic = topic_of(kafka)
    subject = f"{topic}-value"
    old = server.register(subject, json.dumps(OLD))
    code, said = server.ask("POST", f"/subjects/{subject}/versions", {"schema": json.dumps(BAD)})
    assert (code, said["error_code"]) == (409, 409)
    new = server.register(subject, json.dumps(NEW))
    assert new != old == server.register(subject, json.dumps(OLD))
    writer = producer(kafka)
    for value in (
        written(OLD, {"id": "a", "note": "n"}, old),
        written(NEW, {"id": "b", "cents": 9}, new),
        written(NEW, {"id": "c", "cents": 1}, 99_999),
        written(OLD, {"id": "d", "note": None}, old),
    ):
        writer.produce(topic, value, timestamp=1_000)
    writer.flush()

    def read(name: str, schema: Any) -> tuple[list[Any], list[Any]]:
        form = formats.Avro(schema, registry=formats.Registry(server.url))
        flow, found, letters = hw.Flow(name), list[Any](), list[Any]()
        orders = flow.source("orders", Order, hw.kafka(kafka.address, topic, format=form), time=hw.record_time)
        orders.to("found", hw.to_list(found))
        orders.dead_letters.to("letters", hw.to_list(letters))
        hw.run(flow, state=tmp_path / name, drain=True)
        return sorted((one["id"], one["cents"]) for one in found), [letter["reason"] for letter in letters]

    unknown = [f"the schema 99999 is not known to the registry {server.url}"]
    assert read("as-new", NEW) == ([("a", 5), ("b", 9), ("d", 5)], unknown)
    assert read("as-old", OLD) == ([("a", 0), ("b", 0), ("d", 0)], unknown)
    assert read("as-written", None) == ([("a", 0), ("b", 9), ("d", 0)], unknown)


def test_messages_of_protobuf_behind_numbers(server: RegistryServer) -> None:
    first = PROTO.format(cents="int64", more="")
    number = server.register("proto-value", first, "PROTOBUF")
    second = PROTO.format(cents="int64", more="\n  string gift = 12;")
    later = server.register("proto-value", second, "PROTOBUF")
    wrong = PROTO.format(cents="string", more="")
    given = {"schema": wrong, "schemaType": "PROTOBUF"}
    assert server.ask("POST", "/subjects/proto-value/versions", given)[0] == 409
    assert number != later
    kind = message_class()
    one = kind(id="a", cents=7).SerializeToString()
    records = [
        framed(number, b"\x02\x02" + one),
        framed(later, b"\x02\x02" + one + bytes([12 << 3 | 2, 2]) + b"!!"),
        framed(number, b"\x00" + one),
    ]
    found, reasons = decoded(records, formats.Protobuf(kind, framed=True))
    assert found == [{"id": "a", "cents": 7}, {"id": "a", "cents": 7}]
    assert reasons == ["it is the message [0] of its file, expected [1]: another class was written"]
    avro = formats.Avro(registry=formats.Registry(server.url)).decoder(hw.Json)
    with pytest.raises(ValueError, match=f"the schema {number} is one of PROTOBUF, not of Avro"):
        avro.decode_record(records[0])


def test_json_behind_numbers(server: RegistryServer) -> None:
    def schema(**properties: str) -> str:
        fields = {name: {"type": kind} for name, kind in properties.items()}
        return json.dumps({"type": "object", "properties": fields, "required": ["id"]})

    number = server.register("json-value", schema(id="string", cents="integer"), "JSON")
    given = {"schema": schema(id="string", cents="boolean"), "schemaType": "JSON"}
    assert server.ask("POST", "/subjects/json-value/versions", given)[0] == 409
    records = [
        framed(number, b'{"id": "a", "cents": 1}'),
        framed(number, b'{"id": "b", "cents": true}'),
        b'{"id": "c"}',
    ]
    found, reasons = decoded(records, formats.JsonSchema())
    assert found == [{"id": "a", "cents": 1}]
    assert "Expected `int`, got `bool`" in reasons[0]
    assert "does not begin with the number of a schema" in reasons[1]


def test_a_schema_of_avro_that_refers_to_others_is_read_with_them(server: RegistryServer) -> None:
    """Its parts are subjects of their own, and refer to further ones."""
    money = {"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
    item = {
        "type": "record",
        "name": "Item",
        "namespace": "shop",
        "fields": [{"name": "price", "type": "shop.Money"}],
    }
    whole = record_of(ID, {"name": "item", "type": "shop.Item"}, {"name": "paid", "type": "shop.Money"})
    server.register("money", json.dumps(money))
    to_money = {"name": "shop.Money", "subject": "money", "version": 1}
    server.register("item", json.dumps(item), references=[to_money])
    references = [{"name": "shop.Item", "subject": "item", "version": 1}, to_money]
    number = server.register("whole-value", json.dumps(whole), references=references)
    inline = record_of(
        ID,
        {"name": "item", "type": {**item, "fields": [{"name": "price", "type": money}]}},
        {"name": "paid", "type": "shop.Money"},
    )
    value = {"id": "a", "item": {"price": {"cents": 3}}, "paid": {"cents": 4}}
    decoder = formats.Avro(registry=formats.Registry(server.url)).decoder(hw.Json)
    assert decoder.decode_record(written(inline, value, number)) == value


@pytest.fixture
def guarded(server: RegistryServer) -> Iterator[str]:
    """The registry behind a proxy that lets only ann in, as such servers are shut off; its URL."""
    expected = f"Basic {base64.b64encode(b'ann:swordfish').decode()}"

    class Guard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = 401, b"{}"
            if self.headers["Authorization"] == expected:
                try:
                    with urllib.request.urlopen(server.url + self.path) as answer:
                        code, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    with error:
                        code, body = error.code, error.read()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Guard) as guard:
        threading.Thread(target=guard.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{guard.server_port}"
        guard.shutdown()


def test_wrong_credentials_end_the_run_and_right_ones_do_not(server: RegistryServer, guarded: str) -> None:
    number = server.register("guarded-value", json.dumps(OLD))
    records = [written(OLD, {"id": "a", "note": None}, number), written(OLD, {"id": "b", "note": None}, 99_998)]
    found, reasons = decoded(
        records, formats.Avro(registry=formats.Registry(guarded, user="ann", password="swordfish"))
    )
    assert found == [{"id": "a", "cents": 0}]
    assert reasons == [f"the schema 99998 is not known to the registry {guarded}"]
    for access in ({}, {"user": "ann", "password": "catfish"}):
        with pytest.raises(
            InputError, match=r"refuses the schema \d+: it answers 401 .*; check user and password"
        ) as caught:
            decoded(records, formats.Avro(registry=formats.Registry(guarded, **access)))
        assert "catfish" not in str(caught.value)


def test_a_registry_that_is_killed_stops_nothing_that_is_known_and_is_waited_for(server: RegistryServer) -> None:
    known, later = server.register("known", json.dumps(OLD)), server.register("later", json.dumps(NEW))
    decoder = formats.Avro(registry=formats.Registry(server.url)).decoder(Order)
    assert decoder.decode_record(written(OLD, {"id": "a", "note": None}, known)) == Order("a")
    server.kill()
    starting = threading.Thread(target=server.start)
    try:
        assert decoder.decode_record(written(OLD, {"id": "b", "note": None}, known)) == Order("b")
    finally:
        starting.start()
    try:
        assert decoder.decode_record(written(NEW, {"id": "c", "cents": 3}, later)) == Order("c", 3)
    finally:
        starting.join()
    assert server.register("known", json.dumps(OLD)) == known, "a number means one schema for ever"


def test_a_url_at_which_there_is_no_registry_is_told(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records are not set aside one by one: there is nothing wrong with them."""
    monkeypatch.setattr("headway.formats.registry._PATIENCE_S", 0.0)
    elsewhere = formats.Registry(server.url.rpartition("/apis")[0])
    with pytest.raises(InputError, match="it answers 404 Not Found, and not as a registry does: check its URL"):
        decoded([written(OLD, {"id": "a", "note": None}, 1)], formats.Avro(registry=elsewhere))
