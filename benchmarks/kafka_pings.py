"""Writes records to a topic at a steady rate, and waits in another one for the trigger of each.

`python -m benchmarks.kafka_pings SERVERS FROM TO RATE SECONDS` prints figures as one line of JSON.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

__all__ = ["Pinged"]

_WARM_S: Final = 3.0
_PATIENCE_S: Final = 30.0
_TICK_S: Final = 0.002


class Pinged(msgspec.Struct, frozen=True):
    """How long it took from a record to its trigger, for readers of committed records."""

    sent: int
    came: int
    p50_ms: float
    p99_ms: float


class _Ping(msgspec.Struct):
    n: int
    sent_us: int


def main(servers: str, topic: str, to: str, rate: int, seconds: float) -> Pinged:
    """Send, and wait."""
    came: dict[int, float] = {}
    over = threading.Event()
    taking = threading.Thread(target=_take, args=(servers, to, came, over))
    taking.start()
    try:
        sent, first = _send(servers, topic, rate, seconds)
        until_s = time.monotonic() + _PATIENCE_S
        while len(came) < sent and time.monotonic() < until_s:
            time.sleep(_TICK_S)
    finally:
        over.set()
        taking.join()
    times = sorted(took for number, took in came.items() if number >= first)
    return Pinged(sent, len(came), times[len(times) // 2], times[len(times) * 99 // 100])


def _send(servers: str, topic: str, rate: int, seconds: float) -> tuple[int, int]:
    """How many were sent, and the number of the first that is counted."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 1})
    began_s = time.monotonic()
    sent = 0
    # The last records stay behind the watermark until there are more: they are sent on and on, and not counted.
    while (passed_s := time.monotonic() - began_s) < _WARM_S + seconds:
        while sent < passed_s * rate:
            now_us = time.time_ns() // 1_000
            producer.produce(topic, msgspec.json.encode(_Ping(sent, now_us)), timestamp=now_us // 1_000)
            sent += 1
        producer.poll(0)
        time.sleep(_TICK_S)
    producer.flush()
    for _ in range(3):
        time.sleep(0.05)
        producer.produce(topic, msgspec.json.encode(_Ping(sent, 0)))
        producer.flush()
    return sent, int(_WARM_S * rate)


def _take(servers: str, topic: str, came: dict[int, float], over: threading.Event) -> None:
    consumer: Any = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "pings",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    while not over.is_set():
        for message in consumer.consume(1_000, 0.02):
            ping = msgspec.json.decode(message.value(), type=_Ping)
            if ping.sent_us:
                came.setdefault(ping.n, time.time_ns() / 1e6 - ping.sent_us / 1e3)
    consumer.close()


if __name__ == "__main__":
    servers, topic, to, rate, seconds = sys.argv[1:]
    print(msgspec.json.encode(main(servers, topic, to, int(rate), float(seconds))).decode())
