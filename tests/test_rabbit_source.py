"""Streams of RabbitMQ as an input: the contract, what the server deletes or loses, and what a person reads."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cutting_proxy import CuttingProxy
from tests.kafka_harness import eventually
from tests.kills_harness import chance_of
from tests.rabbit_harness import NAMES, delete, messages, plain, put, stream_of
from tests.readers import read_out, taking
from tests.servers import RabbitServer, rabbit_server

import headway as hw
from headway.connectors.amqp import body_of, properties_of
from headway.errors import InputError, UsageError
from headway.testing import check_transport


class Order(hw.Event):
    n: int
    at: hw.Time = 0
    user: str = ""
    headers: dict[str, str] = {}
    number: int = 0


@pytest.fixture
def rabbit() -> RabbitServer:
    return rabbit_server()


def source(server: RabbitServer, *streams: str, **options: Any) -> Any:
    return hw.rabbitmq_stream(server.stream_url, *streams, **options)


PROPERTY_VALUES = st.one_of(st.text(max_size=300), st.binary(max_size=300), st.booleans(), st.integers(-(2**31), 2**31))


@given(
    st.binary(min_size=1, max_size=400),
    st.dictionaries(st.text(min_size=1, max_size=20), PROPERTY_VALUES, max_size=4),
    st.text(max_size=40),
)
def test_the_body_and_the_properties_that_a_client_has_written(
    body: bytes, properties: dict[str, Any], name: str
) -> None:
    from rstream import AMQPMessage, Properties

    written = bytes(
        AMQPMessage(body=body, properties=Properties(message_id=name), application_properties=properties or None)
    )
    assert body_of(written) == body
    assert dict(properties_of(written)) == {
        key: value
        if isinstance(value, bytes)
        else (str(value).lower() if isinstance(value, bool) else str(value)).encode()
        for key, value in properties.items()
    }
    for end in range(len(written)):  # Whatever is cut off: it is no message, or one without a body.
        with pytest.raises(ValueError, match=r"no AMQP 1\.0 message|has no body"):
            body_of(written[:end])
        properties_of(written[:end])


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    try:
        assert isinstance(body_of(data), bytes)
    except ValueError as error:
        assert str(error)
    assert isinstance(properties_of(data), list)


@pytest.mark.parametrize("kind", ["amqp", "bytes"])
def test_the_contract(rabbit: RabbitServer, kind: str) -> None:
    made = messages if kind == "amqp" else plain
    one, other, empty = stream_of(rabbit), stream_of(rabbit), stream_of(rabbit)
    put(rabbit, one, made(range(10)))
    put(rabbit, other, made(range(5)), chunk=5, packed=True)
    numbers = itertools.count(100)

    def append(name: str) -> Order:
        n = next(numbers)
        put(rabbit, name, made(range(n, n + 1)))
        return Order(n)

    expected = {one: [Order(n) for n in range(10)], other: [Order(n) for n in range(5)], empty: []}
    check_transport(source(rabbit, one, other, empty, messages=kind), Order, expected, append=append)


def test_reading_on_at_any_message_gives_the_rest(rabbit: RabbitServer) -> None:
    chance = chance_of("rabbit")
    stream, count = stream_of(rabbit), 600
    put(rabbit, stream, messages(range(count)), chunk=300)
    with closing(source(rabbit, stream).session()) as session:
        reader = session.open(stream, None, follow=False)
        positions: list[Any] = []

        def is_over() -> bool:
            if reader.read(1) is not None:
                positions.append(reader.position())
            return bool(reader.at_end)

        eventually(is_over, "the end")
        assert len({at["chunk"] for at in positions}) > 1
        for offset in (1, 299, 300, 301, count, *chance.sample(range(1, count), 4)):
            of_its_chunk = next(at for at in positions if at["offset"] >= offset)
            position = {**of_its_chunk, "offset": offset}
            assert read_out(session.open(stream, position, follow=False), Order) == list(range(offset, count))


def test_the_parts_of_messages_are_the_fields_of_events(rabbit: RabbitServer, tmp_path: Path) -> None:
    stream = stream_of(rabbit)
    put(rabbit, stream, messages(range(2)))
    put(rabbit, stream, [b"no message of AMQP"])
    flow = hw.Flow("orders")
    fields = {"user": hw.record_key, "headers": hw.record_headers, "at": hw.record_time, "number": hw.record_offset}
    orders = flow.source("orders", Order, source(rabbit, stream, key="user"), time=hw.record_time, fields=fields)
    found: list[Any] = []
    letters: list[Any] = []
    orders.to("found", hw.to_list(found))
    orders.dead_letters.to("letters", hw.to_list(letters))
    hw.run(flow, state=tmp_path, drain=True)
    assert [(one["n"], one["user"], one["headers"], one["number"]) for one in sorted(found, key=itemgetter("n"))] == [
        (n, f"u{n}", {"user": f"u{n}", "count": str(n)}, n) for n in range(2)
    ]
    assert all(1_700_000_000_000 < one["at"] < 2_500_000_000_000 for one in found)
    [letter] = letters
    assert (letter["position"], letter["raw"]) == ("offset 2", "no message of AMQP")
    assert 'messages="bytes"' in letter["reason"]


def test_the_partitions_of_a_super_stream_are_found(rabbit: RabbitServer) -> None:
    import aio_pika

    name = f"super-{next(NAMES)}"

    async def declare(numbers: range) -> None:
        connection = await aio_pika.connect(rabbit.url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(name, durable=True, arguments={"x-super-stream": True})
            for number in numbers:
                queue = await channel.declare_queue(
                    f"{name}-{number}", durable=True, arguments={"x-queue-type": "stream"}
                )
                await queue.bind(exchange, str(number), arguments={"x-stream-partition-order": number})

    asyncio.run(declare(range(2)))
    put(rabbit, f"{name}-1", messages(range(3)))

    def new_partition() -> str:
        asyncio.run(declare(range(2, 3)))
        return f"{name}-2"

    expected: dict[str, list[Order]] = {f"{name}-0": [], f"{name}-1": [Order(n) for n in range(3)]}
    check_transport(source(rabbit, super_stream=name), Order, expected, new_partition=new_partition)
    with closing(source(rabbit, super_stream="no-such").session()) as session:
        told: list[str] = []
        assert session.partitions(told.append) == []
        assert "rabbitmq super stream no-such at" in told[0] and "is not there yet" in told[0]


def test_messages_that_were_deleted_before_they_were_read_end_the_run_or_are_told(rabbit: RabbitServer) -> None:
    stream = stream_of(rabbit, max_length_bytes=30_000, stream_max_segment_size_bytes=10_000)
    put(rabbit, stream, plain(range(10)), chunk=10)
    options = {"messages": "bytes"}
    with closing(source(rabbit, stream, **options).session()) as session:
        reader = session.open(stream, None, follow=False)
        assert read_out(reader, Order) == list(range(10))
        at = reader.position()
        reader.close()
        padded = [one[:-1] + b', "user": "%s"}' % (b"x" * 500) for one in plain(range(10, 200))]
        put(rabbit, stream, padded, chunk=10)
        start = session.open(stream, None, follow=False)
        left = read_out(start, Order)
        assert left == list(range(left[0], 200)) and left[0] > 20
        missing = left[0] - 10
        with pytest.raises(
            InputError, match=rf"{missing} messages of {stream} from offset 10 on .*expired=\"earliest\""
        ):
            read_out(session.open(stream, at, follow=False), Order)
    with closing(source(rabbit, stream, expired="earliest", **options).session()) as session:
        assert read_out(session.open(stream, at, follow=False), Order) == left
        told: list[str] = []
        session.partitions(told.append)
        assert [text.partition(": ")[2] for text in told] == [
            f"{missing} messages of {stream} from offset 10 on were deleted before they were read"
        ]
    with closing(source(rabbit, stream, start="latest", **options).session()) as session:
        reader = session.open(stream, None, follow=False)
        assert read_out(reader, Order) == []
        assert reader.position()["offset"] == 200


@pytest.mark.parametrize("again", [0, 5, 10, 20])
def test_a_stream_that_was_made_anew_is_refused(
    rabbit: RabbitServer, again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.connectors.rabbit_stream._LAG_S", 0.3)
    stream = stream_of(rabbit)
    put(rabbit, stream, messages(range(10)), chunk=5)
    with closing(source(rabbit, stream).session()) as session:
        reader = session.open(stream, None, follow=False)
        assert read_out(reader, Order) == list(range(10))
        at = reader.position()
        reader.close()
        delete(rabbit, stream)
        with pytest.raises(InputError, match=f"offset 10 of {stream} is to be read next.*was made anew"):
            read_out(session.open(stream, at, follow=False), Order)
        stream_of(rabbit, stream)
        put(rabbit, stream, messages(range(again)), chunk=5)
        with pytest.raises(InputError, match=f"offset 10 of {stream} is to be read next.*was made anew"):
            read_out(session.open(stream, at, follow=False), Order)


def test_a_server_that_was_killed_is_read_on_when_it_is_back(rabbit: RabbitServer) -> None:
    stream = stream_of(rabbit)
    put(rabbit, stream, messages(range(50)))
    with closing(source(rabbit, stream).session()) as session:
        has, found = taking(session.open(stream, None, follow=True), Order)
        eventually(lambda: has(50), "the first fifty")
        rabbit.kill()
        assert has(50)
        rabbit.start()
        put(rabbit, stream, messages(range(50, 100)))
        eventually(lambda: has(100), "all hundred", 60)
        assert found == list(range(100))
        delete(rabbit, stream)
        with pytest.raises(InputError, match=r"is gone while it is read|was made anew"):
            eventually(lambda: has(101), "the failure", 30)


def test_connections_that_are_cut_lose_and_double_nothing(rabbit: RabbitServer) -> None:
    chance = chance_of("cut")
    stream = stream_of(rabbit)
    put(rabbit, stream, messages(range(200)), chunk=10)
    with CuttingProxy(rabbit.stream_port, random.Random(chance.random()), cut_of=12) as proxy:
        url = rabbit.stream_url.replace(str(rabbit.stream_port), str(proxy.port))
        with closing(hw.rabbitmq_stream(url, stream, advertised=False).session()) as session:
            has, found = taking(session.open(stream, None, follow=True), Order)
            eventually(lambda: has(200), "the first", 60)
            put(rabbit, stream, messages(range(200, 400)), chunk=10)
            eventually(lambda: has(400), "all", 60)
            assert found == list(range(400))
        assert proxy.cut > 0


def test_looks_at_the_end_put_nothing_among_what_is_read(rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.connectors.rabbit_stream.LOOK_EVERY_S", 0)  # One look for each chunk.
    stream, count = stream_of(rabbit), 300
    put(rabbit, stream, plain(range(count)), chunk=1)
    with closing(source(rabbit, stream, messages="bytes").session()) as session:
        has, found = taking(session.open(stream, None, follow=True), Order)
        eventually(lambda: has(count), "all that there was", 30)
        assert found == list(range(count))
        opened: list[Any] = []
        monkeypatch.setattr("headway.connectors.rabbit_stream.StreamLink.open", opened.append)
        put(rabbit, stream, plain(range(count, count + 10)), chunk=1)
        eventually(lambda: has(count + 10), "what came later", 30)
        assert found == list(range(count + 10)) and not opened  # All on the first connection.


def test_a_chunk_that_went_missing_is_read_again(rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from headway.connectors.rabbit_link import StreamLink

    stream = stream_of(rabbit)
    put(rabbit, stream, plain(range(100)), chunk=5)
    lost: list[Any] = []
    deliver = StreamLink._delivered

    def delivered(link: StreamLink, chunk: Any) -> None:
        if chunk.chunk_first_offset == 50 and not lost:
            lost.append(chunk)
        else:
            deliver(link, chunk)

    monkeypatch.setattr(StreamLink, "_delivered", delivered)
    with closing(source(rabbit, stream, messages="bytes").session()) as session:
        assert read_out(session.open(stream, None, follow=False), Order) == list(range(100))
    assert lost


def test_what_the_server_writes_into_a_stream_for_itself_is_no_gap(rabbit: RabbitServer) -> None:
    from rstream import Producer, RawMessage

    stream, count = stream_of(rabbit, stream_max_segment_size_bytes=10_000), 100

    async def publish() -> None:
        async with Producer("127.0.0.1", rabbit.stream_port, username="guest", password="guest") as producer:
            for n in range(count):
                body = json.dumps({"n": n, "user": "x" * 1_000}).encode()
                await producer.send_wait(stream, RawMessage(body, n + 1), publisher_name="shop")

    asyncio.run(publish())
    with closing(source(rabbit, stream, messages="bytes").session()) as session:
        reader = session.open(stream, None, follow=False)
        assert read_out(reader, Order) == list(range(count))
        assert reader.position()["offset"] > count  # There were such entries.


def test_what_is_wrong_is_said_in_words(rabbit: RabbitServer) -> None:
    with closing(source(rabbit, "no-such").session()) as session:
        told: list[str] = []
        assert session.partitions(told.append) == []
        assert "the stream no-such is not there yet" in told[0]
    for part, wrong in (("guest:guest@", "ann:swordfish@"), (f":{rabbit.stream_port}", f":{rabbit.stream_port}/other")):
        refused = hw.rabbitmq_stream(rabbit.stream_url.replace(part, wrong), "x")
        assert "swordfish" not in repr(refused) + refused.describe()
        with closing(refused.session()) as session, pytest.raises(InputError, match="refuses to let us in"):
            session.partitions()
    given: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
        ("http://a", ("a",), {}, "a URL that begins with rabbitmq-stream://"),
        ("rabbitmq-stream://a:x", ("a",), {}, "Port could not be cast"),
        ("rabbitmq-stream://a?cafile=x", ("a",), {}, "'cafile' in the URL is not known"),
        (rabbit.stream_url, (), {}, "expected the names of streams"),
        (rabbit.stream_url, ("a", "a"), {}, "each of them once"),
        (rabbit.stream_url, ("a",), {"super_stream": "b"}, "expected the names of streams"),
        (rabbit.stream_url, ("ä",), {}, "ASCII"),
        (rabbit.stream_url, ("a",), {"messages": "text"}, "messages='text'"),
        (rabbit.stream_url, ("a",), {"start": "tomorrow"}, "start='tomorrow'"),
        (rabbit.stream_url, ("a",), {"format": "csv"}, "name the columns"),
    ]
    for url, streams, options, reason in given:
        with pytest.raises(UsageError, match=reason):
            hw.rabbitmq_stream(url, *streams, **options)
