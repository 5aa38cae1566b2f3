"""Case `kafka`: carts from a topic against a bare consumer, triggers into a topic, and the way from topic to topic."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec
import orjson

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Row, Sizes, against, alternate, run_engine, within
from benchmarks.engine import EngineSpec
from benchmarks.kafka_pings import Pinged
from benchmarks.kafka_server import KafkaServer, kafka_libraries
from benchmarks.processes import ROOT, BenchmarkError, Run, measure
from benchmarks.shop import AFTER_MS, check_found, check_found_again, check_triggers, shop_stream

__all__ = ["CASE"]

_FLUSH_S: Final = 300.0
_FLOW: Final = "benchmarks.flows_kafka"
_PARTITIONS: Final = 6
_OF_BARE: Final = 0.6
_OF_OTHERS: Final = 3.0
_QUIX: Final = ROOT / ".services" / "quix" / "bin" / "python"
_QUIX_VERSION: Final = "3.28.1"
_TRIGGERS: Final = 20_000
_RATE: Final = 1_000
_P99_MS: Final = 300
_SHARE: Final = 4
"""Of the events, one in so many is a record that is written to a topic."""


def _about(sizes: Sizes) -> str:
    return (
        f"abandoned carts, {sizes.events:,} events in {_PARTITIONS} partitions, one process, the broker beside it; "
        f"{sizes.events // _SHARE:,} triggers into a topic; {_RATE:,} records/s from topic to topic, epochs of 100 ms"
    )


def _find(sizes: Sizes) -> Finding:
    if kafka_libraries() is None:
        return Finding([], ["Apache Kafka is not installed (make services): its rows are missing"])
    server = KafkaServer()
    try:
        stream = shop_stream(sizes, 1)
        until_ms = _load(server, stream)
        bare = Arm("bare consumer, nothing durable", partial(_bare, server, stream, until_ms), sizes.events)
        engine = Arm("abandoned carts from Kafka", partial(_carts, server, stream, until_ms), sizes.events)
        bytewax = Arm(
            "bytewax from Kafka, recovery each 1 s", partial(_bytewax, server, stream, until_ms), sizes.events
        )
        quix = Arm("Quix Streams, commits each 1 s", partial(_quix, server, stream, sizes.events), sizes.events)
        has_quix = _QUIX.exists()
        alternate([bare, engine, bytewax, *([quix] if has_quix else [])], sizes.repeats)
        count = sizes.events // _SHARE
        written = Arm("triggers to Kafka, exactly once", partial(_written, server, count), count)
        through = Arm("from Kafka to Kafka", partial(_through, server, sizes.seconds), _RATE * sizes.seconds)
        for arm in (written, through):
            alternate([arm], sizes.repeats)
    finally:
        server.remove()
    per_s = written.told("delivered_s")
    rows = [
        against(engine, bare, _OF_BARE),
        against(engine, bytewax, _OF_OTHERS),
        *([against(engine, quix, _OF_OTHERS)] if has_quix else []),
        Row(written, None, per_s, f"{per_s:,.0f}/s", f">= {_TRIGGERS:,}/s", per_s >= _TRIGGERS),
        within(through, through.told("p99_ms"), _P99_MS, "ms at the 99th percentile"),
    ]
    notes = [
        f"counted in CPU time the carts are {engine.by_cpu / bare.by_cpu:.2f} of the bare consumer",
        "Quix Streams has no timers: it tells a cart when its user comes again; the carts that it tells are compared"
        if has_quix
        else "Quix Streams is not installed, its row is missing: python3 -m venv .services/quix && "
        f".services/quix/bin/pip install quixstreams=={_QUIX_VERSION}",
    ]
    return Finding(rows, notes)


def _load(server: KafkaServer, stream: Path) -> int:
    """Fill the topic `shop`, by users as keys; returns the last watermark of its partitions."""
    from confluent_kafka import Producer

    server.make_topic("shop", _PARTITIONS)
    # Without idempotence a batch that is sent again comes behind those that were sent after it.
    settings = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "enable.idempotence": True}
    producer: Any = Producer({"bootstrap.servers": server.address, **settings})
    last_ms = [0] * _PARTITIONS
    with (stream / "shop-0000.jsonl").open("rb") as lines:
        for line in lines:
            event = orjson.loads(line)
            number = crc32(event["user"].encode()) % _PARTITIONS
            last_ms[number] = event["at"]
            _produce(producer, line.rstrip(b"\n"), event["user"], number)
    if left := producer.flush(_FLUSH_S):
        msg = f"{left:,} events did not get into the topic within {_FLUSH_S:g} s"
        raise BenchmarkError(msg)
    return min(last_ms) - 1


def _produce(producer: Any, line: bytes, key: str, partition: int) -> None:
    while True:
        try:
            producer.produce("shop", line, key=key, partition=partition)
            producer.poll(0)
            return
        except BufferError:  # The client's queue is full: some of it has to leave.
            producer.poll(0.05)


def _bare(server: KafkaServer, stream: Path, until_ms: int) -> Run:
    with scratch() as directory:
        out = directory / "carts.jsonl"
        run = measure(["benchmarks.bare_kafka", server.address, "shop", str(out), str(AFTER_MS)])
        check_found(stream, out, until_ms)
        return run


def _bytewax(server: KafkaServer, stream: Path, until_ms: int) -> Run:
    with scratch() as directory:
        out = directory / "carts.jsonl"
        arguments = [server.address, "shop", str(out), str(AFTER_MS), str(directory / "recovery")]
        run = measure(["benchmarks.bytewax_kafka", *arguments])
        check_found(stream, out, until_ms)
        return run


def _quix(server: KafkaServer, stream: Path, count: int) -> Run:
    with scratch() as directory:
        out = directory / "carts.jsonl"
        arguments = [server.address, "shop", str(out), str(AFTER_MS), str(directory / "state"), str(count)]
        run = measure(["benchmarks.quix_kafka", *arguments], python=str(_QUIX))
        check_found_again(stream, out)
        return run


def _carts(server: KafkaServer, stream: Path, until_ms: int) -> Run:
    with scratch() as directory:
        out = directory / "triggers.jsonl"
        parameters = {"servers": server.address, "topic": "shop", "output": str(out)}
        run = run_engine(EngineSpec(flow=_FLOW, parameters=parameters, state_dir=str(directory / "state")))
        check_triggers(stream, out, until_ms)
        return run


_topics = Counter[str]()


def _topic(server: KafkaServer, name: str) -> str:
    """A new topic."""
    _topics[name] += 1
    made = f"{name}-{_topics[name]}"
    server.make_topic(made)
    return made


def _written(server: KafkaServer, count: int) -> Run:
    """The flow reads a file, and writes a trigger of each line."""
    to = _topic(server, "written")
    with scratch() as directory:
        log = directory / "pings.jsonl"
        with log.open("w") as lines:
            # The last event stays behind the watermark until there is another one.
            lines.writelines(f'{{"n":{number},"sent_us":0,"at":{number}}}\n' for number in range(count + 1))
        given = {"job": "copy", "input": str(log), "servers": server.address, "to": to}
        settings = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        run = measure(["headway", "run", _FLOW, "--state", str(directory / "state"), "--json", *settings])
    found = _committed(server, to)
    if found != set(range(count)):
        msg = f"{count} triggers were made, and {len(found)} different ones are in the topic"
        raise BenchmarkError(msg)
    run.answer.update(running_s=run.answer["seconds"], running_cpu_s=run.cpu_s)
    run.answer["delivered_s"] = count / run.answer["seconds"]
    return run


def _committed(server: KafkaServer, topic: str) -> set[int]:
    """The numbers that a reader of committed records finds. Raises `BenchmarkError` where one is there twice."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"isolation.level": "read_committed", "enable.partition.eof": True, "enable.auto.commit": False}
    consumer: Any = Consumer({"bootstrap.servers": server.address, "group.id": "committed", **settings})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: Counter[int] = Counter()
    with closing(consumer):
        while True:
            for message in consumer.consume(10_000, 5.0):
                if message.error() is not None:
                    if twice := [number for number, times in found.items() if times > 1]:
                        msg = f"{len(twice)} triggers are in the topic more than once, such as {twice[0]}"
                        raise BenchmarkError(msg)
                    return set(found)
                found[msgspec.json.decode(message.value())["n"]] += 1


