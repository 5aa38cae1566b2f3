"""How far a flow is behind the brokers that it reads: of readers, in metrics, and in words."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from msgspec import structs
from tests.kafka_harness import eventually, produce, topic_of
from tests.rabbit_harness import plain, put, stream_of
from tests.servers import kafka_server, nats_server, rabbit_server, redis_server

import headway as hw
from headway.cli.texts import behind_text
from headway.connectors.base import Input, PartitionReader
from headway.formats.json import Json
from headway.metrics.families import Known, samples
from headway.metrics.ledger import Ledger
from headway.metrics.snapshots import RunSnapshot
from headway.runtime.partition import Partition, lags_of
from headway.runtime.stats import LAGS_SHOWN, SourceStats, WorkerStats, total

DECODER = Json().decoder(hw.Json)
NAMES = itertools.count()


class Log(NamedTuple):
    """A log of a broker with one partition."""

    input: Input
    partition: str
    add: Callable[[range], None]


def kafka() -> Log:
    server = kafka_server()
    topic = topic_of(server)
    return Log(
        hw.kafka(server.address, topic), f"{topic}/0", lambda numbers: produce(server, topic, numbers, partitions=1)
    )


def nats() -> Log:
    server = nats_server()
    stream = f"LAGS{next(NAMES)}"

    def asked(what: Callable[[Any], Any]) -> None:
        async def ask() -> None:
            import nats

            client = await nats.connect(server.url)
            await what(client.jetstream())
            await client.close()

        asyncio.run(ask())

    async def put(client: Any, numbers: range) -> None:
        for n in numbers:
            await client.publish(f"{stream}.a", json.dumps({"n": n}).encode())

    asked(lambda client: client.add_stream(name=stream, subjects=[f"{stream}.>"]))
    return Log(hw.nats(server.url, stream), stream, lambda numbers: asked(lambda client: put(client, numbers)))


def redis_stream() -> Log:
    import redis

    server = redis_server()
    stream = f"lags-{next(NAMES)}"

    def add(numbers: range) -> None:
        with redis.Redis.from_url(server.url) as writer:
            for n in numbers:
                writer.xadd(stream, {"value": json.dumps({"n": n})})

    return Log(hw.redis_stream(server.url, stream), stream, add)


def rabbit_stream() -> Log:
    server = rabbit_server()
    stream = stream_of(server)
    source = hw.rabbitmq_stream(server.stream_url, stream, messages="bytes")
    return Log(source, stream, lambda numbers: put(server, stream, plain(numbers), chunk=100))


def assert_behind(reader: PartitionReader, count: int) -> None:
    eventually(lambda: reader.behind == count, f"it should be {count} records behind")


@pytest.mark.parametrize("broker", [kafka, nats, rabbit_stream, redis_stream])
@pytest.mark.parametrize("follow", [True, False])
def test_a_reader_knows_how_many_records_it_has_not_given(broker: Callable[[], Log], follow: bool) -> None:
    log = broker()
    log.add(range(600))
    with closing(log.input.session()) as session:
        eventually(lambda: log.partition in session.partitions(), "no partition")
        reader = session.open(log.partition, None, follow=follow)
        with closing(reader):
            given = 0
            while given < 600:
                chunk = reader.read(1 << 16)
                if chunk is not None:
                    given += len(chunk.decode(DECODER).events)
                    assert_behind(reader, 600 - given)
            assert reader.behind == 0
            if follow:
                log.add(range(600, 607))
                assert_behind(reader, 7)


def test_partitions_with_the_most_to_read_are_told_with_all_workers_together() -> None:
    ours = SourceStats(partitions=80, lags={f"orders/{n}": n for n in range(80)}, behind=sum(range(80)))
    theirs = SourceStats(partitions=80, lags={f"orders/{n}": n for n in range(80, 160)}, behind=sum(range(80, 160)))
    both = ours.plus(theirs)
    assert both.lags == {f"orders/{n}": n for n in range(160 - LAGS_SHOWN, 160)}
    assert both.behind == sum(range(160)), "all partitions count, also those that are not shown"
    assert ours.plus(SourceStats(partitions=1)).behind == SourceStats(partitions=1).plus(ours).behind == ours.behind
    assert SourceStats(partitions=1).plus(SourceStats()).behind is None


def test_all_partitions_of_a_slot_count() -> None:
    partitions = [Partition(f"orders/{n}", None, None, behind=n or None) for n in range(250)]
    assert lags_of(partitions, 2) == ({"orders/249": 249, "orders/248": 248}, sum(range(250)))
    assert lags_of(partitions[:1], 2) == ({}, None)


def run_with(lags: dict[str, int]) -> WorkerStats:
    nothing = {field.name: 0 for field in structs.fields(WorkerStats) if field.required}
    worker = WorkerStats(**{**nothing, "outputs": {}, "watermark": None, "newest": None})  # type: ignore[arg-type]
    return structs.replace(
        worker,
        sources={"orders": SourceStats(partitions=len(lags), lags=lags, behind=sum(lags.values()) if lags else None)},
    )


def test_it_is_in_the_metrics_and_in_words() -> None:
    stats = total([run_with({"orders/0": 12, "orders/1": 30_000})])
    run = RunSnapshot(process="1", at_ms=0, workers=1, stats=stats)
    found = samples(Known(0, run), Ledger(), "1")
    assert found["headway_source_lag_records"] == {("orders",): 30_012}
    assert found["headway_partition_lag_records"] == {("orders", "orders/0"): 12, ("orders", "orders/1"): 30_000}
    assert behind_text(stats) == "30,012 records to read, most of them in orders/1 (30,000)"
    assert behind_text(total([run_with({"orders/0": 0})])) == "all records read"
    assert behind_text(total([run_with({})])) == ""
    without = samples(Known(0, structs.replace(run, stats=total([run_with({})]))), Ledger(), "1")
    assert "headway_source_lag_records" not in without
