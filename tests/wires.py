"""Systems at both ends of a flow, each reached through a port that a proxy may have: a source, and a target.

`WIRES` has a function for each. What a flow's file says of its ends is text, as the flow runs in processes of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tests.kafka_harness import Consumed, producer, topic_of
from tests.queue_harness import MqttTopic, RabbitQueue
from tests.rabbit_harness import put, stream_of
from tests.servers import kafka_server, mosquitto_server, nats_server, postgres_server, rabbit_server, redis_server

import headway as hw
from headway.connectors.parts import record_headers
from headway.formats.json import Json

__all__ = ["WIRES", "Arrived", "Ends"]

NAMES: Final = itertools.count()


class Arrived(NamedTuple):
    """A trigger as it is found at its target."""

    key: str
    id: str
    nonce: str


Hearing = AbstractContextManager[Callable[[], list[Arrived]]]
"""Inside of it, all that has arrived so far."""


@dataclass(frozen=True)
class Ends:
    """Both ends of a flow at one system."""

    port: int
    """Where it listens."""
    source: Callable[[int], str]
    """The input through a port, as a flow's file has it."""
    grow: Callable[[Sequence[bytes]], None]
    """Put values there, the last one behind the others in each partition."""
    target: Callable[[int], str]
    hearing: Callable[[], Hearing]
    is_exact: bool
    """Whether the target promises once, and not at least once with one id."""
    keeps_order: bool = True
    """Whether the target promises the order of each key."""
    proxy_port: int = 0
    """Where a proxy has to listen; 0 for anywhere."""
    cut_of: int = 25
    """One piece in so many is cut: there are more of them where each record has an answer of its own."""


def _nonce(data: str | bytes) -> str:
    return str(json.loads(data)["nonce"])


@contextmanager
def _gathering(more: Callable[[int], list[Arrived]]) -> Iterator[Callable[[], list[Arrived]]]:
    """What is asked for piece by piece: behind as many as are known."""
    found: list[Arrived] = []

    def all_of() -> list[Arrived]:
        found.extend(more(len(found)))
        return found

    yield all_of


def _kafka(*, is_exact: bool) -> Ends:
    server = kafka_server()
    source, sink = topic_of(server, 2), topic_of(server, 2)

    def grow(values: Sequence[bytes]) -> None:
        writer = producer(server)
        for value in values[:-1]:
            writer.produce(source, value, partition=json.loads(value)["n"] % 2)
        for partition in range(2):
            writer.produce(source, values[-1], partition=partition)
        assert writer.flush(30) == 0

    @contextmanager
    def hearing() -> Iterator[Callable[[], list[Arrived]]]:
        reading = Consumed(server, sink)

        def arrived() -> list[Arrived]:
            return [
                Arrived(one.key().decode(), dict(one.headers())["ce_id"].decode(), _nonce(one.value()))
                for one in reading()
            ]

        try:
            yield arrived
        finally:
            reading.close()

    return Ends(
        server.behind_port,
        lambda port: f'hw.kafka("127.0.0.1:{port}", "{source}")',
        grow,
        lambda port: f'hw.to_kafka("127.0.0.1:{port}", "{sink}", transactions={is_exact})',
        hearing,
        is_exact=is_exact,
        keeps_order=is_exact,
        proxy_port=server.proxy_port,
    )


def kafka() -> Ends:
    return _kafka(is_exact=True)


def kafka_by_id() -> Ends:
    return _kafka(is_exact=False)


def nats() -> Ends:
    import nats.errors

    server = nats_server()
    source, sink = (f"WIRES{next(NAMES)}" for _ in range(2))

    async def asked(what: Callable[[Any], Any]) -> Any:
        client = await nats.connect(server.url)
        try:
            return await what(client.jetstream())
        finally:
            await client.close()

    async def make(stream: Any) -> None:
        for name in (source, sink):
            await stream.add_stream(name=name, subjects=[name])

    async def publish(stream: Any, values: Sequence[bytes]) -> None:
        for begin in range(0, len(values), 500):
            await asyncio.gather(*(stream.publish(source, value) for value in values[begin : begin + 500]))

    async def read(stream: Any, known: int) -> list[Arrived]:
        last, found = (await stream.stream_info(sink)).state.last_seq, []
        for number in range(known + 1, last + 1):
            one = await stream.get_msg(sink, number)
            found.append(Arrived(one.headers["ce-subject"], one.headers["Nats-Msg-Id"], _nonce(one.data)))
        return found

    asyncio.run(asked(make))
    return Ends(
        server.port,
        lambda port: f'hw.nats("nats://127.0.0.1:{port}", "{source}")',
        lambda values: asyncio.run(asked(lambda stream: publish(stream, values))),
        lambda port: f'hw.to_nats("nats://127.0.0.1:{port}", "{sink}")',
        lambda: _gathering(lambda known: asyncio.run(asked(lambda stream: read(stream, known)))),
        is_exact=False,
    )