def _through(server: KafkaServer, seconds: int) -> Run:
    topic, to = _topic(server, "pings"), _topic(server, "seen")
    arrived: list[Pinged] = []

    def meanwhile(process: subprocess.Popen[bytes]) -> None:
        arguments = [server.address, topic, to, str(_RATE), str(seconds)]
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.kafka_pings", *arguments], cwd=ROOT, check=False, capture_output=True
        )
        process.terminate()
        if ran.returncode:
            raise BenchmarkError(ran.stderr.decode(errors="replace")[-500:])
        arrived.append(msgspec.json.decode(ran.stdout, type=Pinged))

    with scratch() as directory:
        given = {"job": "copy", "servers": server.address, "topic": topic, "to": to}
        settings = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        options = ["--state", str(directory / "state"), "--follow", "--epoch", "100ms", "--json", *settings]
        run = measure(["headway", "run", _FLOW, *options], meanwhile=meanwhile)
    [found] = arrived
    if found.came != found.sent:
        msg = f"{found.sent} records were sent, and {found.came} triggers came"
        raise BenchmarkError(msg)
    run.answer.update(p50_ms=found.p50_ms, p99_ms=found.p99_ms, running_s=float(seconds), running_cpu_s=run.cpu_s)
    return run


CASE = Case("kafka", _about, _find)
