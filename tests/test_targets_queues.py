"""Triggers to queues of RabbitMQ and topics of MQTT: the contract, what a message has, and what is refused."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cutting_proxy import CuttingProxy
from tests.kills_harness import chance_of
from tests.rabbit_harness import stream_of
from tests.servers import RabbitServer, mosquitto_server, rabbit_server
from tests.targets_harness import deliver, delivery_of, outcomes, with_target

import headway as hw
from headway.errors import OutputError, UsageError
from headway.targets.base import Outcome, Target
from headway.testing import check_target

NAMES = itertools.count()


def queue_of(server: RabbitServer, **arguments: Any) -> str:
    import aio_pika

    name = f"triggers-{next(NAMES)}"

    async def declare() -> None:
        connection = await aio_pika.connect(server.url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue(name, durable=True, arguments=arguments)

    asyncio.run(declare())
    return name


def messages(server: RabbitServer, queue: str) -> list[Any]:
    """All messages of a queue, which stay there."""
    import aio_pika

    async def read() -> list[Any]:
        found = []
        connection = await aio_pika.connect(server.url)
        async with connection:
            channel = await connection.channel()
            there = await channel.get_queue(queue)
            while (message := await there.get(fail=False)) is not None:
                found.append(message)
        return found  # What was not acknowledged goes back.

    return asyncio.run(read())


def test_rabbit_keeps_the_contract() -> None:
    server = rabbit_server()
    queue = queue_of(server)
    check_target(
        lambda: hw.to_rabbitmq(server.url, queue),
        received=lambda: [message.message_id for message in messages(server, queue)],
        make_unreachable=lambda: hw.to_rabbitmq("amqp://ann:swordfish@127.0.0.1:1", queue),
        secrets=["swordfish"],
    )


def test_a_message_of_rabbit_has_the_attributes_of_the_event() -> None:
    server = rabbit_server()
    queue = queue_of(server)
    one = delivery_of(7, {"cents": 1})
    deliver(hw.to_rabbitmq(server.url, queue), [one])
    [message] = messages(server, queue)
    assert (message.body, message.message_id, message.content_type) == (b'{"cents":1}', one.id, "application/json")
    assert (message.delivery_mode, message.type) == (2, "cart.abandoned")
    assert message.headers["cloudEvents:id"] == one.id
    assert message.headers["cloudEvents:subject"] == "cart-7"


def test_what_no_queue_takes_or_a_queue_refuses_is_tried_again() -> None:
    server = rabbit_server()
    [answer] = deliver(hw.to_rabbitmq(server.url, "no-such-queue"), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY
    assert "no queue takes it: the default exchange has none for the routing key 'no-such-queue'" in answer.reason
    full = queue_of(server, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    answers = deliver(hw.to_rabbitmq(server.url, full), [delivery_of(1)], [delivery_of(2)])
    assert outcomes(answers) == [Outcome.DONE, Outcome.RETRY]
    assert "a queue is full" in answers[1].reason
    [answer] = deliver(hw.to_rabbitmq(server.url, "x", exchange="no-such"), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY and "no-such" in answer.reason
    wrong = hw.to_rabbitmq(server.url.replace("guest:guest", "ann:swordfish"), "x")
    [answer] = deliver(wrong, [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY
    assert "refuses to let us in" in answer.reason and "swordfish" not in answer.reason


@contextmanager
def listening(topic: str) -> Iterator[list[Any]]:
    """What comes to a topic inside of the block."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    found: list[Any] = []
    is_there = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, f"listener-{next(NAMES)}", protocol=paho.MQTTv5)
    client.on_message = lambda client, userdata, message: found.append(message)
    client.on_subscribe = lambda *about: is_there.set()
    client.on_connect = lambda client, *about: client.subscribe(topic, qos=1)
    client.connect("127.0.0.1", mosquitto_server().port)
    client.loop_start()
    assert is_there.wait(10)
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def ids(found: list[Any]) -> list[str]:
    """What has come, once nothing more comes."""
    known = -1
    while known != len(found):
        known = len(found)
        time.sleep(0.3)
    return [dict(message.properties.UserProperty)["id"] for message in found]


