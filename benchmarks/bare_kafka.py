"""The reference for Kafka: abandoned carts as a bare loop over a consumer, in one process, with nothing durable.

`python -m benchmarks.bare_kafka SERVERS TOPIC OUTPUT AFTER_MS` reads each partition to the end that it has, and tells
how long it took as one line of JSON. It takes as many messages at once as the client gives.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from benchmarks.bare import Carts
from benchmarks.procfs import memory_of

_AT_ONCE: Final = 10_000
_SILENCE_S: Final = 60.0
"""For so long nothing may come while something is left."""


def main() -> None:
    """Entry point of the process."""
    servers, topic, output, after_ms = sys.argv[1:]
    started, started_cpu = time.perf_counter(), time.process_time()
    consumer: Any = Consumer({"bootstrap.servers": servers, "group.id": "bare", "enable.auto.commit": False})
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in numbers}
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    left = sum(ends.values())
    with open(output, "wb") as out:
        carts = {number: Carts(out, int(after_ms)) for number in numbers}
        heard_s = time.perf_counter()
        while left:
            lines: defaultdict[int, list[Any]] = defaultdict(list)
            messages = consumer.consume(_AT_ONCE, 0.1)
            if not messages and time.perf_counter() > heard_s + _SILENCE_S:
                msg = f"{left:,} messages of {topic} do not come"
                raise SystemExit(msg)
            heard_s = time.perf_counter() if messages else heard_s
            for message in messages:
                lines[message.partition()].append(message.value())
            for number, values in lines.items():
                carts[number].take(values)
            left -= len(messages)
    consumer.close()
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "events": sum(one.events for one in carts.values()),
        "triggers": sum(one.written for one in carts.values()),
        "peak_bytes": memory_of().peak,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
