"""Topics for tests, written to and read whole."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from tests.servers import KafkaServer

__all__ = ["Consumed", "eventually", "produce", "producer", "topic_of"]

NAMES = itertools.count()


def topic_of(server: KafkaServer, partitions: int = 1, **settings: str) -> str:
    """A new topic."""
    name = f"orders-{next(NAMES)}-{time.time_ns()}"
    server.make_topic(name, partitions, **settings)
    return name


def producer(server: KafkaServer, **settings: Any) -> Any:
    from confluent_kafka import Producer

    given = {name.replace("_", "."): value for name, value in settings.items()}
    return Producer({"bootstrap.servers": server.address, "log_level": 0, **given})


def produce(server: KafkaServer, topic: str, numbers: Iterable[int], partitions: int = 1) -> None:
    """Records `{"n": n}` dealt to partitions in turn, at the times 1,000 + n."""
    writer = producer(server)
    for n in numbers:
        value = json.dumps({"n": n}).encode()
        writer.produce(topic, value, key=f"user-{n % 3}", partition=n % partitions, timestamp=1_000 + n)
    assert writer.flush(30) == 0


def eventually(is_met: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not is_met():
        assert time.monotonic() < until_s, what
        time.sleep(0.02)


class Consumed:
    """What is committed in a topic so far, message by message; more each time that it is asked."""

    def __init__(self, server: KafkaServer, topic: str) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self.messages: list[Any] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": server.address,
                "group.id": str(uuid.uuid4()),
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=20).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

    def __call__(self) -> list[Any]:
        while (message := self._consumer.poll(0.05)) is not None:
            if message.error() is None:
                self.messages.append(message)
        return self.messages

    def close(self) -> None:
        self._consumer.close()
