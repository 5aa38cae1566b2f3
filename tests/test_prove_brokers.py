"""Samples and histories are read from brokers too, which have nothing at first and are not at their ends then."""

from __future__ import annotations

import json

from tests.kafka_harness import produce, topic_of
from tests.servers import kafka_server, redis_server
from tests.test_redis_source import client, stream_of

import headway as hw
from headway.connectors.base import Input
from headway.plan.planner import compile_plan
from headway.proving.sample import Sample, taken_sample
from headway.testing import run_oracle
from headway.why.replay import history_of


class Seen(hw.State):
    count: int = 0


class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state: Seen, event: hw.Json, ctx: hw.Context) -> None:
        state.count += 1
        ctx.emit({"count": state.count})


def counting(source: Input) -> hw.Flow:
    flow = hw.Flow("orders")
    orders = flow.source("orders", hw.Json, source, time="n")
    orders.key_by(lambda order: "one").process("count", Count()).trigger("counted", hw.to_list([]))
    return flow


def numbers_of(sample: Sample) -> list[int]:
    records = [record for part in sample.sources["orders"].values() for record in part.records]
    return sorted(json.loads(record.value)["n"] for record in records)


def test_a_sample_of_a_topic_of_kafka_has_its_records() -> None:
    server = kafka_server()
    topic = topic_of(server, 3)
    produce(server, topic, range(20), partitions=2)
    sample = taken_sample(counting(hw.kafka(server.address, topic)), 300)
    assert numbers_of(sample) == list(range(20))
    assert sorted(len(part.records) for part in sample.sources["orders"].values()) == [0, 10, 10], "one is empty"
    first = next(part.records[0] for part in sample.sources["orders"].values() if part.records)
    assert (first.key, first.time_ms) == (b"user-0", 1_000)
    assert numbers_of(taken_sample(counting(hw.kafka(server.address, topic)), 12)) == list(range(8))


def test_what_led_to_a_trigger_is_told_from_a_stream_of_redis() -> None:
    server = redis_server()
    stream = stream_of(server, range(10))
    flow = counting(hw.redis_stream(server.url, stream))
    assert numbers_of(taken_sample(flow, 100)) == list(range(10))
    lines = [json.dumps({"n": n}).encode() for n in range(10)]
    written = run_oracle(counting(hw.items([])), {"orders": {stream: lines}}).outputs
    [ids] = [[json.loads(line)["id"] for line in output] for output in written.values()]
    history = history_of(compile_plan(flow.graph), ids[4])
    assert history is not None
    assert [step.subject["n"] for step in history.steps] == [0, 1, 2, 3, 4]
    with client(server) as writer:
        writer.delete(stream)