def test_mqtt_keeps_the_contract() -> None:
    server, topic = mosquitto_server(), f"triggers/t{next(NAMES)}"
    with listening(topic) as found:
        check_target(
            lambda: hw.to_mqtt(server.url, topic),
            received=lambda: ids(found),
            make_unreachable=lambda: hw.to_mqtt("mqtt://ann:swordfish@127.0.0.1:1", topic),
            secrets=["swordfish"],
        )


def test_a_message_of_mqtt_has_the_attributes_of_the_event() -> None:
    server, topic = mosquitto_server(), f"triggers/t{next(NAMES)}"
    one = delivery_of(7, {"cents": 1})
    with listening(topic) as found:
        deliver(hw.to_mqtt(server.url, topic), [one])
        assert ids(found) == [one.id]
    [message] = found
    assert (message.payload, message.qos, message.properties.ContentType) == (b'{"cents":1}', 1, "application/json")
    named = dict(message.properties.UserProperty)
    assert (named["type"], named["subject"], named["source"]) == ("cart.abandoned", "cart-7", "/headway/shop")


@pytest.mark.parametrize("kind", ["rabbit", "mqtt"])
def test_answers_that_are_cut_off_are_asked_for_again(kind: str) -> None:
    server: Any = rabbit_server() if kind == "rabbit" else mosquitto_server()
    chance, total = chance_of(kind), 120
    where = queue_of(server) if kind == "rabbit" else f"triggers/t{next(NAMES)}"
    make = hw.to_rabbitmq if kind == "rabbit" else hw.to_mqtt
    listened = where if kind == "mqtt" else "nobody"
    with CuttingProxy(server.port, random.Random(chance.random()), cut_of=15) as proxy, listening(listened) as heard:

        async def send(target: Target) -> None:
            for n in range(total):
                for _ in range(50):
                    if outcomes(await target.deliver([delivery_of(n)])) == [Outcome.DONE]:
                        break
                else:
                    raise AssertionError(f"{n} is never taken")

        with_target(make(server.url.replace(str(server.port), str(proxy.port)), where), send)
        found = [one.message_id for one in messages(server, where)] if kind == "rabbit" else ids(heard)
        assert proxy.cut > 0
    # At least once, and in their order but for what was there before.
    assert [one for index, one in enumerate(found) if one not in found[:index]] == [
        delivery_of(n).id for n in range(total)
    ]


def test_a_look_before_the_run_says_what_is_there() -> None:
    rabbit, mosquitto = rabbit_server(), mosquitto_server()
    queue, stream = queue_of(rabbit), stream_of(rabbit)

    async def look(target: Target) -> str:
        return await target.look()

    assert with_target(hw.to_rabbitmq(rabbit.url, queue), look) == f"the queue {queue} has 0 messages"
    assert with_target(hw.to_rabbitmq_stream(rabbit.stream_url, stream), look) == f"the stream {stream} is there"
    assert with_target(hw.to_mqtt(mosquitto.url, "a"), look) == "the broker lets us in"
    for target in (
        hw.to_rabbitmq(rabbit.url, "no-such"),
        hw.to_rabbitmq(rabbit.url, "", exchange="no-such"),
        hw.to_rabbitmq_stream(rabbit.stream_url, "no-such"),
        hw.to_mqtt("mqtt://127.0.0.1:1", "a"),
    ):
        with pytest.raises(OutputError) as failed:
            with_target(target, look)
        assert "no-such" in str(failed.value) or "refused" in str(failed.value)


def test_options() -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: hw.to_rabbitmq("http://a", "b"), "a URL that begins with amqp://"),
        (lambda: hw.to_rabbitmq("amqp://a", "b" * 256), "up to 255 bytes"),
        (lambda: hw.to_rabbitmq("amqp://a", "b", concurrency=0), "concurrency=0 is out of range"),
        (lambda: hw.to_mqtt("mqtt://a", "carts/#"), "a topic without wildcards"),
        (lambda: hw.to_mqtt("a", "carts"), "a URL that begins with mqtt://"),
    ]
    for declare, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            declare()
