"""The same log gives the same triggers, byte for byte, whichever transport it comes through."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import producer, topic_of
from tests.kills_harness import chance_of
from tests.rabbit_harness import put, stream_of
from tests.servers import kafka_server, nats_server, postgres_server, rabbit_server, redis_server

import headway as hw

Line = dict[str, Any]


class Step(hw.Event):
    at: int
    user: str
    kind: str


def log_of(chance: random.Random) -> list[Line]:
    at, lines = 0, []
    for _ in range(400):
        at += chance.randrange(0, 400)
        kind = chance.choice(["add", "add", "view", "checkout"])
        lines.append({"at": max(0, at - chance.randrange(0, 900)), "user": f"u{chance.randrange(12)}", "kind": kind})
    return lines


def from_files(lines: list[Line], folder: Path) -> Any:
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return hw.files(folder / "steps.jsonl")


def from_csv(lines: list[Line], folder: Path) -> Any:
    text = "at,user,kind\n" + "".join(f"{line['at']},{line['user']},{line['kind']}\n" for line in lines)
    (folder / "steps.csv").write_text(text)
    return hw.files(folder / "steps.csv", format="csv")


def from_parquet(lines: list[Line], folder: Path) -> Any:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.Table.from_pylist(lines), folder / "steps.parquet", row_group_size=70)
    return hw.parquet(folder)


def from_parquet_files(lines: list[Line], folder: Path) -> Any:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for start in range(0, len(lines), 90):
        table = pa.Table.from_pylist(lines[start : start + 90])
        parquet.write_table(table, folder / f"steps-{start}.parquet")
    return hw.parquet(folder, one_log=True)


def from_kafka(lines: list[Line], folder: Path) -> Any:
    server = kafka_server()
    topic = topic_of(server)
    writer = producer(server)
    for line in lines:
        writer.produce(topic, json.dumps(line))
    assert writer.flush(30) == 0
    return hw.kafka(server.address, topic)


def from_nats(lines: list[Line], folder: Path) -> Any:
    import nats

    name = f"STEPS{time.time_ns()}"

    async def put() -> None:
        client = await nats.connect(nats_server().url)
        stream = client.jetstream()
        await stream.add_stream(name=name, subjects=[name])
        for line in lines:
            await stream.publish(name, json.dumps(line).encode())
        await client.close()

    server = nats_server()
    asyncio.run(put())
    return hw.nats(server.url, name)


def from_postgres(lines: list[Line], folder: Path) -> Any:
    server, name = postgres_server(), f"steps_{time.time_ns()}"
    columns = "id bigserial PRIMARY KEY, payload jsonb, xid xid8 NOT NULL DEFAULT pg_current_xact_id()"
    server.query(f"CREATE TABLE {name} ({columns})")
    for start in range(0, len(lines), 37):
        given = json.dumps(lines[start : start + 37])
        server.query(f"INSERT INTO {name} (payload) SELECT value FROM jsonb_array_elements(%s::jsonb)", given)
    return hw.postgres_log(server.dsn, name, value="payload")


def from_redis(lines: list[Line], folder: Path) -> Any:
    server, name = redis_server(), f"steps-{time.time_ns()}"
    import redis

    with redis.Redis.from_url(server.url) as client:
        for line in lines:
            client.xadd(name, {"value": json.dumps(line)})
    return hw.redis_stream(server.url, name)


def from_rabbit(lines: list[Line], folder: Path) -> Any:
    server = rabbit_server()
    stream = stream_of(server)
    put(server, stream, [json.dumps(line).encode() for line in lines], chunk=100)
    return hw.rabbitmq_stream(server.stream_url, stream, messages="bytes")


def triggers(given: Any, folder: Path, workers: int) -> dict[str, bytes]:
    flow = hw.Flow("steps")
    steps = flow.source("steps", Step, given, time="at", out_of_order="200ms")
    carts = steps.filter(hw.where(kind=("add", "checkout"))).key_by("user")
    left = carts.absence("left", start=hw.where(kind="add"), end=hw.where(kind="checkout"), within="2s")
    left.trigger("cart.left", hw.to_jsonl(folder / "left.jsonl"))
    carts.window("counted", hw.tumbling("5s"), steps=hw.count()).to("counts", hw.to_jsonl(folder / "counts.jsonl"))
    steps.late.to("late", hw.to_jsonl(folder / "late.jsonl"))
    hw.run(flow, state=folder / "state", workers=workers, drain=True)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl")) if path.name != "steps.jsonl"}


@pytest.mark.parametrize(
    "make", [from_csv, from_parquet, from_parquet_files, from_kafka, from_nats, from_postgres, from_redis, from_rabbit]
)
def test_every_transport_gives_what_files_give(make: Callable[[list[Line], Path], Any], tmp_path: Path) -> None:
    lines = log_of(chance_of("edges"))
    folders = [tmp_path / "files", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    expected = triggers(from_files(lines, folders[0]), folders[0], workers=1)
    assert expected["left.jsonl"].count(b"\n") > 5
    assert expected["late.jsonl"].count(b"\n") > 5
    found = triggers(make(lines, folders[1]), folders[1], workers=1)
    # What comes straight from a source is told apart, and at equal times ordered, by its partition and its number.
    assert sorted(found.pop("late.jsonl").splitlines()) == sorted(expected.pop("late.jsonl").splitlines())
    assert found == expected
