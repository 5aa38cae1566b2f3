"""Names, options and bounds of queues."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.queue_fakes import FakeConsumer, FakeQueue, Given

import headway as hw
from headway.connectors.server_url import MQTT, ServerUrl
from headway.errors import UsageError
from headway.inbox.queues import mqtt
from headway.inbox.queues.base import Losses
from headway.inbox.queues.source import log_name, queue_source


def test_names_of_logs_are_each_queues_own(tmp_path: Path) -> None:
    given = [("a.b", "c"), ("a", "b.c"), ("a/b",), ("a~2fb",), ("a", "b"), ("a~-b",), ("x" * 300,), ("x" * 301,)]
    names = [log_name("nats", *parts) for parts in given]
    assert len(set(names)) == len(given)
    for name in names:
        assert len(name) <= 200
        queue_source(name, lambda: Given([]))
    assert log_name("nats", "carts.>") == "nats.carts.~3e"
    flow = hw.Flow("two")
    for server in ("one", "other"):
        source = hw.rabbitmq_queue(f"amqp://{server}", "orders")
        flow.source(server, hw.Json, source, time=hw.record_time).to(f"{server}-out", hw.to_list([]))
    with pytest.raises(UsageError, match=r"both keep inbox/=rabbitmq\.orders in the state directory: .*another log="):
        hw.run(flow, state=tmp_path)
    assert hw.rabbitmq_queue("amqp://other", "orders", log="orders-eu").own_log == "inbox/=orders-eu"
    with pytest.raises(UsageError, match="expected a name of letters"):
        hw.rabbitmq_queue("amqp://other", "orders", log="orders/eu")


def test_losses_are_told_seldom_and_in_full() -> None:
    told: list[str] = []
    losses = Losses(told.append, "messages were lost")
    losses.end()
    assert told == []
    for _ in range(2_500):
        losses.add()
    losses.end()
    losses.end()
    assert told == [f"{count} messages were lost" for count in ("1", "10", "100", "1,000", "2,500")]


def test_messages_of_mqtt_that_need_no_acknowledgement_wait_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_WAITING_MOST", 3)
    monkeypatch.setattr(mqtt, "_WAITING_BYTES_MOST", 100)

    async def taken(come: list[tuple[int, bytes]]) -> tuple[list[bytes], list[str]]:
        address = ServerUrl("mqtt://localhost", "mqtt(...)", MQTT)
        told: list[str] = []
        consumer = mqtt.MqttConsumer(address, (), "me", 10, 60, "id", "mqtt")
        consumer.tell = told.append
        consumer.begin()
        for qos, value in come:
            consumer.came(SimpleNamespace(qos=qos, payload=value, properties=None, topic="t", mid=1))
        found = [message.value for message in await consumer.take()]
        assert consumer._waiting_bytes == 0
        await consumer.disconnect()
        return found, told

    found, told = asyncio.run(taken([(0, b"a"), (0, b"b"), (0, b"c"), (0, b"lost"), (1, b"d"), (0, b"lost")]))
    assert found == [b"a", b"b", b"c", b"d"]
    assert [text.split(" ")[0] for text in told] == ["1", "2"]
    found, told = asyncio.run(taken([(0, b"x" * 99), (0, b"y"), (0, b"lost")]))
    assert found == [b"x" * 99, b"y"] and len(told) == 1


def test_options(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": "a/b"}, "expected a name of letters"),
        ({"name": "a", "most_waiting": 0}, "most_waiting=0 is out of range"),
        ({"name": "a", "format": "csv"}, "name the columns"),
        ({"name": "a", "window_keys": -1}, "window_keys is -1"),
    ]
    for options, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            queue_source(consumer=lambda: FakeConsumer(FakeQueue(random.Random(1))), **options)
    with pytest.raises(UsageError, match="give it a state directory"):
        queue_source("a", lambda: FakeConsumer(FakeQueue(random.Random(1)))).open("=a/0", None, follow=False)
