"""Posts over real sockets: every form of an event, every way to be refused, and what is in the log afterwards."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ingest_harness import Running, running
from tests.web_harness import Answer, ask, connect, request_bytes

from headway.ingest.bodies import inflate
from headway.web.problems import ProblemError

LINES = "application/x-ndjson"
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shop")) as found:
        yield found


def order(name: object, at: object = 17) -> str:
    return json.dumps({"id": name, "at": at})


def cloud(name: str, data: object = None, **more: object) -> dict[str, object]:
    event: dict[str, object] = {"specversion": "1.0", "id": name, "source": "/test", "type": "order"}
    return {**event, "data": {"id": name, "at": 17} if data is None else data, **more}


def added(shop: Running, log: str, answer: Answer) -> bytes:
    """The line that an answer tells of."""
    assert answer.status == 200, answer.body
    assert answer.json["log"] == log
    return shop.lines(log)[int(answer.json["position"])]


def test_json(shop: Running) -> None:
    assert added(shop, "orders/0", shop.post("/orders", order("a"))) == order("a").encode()
    pretty = '{\r\n  "id":\n "b\\n",\t"at": "2026-01-01T00:00:00Z" }\n'
    line = added(shop, "orders/0", shop.post("/orders", pretty, "application/json; charset=UTF-8"))
    assert json.loads(line) == json.loads(pretty)
    before = len(shop.lines("orders/0"))
    found = shop.post("/orders", f"[{order('c')},\n {order('d')}]")
    assert (found.json["events"], found.json["position"]) == (2, before + 1)
    exact = '{"id":"n","at":1.0e3,"cents":12345678901234567}'
    assert (
        added(shop, "orders/0", shop.post("/orders", exact.replace("1.0e3", "1000")))
        == exact.replace("1.0e3", "1000").encode()
    )


def test_lines(shop: Running) -> None:
    before = len(shop.lines("orders/0"))
    found = shop.post("/orders", f"{order('a')}\r\n\n  {order('b')}\n{order('c')}", LINES)
    assert (found.json["events"], found.json["position"]) == (3, before + 2)
    assert shop.lines("orders/0")[before:] == [order(name).encode() for name in "abc"]


def test_cloudevents(shop: Running) -> None:
    found = shop.post("/orders", json.dumps(cloud("s1")), STRUCTURED)
    assert json.loads(added(shop, "orders/0", found)) == {"id": "s1", "at": 17}
    encoded = cloud("s2")
    encoded["data_base64"] = base64.b64encode(order("s2").encode()).decode()
    del encoded["data"]
    assert json.loads(added(shop, "orders/0", shop.post("/orders", json.dumps(encoded), STRUCTURED))) == {
        "id": "s2",
        "at": 17,
    }
    headers = {"ce_specversion": "1.0", "ce_id": "b%201", "ce_source": "/test", "ce_type": "order"}
    assert json.loads(added(shop, "orders/0", shop.post("/orders", order("b1"), **headers))) == {"id": "b1", "at": 17}
    other = json.dumps(cloud("b 1", {"id": "b1", "at": 18}))
    assert shop.post("/orders", other, STRUCTURED).status == 422, "the id was used for other content"
    again = shop.post("/orders", json.dumps([cloud("s1"), cloud("n1"), cloud("n1")]), BATCHED).json
    assert [receipt["duplicate"] for receipt in again["receipts"]] == [True, False, True]
    assert not again["duplicate"]
    whole = cloud("w1", {"x": 1}, time="2026-01-01T00:00:00Z")
    assert json.loads(added(shop, "events/0", shop.post("/events", json.dumps(whole), STRUCTURED))) == whole
    found = shop.post("/events", '{"x": 1}', **headers, ce_time="2026-01-01T00:00:00Z")
    line = json.loads(added(shop, "events/0", found))
    assert (line["id"], line["data"], line["datacontenttype"]) == ("b 1", {"x": 1}, "application/json")
    assert shop.post("/events", order("a")).status == 415


def test_keys(shop: Running) -> None:
    first = shop.post("/orders", order("k"), idempotency_key="k1")
    again = shop.post("/orders", order("k"), idempotency_key='"k1"')
    assert again.json == {**first.json, "duplicate": True}
    assert first.json["duplicate"] is False
    other = shop.post("/orders", order("other"), idempotency_key="k1")
    assert (other.status, other.json["title"]) == (422, "Idempotency key reused")
    batch = f"{order('x')}\n{order('y')}"
    first = shop.post("/orders", batch, LINES, idempotency_key="batch")
    assert shop.post("/orders", batch, LINES, idempotency_key="batch").json == {**first.json, "duplicate": True}
    assert shop.post("/keyed", "{}").status == 400
    assert shop.post("/keyed", "{}", idempotency_key="a").status == 200
    for wrong in ("", " ", "x" * 256, '""', "caf\xe9"):
        assert shop.post("/orders", order("k"), idempotency_key=wrong).status == 400


def test_equal_keys_at_once_are_one_event(shop: Running) -> None:
    found: list[Answer] = []

    def post() -> None:
        found.append(shop.post("/orders", order("once"), idempotency_key="once"))

    threads = [threading.Thread(target=post) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.json["position"] for answer in found}) == 1
    assert sorted(answer.json["duplicate"] for answer in found) == [False] + [True] * 15
    assert shop.lines("orders/0").count(order("once").encode()) == 1


def test_partitions(shop: Running) -> None:
    assert shop.post("/any", "{}").json["log"] == "any/0"
    logs = {shop.post("/any", "{}", partition_key=f"p{number}").json["log"] for number in range(40)}
    assert logs == {f"any/{number}" for number in range(4)}
    by_header = shop.post("/any", "{}", partition_key="p7").json["log"]
    assert shop.post("/any", json.dumps(cloud("p", partitionkey="p7")), STRUCTURED).json["log"] == by_header
    mixed = [cloud("m1", partitionkey="p1"), cloud("m2", partitionkey="p2")]
    assert shop.post("/any", json.dumps(mixed), BATCHED).status == 422


@pytest.mark.parametrize(
    ("body", "kind", "index", "field"),
    [
        ('{"id": 1, "at": 17}', "application/json", 0, "$.id"),
        ('{"id": "a"}', "application/json", 0, "$.at"),
        ('{"id": "a", "at": "yesterday"}', "application/json", 0, "$.at"),
        ('{"id": "a", "at": 1e300}', "application/json", 0, "$.at"),
        ('{"id": "a", "at": 99999999999999999}', "application/json", 0, "$.at"),
        (f"{order('a')}\n\n{order('b')}\n{order('c', None)}", LINES, 2, "$.at"),
        (f"[{order('a')},{order(3)}]", "application/json", 1, "$.id"),
        ('{"id": "a", "at": 17', "application/json", 0, None),
        (order("a") + order("b"), "application/json", 0, None),
        (f"{order('a')} {order('b')}\n{{}}", LINES, 0, None),
        ("[" * 100_000, "application/json", None, None),
        ('{"x":' * 100_000, "application/json", 0, None),
        ('{"id": "\xff", "at": 17}'.encode("latin-1"), "application/json", 0, None),
        ("", "application/json", 0, None),
        ("[]", "application/json", None, None),
        ("\n\n", LINES, None, None),
        ("null", "application/json", 0, None),
        (json.dumps({**cloud("q"), "data_base64": ""}).replace('"data":', '"other":'), STRUCTURED, 0, None),
        ("{}", STRUCTURED, 0, "$.specversion"),
        (json.dumps([cloud("q"), cloud("")]), BATCHED, 1, "$.id"),
        (json.dumps(cloud("q", datacontenttype="text/xml")), STRUCTURED, 0, "$.datacontenttype"),
        (json.dumps(cloud("q", {"id": "a"})), STRUCTURED, 0, "$.at"),
        ("[1]", BATCHED, 0, None),
    ],
)
def test_refused_at_the_door(shop: Running, body: str | bytes, kind: str, index: int | None, field: str | None) -> None:
    before = shop.lines("orders/0")
    found = shop.post("/orders", body, kind)
    assert found.status == 422, found.body
    assert found.headers["content-type"] == "application/problem+json"
    if index is not None:
        assert found.json["errors"][0]["index"] == index
        assert found.json["errors"][0].get("field") == field, found.json
    assert shop.lines("orders/0") == before, "nothing of it is in the log"


def test_refused_by_the_head(shop: Running) -> None:
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        assert shop.post("/orders", order("a"), kind).status == 415
    assert shop.post("/orders", order("a"), content_encoding="br").status == 415
    assert shop.post("/nope", order("a")).status == 404
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert ask(shop.at, method, "/orders").status == 405
    assert shop.post("/openapi.json", "{}").status == 405
    headers = {"ce_specversion": "1.0", "ce_id": "%ff", "ce_source": "/test", "ce_type": "order"}
    assert shop.post("/orders", order("a"), **headers).status == 400
    assert shop.post("/orders", order("a"), "text/xml", ce_specversion="1.0").status == 415


def test_gzip(shop: Running) -> None:
    packed = gzip.compress(order("z").encode())
    assert added(shop, "orders/0", shop.post("/orders", packed, content_encoding="gzip")) == order("z").encode()
    for wrong in (packed[:-3], b"not gzip", packed + b"garbage", b""):
        assert shop.post("/orders", wrong, content_encoding="gzip").status in (400, 422)
    bomb = gzip.compress(b" " * (200 << 20), 9)
    assert len(bomb) < 1 << 20
    assert shop.post("/orders", bomb, content_encoding="gzip").status == 413
    twice = gzip.compress(b"x" * 600) * 2
    with pytest.raises(ProblemError, match="more than 1,000 bytes"):
        inflate(b"gzip", twice, 1_000)
    assert inflate(b"gzip", twice, 1_200) == b"x" * 1_200


def test_a_client_that_goes_before_the_answer(shop: Running) -> None:
    with connect(shop.at) as sock:
        headers = {"content-type": "application/json", "idempotency-key": "gone"}
        sock.sendall(request_bytes("POST", "/orders", order("gone").encode(), headers))
    found = shop.post("/orders", order("gone"), idempotency_key="gone")
    assert found.status == 200
    assert shop.lines("orders/0").count(order("gone").encode()) == 1


def test_disks_that_fail(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        assert shop.post("/orders", order("a")).status == 200
        shop.files.fault, shop.files.at_byte = "full", 20
        full = shop.post("/orders", order("b"), idempotency_key="b")
        assert (full.status, "retry-after" in full.headers) == (507, True)
        assert shop.post("/orders", order("b"), idempotency_key="b").json["duplicate"] is False
        shop.files.fault = "sync"
        assert shop.post("/orders", order("c")).status == 503
        assert shop.post("/orders", order("d")).status == 503
        assert shop.broken == [True]
        assert shop.app.not_ready() == "the inbox orders/0 is to be opened anew"
        assert shop.post("/any", "{}").status == 200
        assert shop.lines("orders/0") == [order("a").encode(), order("b").encode()]


def test_more_than_the_disk_takes(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        shop.app._partitions["any/0"].appender.queued_bytes = 1 << 40
        found = shop.post("/orders", order("a"))
        assert (found.status, found.headers["retry-after"]) == (429, "1")
        shop.app._partitions["any/0"].appender.queued_bytes = 0
        shop.app._reading = 1 << 40
        assert shop.post("/orders", order("a")).status == 429
        shop.app._reading = 0
        chunk = b"5\r\nhello\r\n0\r\n\r\n"
        assert shop.post("/orders", chunk, transfer_encoding="chunked").status == 422
        assert (shop.app._reading, shop.gate.under_way) == (0, 0)