def rabbit_queue() -> Ends:
    source, sink = RabbitQueue(), RabbitQueue()

    async def read(channel: Any) -> list[Arrived]:
        queue, found = await channel.get_queue(sink.name), []
        while (one := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(Arrived(one.headers["cloudEvents:subject"], one.message_id, _nonce(one.body)))
        return found

    url = source.server.url
    return Ends(
        source.port,
        source.source,
        lambda values: source.put((str(next(NAMES)), value) for value in values),
        lambda port: f'hw.to_rabbitmq("{url.replace(str(source.port), str(port))}", "{sink.name}")',
        lambda: _gathering(lambda known: asyncio.run(sink.asked(read))),
        is_exact=False,
        cut_of=60,
    )


def rabbit_stream() -> Ends:
    server = rabbit_server()
    source, sink = stream_of(server), stream_of(server)

    def url(port: int) -> str:
        return server.stream_url.replace(str(server.stream_port), str(port))

    @contextmanager
    def hearing() -> Iterator[Callable[[], list[Arrived]]]:
        found: list[Arrived] = []
        decoder = Json().decoder(hw.Json)
        with closing(hw.rabbitmq_stream(server.stream_url, sink).session()) as session:
            reader = session.open(sink, None, follow=True)

            def arrived() -> list[Arrived]:
                while (chunk := reader.read(1)) is not None:
                    events = chunk.decode(decoder)
                    headers = map(dict, chunk.parts(record_headers, events.ordinals))
                    for about, event in zip(headers, events.events):
                        key, identity = (about[f"cloudEvents:{name}"].decode() for name in ("subject", "id"))
                        found.append(Arrived(key, identity, event["nonce"]))
                return found

            yield arrived

    return Ends(
        server.stream_port,
        lambda port: f'hw.rabbitmq_stream("{url(port)}", "{source}", messages="bytes", advertised=False)',
        lambda values: put(server, source, values, chunk=100),
        lambda port: f'hw.to_rabbitmq_stream("{url(port)}", "{sink}", advertised=False)',
        hearing,
        is_exact=True,
    )


def redis_stream() -> Ends:
    import redis

    server = redis_server()
    source, sink = (f"wires-{next(NAMES)}" for _ in range(2))
    last = ["-"]

    def grow(values: Sequence[bytes]) -> None:
        with redis.Redis.from_url(server.url) as client, client.pipeline(transaction=False) as pipeline:
            for value in values:
                pipeline.xadd(source, {"value": value})
            pipeline.execute()

    def read(known: int) -> list[Arrived]:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            entries = client.xrange(sink, last[0])
        if entries:
            last[0] = f"({entries[-1][0]}"
        return [Arrived(fields["subject"], fields["id"], _nonce(fields["data"])) for _, fields in entries]

    return Ends(
        server.port,
        lambda port: f'hw.redis_stream("redis://127.0.0.1:{port}", "{source}")',
        grow,
        lambda port: f'hw.to_redis_stream("redis://127.0.0.1:{port}", "{sink}")',
        lambda: _gathering(read),
        is_exact=True,
    )


def postgres() -> Ends:
    server = postgres_server()
    source, sink = (f"wires{next(NAMES)}" for _ in range(2))
    columns = "id bigserial PRIMARY KEY, payload jsonb, xid xid8 NOT NULL DEFAULT pg_current_xact_id()"
    server.query(f"CREATE TABLE {source} ({columns})")
    server.query(f"CREATE INDEX ON {source} (xid, id)")

    def grow(values: Sequence[bytes]) -> None:
        for begin in range(0, len(values), 250):
            given = b"[%s]" % b",".join(values[begin : begin + 250])
            server.query(
                f"INSERT INTO {source} (payload) SELECT value FROM jsonb_array_elements(%s::jsonb)", given.decode()
            )

    def url(port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    @contextmanager
    def hearing() -> Iterator[Callable[[], list[Arrived]]]:
        def arrived() -> list[Arrived]:
            if not server.query("SELECT 1 FROM pg_tables WHERE tablename = %s", sink):
                return []
            rows = server.query(f"SELECT subject, id, data->>'nonce' FROM {sink} ORDER BY sequence")
            return [Arrived(*row) for row in rows]

        yield arrived

    return Ends(
        server.port,
        lambda port: f'hw.postgres_log("{url(port)}", "{source}", value="payload")',
        grow,
        lambda port: f'hw.postgres("{url(port)}", "{sink}")',
        hearing,
        is_exact=True,
    )


def mqtt() -> Ends:
    source, sink = MqttTopic(), f"wires/t{next(NAMES)}"

    @contextmanager
    def hearing() -> Iterator[Callable[[], list[Arrived]]]:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        found: list[Arrived] = []
        is_there = threading.Event()

        def heard(client: Any, userdata: Any, message: Any) -> None:
            about = dict(message.properties.UserProperty)
            found.append(Arrived(about["subject"], about["id"], _nonce(message.payload)))

        client = paho.Client(CallbackAPIVersion.VERSION2, f"hearing-{next(NAMES)}", protocol=paho.MQTTv5)
        client.on_message = heard
        client.on_subscribe = lambda *about: is_there.set()
        client.on_connect = lambda client, *about: client.subscribe(sink, qos=1)
        client.connect("127.0.0.1", source.port)
        client.loop_start()
        assert is_there.wait(10)
        try:
            yield lambda: list(found)
        finally:
            client.disconnect()
            client.loop_stop()

    return Ends(
        mosquitto_server().port,
        source.source,
        lambda values: source.put((str(next(NAMES)), value) for value in values),
        lambda port: f'hw.to_mqtt("mqtt://127.0.0.1:{port}", "{sink}")',
        hearing,
        is_exact=False,
        cut_of=100,
    )


WIRES: Final[list[Callable[[], Ends]]] = [
    kafka,
    kafka_by_id,
    nats,
    rabbit_queue,
    rabbit_stream,
    redis_stream,
    postgres,
    mqtt,
]
