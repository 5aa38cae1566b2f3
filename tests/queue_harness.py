"""Queues of real servers for tests: each can be put to, and read by a flow in another process."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

from tests.cluster_harness import await_true
from tests.servers import mosquitto_server, nats_server, rabbit_server, redis_server

NAMES = itertools.count()


class ServedQueue:
    """A queue with a name of its own."""

    def __init__(self) -> None:
        self.name = f"q{next(NAMES)}-{time.time_ns()}"
        self.count = 0
        self.make()

    port: int

    def make(self) -> None:
        """Have the queue there."""

    def source(self, port: int | None = None) -> str:
        """The source as a flow's file has it; `port` is that of a proxy."""
        raise NotImplementedError

    def put(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Put messages, each with an id, and wait until the server has them."""
        raise NotImplementedError

    def left(self) -> int:
        """How many messages the server still has."""
        raise NotImplementedError

    def grow(self, count: int) -> None:
        """So many steps more, as flows of `tests.kills_harness` read them."""
        numbers = range(self.count, self.count + count)
        self.count += count
        self.put((f"id-{n}", json.dumps({"at": 10 * n, "user": f"u{n * 7 % 20}", "n": n}).encode()) for n in numbers)


class RabbitQueue(ServedQueue):
    def make(self) -> None:
        self.server = rabbit_server()
        self.port = self.server.port
        asyncio.run(self.asked(lambda channel: channel.declare_queue(self.name, durable=True)))

    def source(self, port: int | None = None) -> str:
        url = self.server.url.replace(str(self.port), str(port or self.port))
        return f'hw.rabbitmq_queue("{url}", "{self.name}", prefetch=50)'

    def put(self, values: Iterable[tuple[str, bytes]]) -> None:
        import aio_pika

        async def publish(channel: Any) -> None:
            made = [
                aio_pika.Message(value, message_id=identity, delivery_mode=2, headers={"trace": identity})
                for identity, value in values
            ]
            # Together, as each confirmation waits for the disk.
            await asyncio.gather(*(channel.default_exchange.publish(message, self.name) for message in made))

        asyncio.run(self.asked(publish))

    def left(self) -> int:
        declared = asyncio.run(self.asked(lambda channel: channel.declare_queue(self.name, passive=True)))
        return int(declared.declaration_result.message_count)

    async def asked(self, what: Any) -> Any:
        import aio_pika

        connection = await aio_pika.connect(self.server.url)
        async with connection:
            return await what(await connection.channel())


class RedisList(ServedQueue):
    def make(self) -> None:
        self.server = redis_server()
        self.port = self.server.port

    def source(self, port: int | None = None) -> str:
        return f'hw.redis_list("redis://127.0.0.1:{port or self.port}", "{self.name}")'

    def put(self, values: Iterable[tuple[str, bytes]]) -> None:
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            for _, value in values:
                client.lpush(self.name, value)

    def left(self) -> int:
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            return int(client.llen(self.name)) + int(client.llen(f"{{{self.name}}}:headway"))


class MqttTopic(ServedQueue):
    def make(self) -> None:
        self.server = mosquitto_server()
        self.port = self.server.port
        # A session is there from the first connection of its client on.
        client = self._client(self.name, clean=False)
        client.subscribe(f"{self.name}/#", qos=1)
        time.sleep(0.2)
        client.disconnect()
        client.loop_stop()

    def source(self, port: int | None = None) -> str:
        return f'hw.mqtt("mqtt://127.0.0.1:{port or self.port}", "{self.name}/#", client_id="{self.name}", prefetch=50)'

    def put(self, values: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        client = self._client("", clean=True)
        sent = []
        for identity, value in values:
            about: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            about.UserProperty = [("id", identity), ("trace", identity)]
            sent.append(client.publish(f"{self.name}/a", value, qos=1, retain=retain, properties=about))
        for one in sent:
            one.wait_for_publish(30)
        client.disconnect()
        client.loop_stop()

    def left(self) -> int:
        return 0  # Brokers do not tell.

    def _client(self, client_id: str, *, clean: bool) -> Any:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        about: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        about.SessionExpiryInterval = 0 if clean else 3_600
        client.connect("127.0.0.1", self.port, clean_start=clean, properties=about)
        client.loop_start()
        await_true(client.is_connected, "the broker to let us in")
        return client


class NatsSubject(ServedQueue):
    def make(self) -> None:
        self.server = nats_server()
        self.port = self.server.port

    def source(self, port: int | None = None) -> str:
        return f'hw.nats_core("nats://127.0.0.1:{port or self.port}", "{self.name}.>")'

    def put(self, values: Iterable[tuple[str, bytes]]) -> None:
        import nats

        async def publish() -> None:
            client = await nats.connect(self.server.url)
            for identity, value in values:
                await client.publish(f"{self.name}.a", value, headers={"Nats-Msg-Id": identity, "trace": identity})
            await client.flush()
            await client.close()

        asyncio.run(publish())

    def left(self) -> int:
        return 0
