"""NATS JetStream as an input: the contract, what the server loses, and what a person reads."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import eventually
from tests.readers import read_out, taking
from tests.servers import NatsServer, nats_server

import headway as hw
from headway.errors import InputError, UsageError
from headway.testing import check_transport

NAMES = itertools.count()


class Order(hw.Event):
    n: int
    at: hw.Time = 0
    subject: str = ""
    headers: dict[str, str] = {}
    number: int = 0


@pytest.fixture
def nats() -> NatsServer:
    return nats_server()


def asked(server: NatsServer, what: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    import nats

    async def ask() -> Any:
        client = await nats.connect(server.url)
        try:
            return await what(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(ask())


def stream_of(server: NatsServer, **settings: Any) -> str:
    name = f"ORDERS{next(NAMES)}"

    async def make(stream: Any) -> None:
        await stream.add_stream(name=name, subjects=[f"{name}.>"], **settings)

    asked(server, make)
    return name


def publish(server: NatsServer, stream: str, numbers: range, parts: int = 1) -> None:
    async def put(client: Any) -> None:
        for n in numbers:
            await client.publish(f"{stream}.p{n % parts}", json.dumps({"n": n}).encode(), headers={"trace": f"t{n}"})

    asked(server, put)


def purge(server: NatsServer, stream: str, before: int) -> None:
    asked(server, lambda client: client.purge_stream(stream, seq=before))


def delete(server: NatsServer, stream: str) -> None:
    asked(server, lambda client: client.delete_stream(stream))


def source(server: NatsServer, stream: str, **options: Any) -> Any:
    return hw.nats(server.url, stream, **options)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_contract(nats: NatsServer, parts: int) -> None:
    stream = stream_of(nats)
    publish(nats, stream, range(10), parts)
    numbers = itertools.count(100)
    subjects = [f"{stream}.p{part}" for part in range(parts)] if parts > 1 else [">"]

    def append(name: str) -> Order:
        n = next(numbers)
        subject = name.partition("/")[2] or f"{stream}.p0"
        asked(nats, lambda client: client.publish(subject, json.dumps({"n": n}).encode()))
        return Order(n)

    expected = {
        stream if parts == 1 else f"{stream}/{subject}": [Order(n) for n in range(part, 10, parts)]
        for part, subject in enumerate(subjects)
    }
    check_transport(source(nats, stream, subjects=subjects), Order, expected, append=append)


def test_the_parts_of_messages_are_the_fields_of_events(nats: NatsServer, tmp_path: Path) -> None:
    stream = stream_of(nats)
    publish(nats, stream, range(2))
    flow = hw.Flow("orders")
    fields = {"subject": hw.record_key, "headers": hw.record_headers, "at": hw.record_time, "number": hw.record_offset}
    orders = flow.source("orders", Order, source(nats, stream), time=hw.record_time, fields=fields)
    found: list[Any] = []
    orders.to("found", hw.to_list(found))
    hw.run(flow, state=tmp_path, drain=True)
    assert [
        (one["n"], one["subject"], one["headers"], one["number"]) for one in sorted(found, key=itemgetter("n"))
    ] == [(n, f"{stream}.p0", {"trace": f"t{n}"}, n + 1) for n in range(2)]
    assert all(1_700_000_000_000 < one["at"] < 2_500_000_000_000 for one in found)


def test_messages_that_were_deleted_before_they_were_read_end_the_run_or_are_told(nats: NatsServer) -> None:
    stream = stream_of(nats)
    publish(nats, stream, range(10))
    with closing(source(nats, stream).session()) as session:
        reader = session.open(stream, None, follow=False)
        assert read_out(reader, Order) == list(range(10))
        made = reader.position()["stream"]
        reader.close()
        purge(nats, stream, 7)
        behind = {"sequence": 3, "stream": made}
        with pytest.raises(InputError, match=r"begins at 7, and 3 .*4 messages were deleted .*expired=\"earliest\""):
            read_out(session.open(stream, behind, follow=False), Order)
        with pytest.raises(InputError, match="was made anew"):
            read_out(session.open(stream, {"sequence": 12, "stream": made}, follow=False), Order)
        with pytest.raises(InputError, match="was made anew"):
            read_out(session.open(stream, {"sequence": 8, "stream": "before"}, follow=False), Order)
    with closing(source(nats, stream, expired="earliest").session()) as session:
        assert read_out(session.open(stream, behind, follow=False), Order) == [6, 7, 8, 9]
        told: list[str] = []
        session.partitions(told.append)
        assert [text.partition(": ")[2] for text in told] == ["4 messages from 3 on were deleted before they were read"]
    with closing(source(nats, stream, start="latest").session()) as session:
        assert read_out(session.open(stream, None, follow=False), Order) == []


def test_a_stream_that_is_gone_while_it_is_read_ends_the_run(nats: NatsServer) -> None:
    stream = stream_of(nats)
    publish(nats, stream, range(10))
    with closing(source(nats, stream).session()) as session:
        reader = session.open(stream, None, follow=True)
        has, _ = taking(reader, Order)
        eventually(lambda: has(10), "all ten")
        delete(nats, stream)
        with pytest.raises(InputError, match=r"is gone while it is read; start with a new state directory"):
            eventually(lambda: has(11), "nobody notices it")


def test_a_server_that_was_killed_is_read_on_when_it_is_back() -> None:
    nats_server()
    server = NatsServer()
    try:
        stream = stream_of(server)
        publish(server, stream, range(50))
        with closing(source(server, stream).session()) as session:
            has, found = taking(session.open(stream, None, follow=True), Order)
            eventually(lambda: has(50), "the first fifty")
            server.kill()
            assert has(50)
            server.start()
            publish(server, stream, range(50, 100))
            eventually(lambda: has(100), "all hundred", 60)
            assert found == list(range(100))
    finally:
        server.remove()


def test_what_is_wrong_is_said_in_words(nats: NatsServer, tmp_path: Path) -> None:
    with closing(source(nats, "NO_SUCH").session()) as session:
        told: list[str] = []
        assert session.partitions(told.append) == []
        assert told == [f"nats stream NO_SUCH at {nats.url.partition('://')[2]}: it is not there yet"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"servers": []}, "expected the URL of a server"),
        ({"stream": "a b"}, "expected the name of a stream"),
        ({"subjects": "orders"}, "expected a list of subjects"),
        ({"start": "tomorrow"}, "start='tomorrow'"),
        ({"format": "csv"}, "name the columns"),
    ]
    for given, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            hw.nats(**{"servers": nats.url, "stream": "ORDERS", **given})
    for secret in (hw.nats("nats://a", "b", user="u", password="swordfish"), hw.nats("nats://u:swordfish@a:1", "b")):
        assert "swordfish" not in repr(secret) + secret.describe()
