"""Queues of real servers: what a flow gets of them, what is acknowledged, and what a person reads."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started
from tests.cutting_proxy import CuttingProxy
from tests.kafka_harness import eventually
from tests.kills_harness import CLOCK, COUNTED, Chaos, chance_of, lines_of
from tests.queue_harness import MqttTopic, NatsSubject, RabbitQueue, RedisList, ServedQueue
from tests.servers import mosquitto_server, rabbit_server, redis_server

import headway as hw
from headway.connectors.redis_link import redis_client
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import HeadwayError, UsageError
from headway.formats.json import Json
from headway.inbox.queues import nats_core
from headway.proving.crashes import Crashes, Kill

KEPT: list[type[ServedQueue]] = [RabbitQueue, RedisList, MqttTopic]
DECODER = Json().decoder(hw.Json)


def given(queue: ServedQueue, folder: Path, port: int | None = None) -> Any:
    return eval(queue.source(port), {"hw": hw}).within(folder)  # As the flows of other processes have it.


@pytest.mark.parametrize("kind", KEPT)
def test_what_was_put_is_read_once_and_acknowledged(kind: type[ServedQueue], tmp_path: Path) -> None:
    queue = kind()
    queue.put([(f"id-{n}", b'{"n": %d}' % n) for n in range(600)])
    queue.put([("bad", b"no JSON"), ("id-601", b'{"n": 601}')])
    if kind is not RedisList:  # Its elements have no ids: what is pushed twice is there twice.
        queue.put([("id-7", b'{"n": 7}')])
    flow = hw.Flow("numbers")
    numbers = flow.source("numbers", hw.Json, given(queue, tmp_path), time=hw.record_time)
    found: list[Any] = []
    letters: list[Any] = []
    numbers.to("found", hw.to_list(found))
    numbers.dead_letters.to("letters", hw.to_list(letters))
    hw.run(flow, state=tmp_path, drain=True)
    assert sorted(event["n"] for event in found) == [*range(600), 601]
    assert [letter["raw"] for letter in letters] == ["no JSON"]
    assert queue.left() == 0


def test_subjects_of_nats_are_read_while_somebody_listens(tmp_path: Path) -> None:
    queue = NatsSubject()
    queue.put([("before", b'{"n": -1}')])
    with closing(given(queue, tmp_path).session()) as session:
        [name] = session.partitions()
        with closing(session.open(name, None, follow=True)) as reader:
            found: list[int] = []

            def reads(count: int) -> Callable[[], bool]:
                def has_them() -> bool:
                    chunk = reader.read(1)
                    if chunk is not None:
                        found.extend(event["n"] for event in chunk.decode(DECODER).events)
                    return len(set(found)) >= count

                return has_them

            numbers = itertools.count()

            def hears() -> bool:  # It is not known when it has subscribed.
                queue.put([(f"id-{(n := next(numbers))}", b'{"n": %d}' % n)])
                return reads(1)()

            eventually(hears, "the first message")
            begin = next(numbers) + 1
            queue.put([(f"id-{n}", b'{"n": %d}' % n) for n in range(begin, begin + 300)])
            queue.put([(f"id-{begin}", b'{"n": %d}' % begin)])
            queue.put([("last", b'{"n": 9999}')])
            eventually(lambda: reads(0)() and 9999 in found, "the last message")
            assert len(found) == len(set(found))
            assert found[-301:-1] == list(range(begin, begin + 300))


@pytest.mark.parametrize("kind", KEPT)
def test_connections_that_are_cut_lose_and_double_nothing(kind: type[ServedQueue], tmp_path: Path) -> None:
    queue = kind()
    chance = chance_of("cut")
    with CuttingProxy(queue.port, random.Random(chance.random()), cut_of=12) as proxy:
        with closing(given(queue, tmp_path, proxy.port).session()) as session:
            [name] = session.partitions()
            with closing(session.open(name, None, follow=True)) as reader:
                found: list[int] = []

                def reads() -> bool:
                    chunk = reader.read(1)
                    if chunk is not None:
                        found.extend(event["n"] for event in chunk.decode(DECODER).events)
                    return len(found) >= queue.count

                for _ in range(6):
                    queue.grow(60)
                    eventually(reads, f"all {queue.count}", 60)
                assert sorted(found) == list(range(queue.count))
        assert proxy.cut > 0


FLOW = COUNTED.replace('hw.files("steps-*.jsonl"), time="at"', "SOURCE, time=hw.INGESTION_TIME")


@pytest.mark.parametrize("kind", KEPT)
def test_runs_and_servers_that_are_killed_lose_and_double_nothing(kind: type[ServedQueue], tmp_path: Path) -> None:
    queue, chance = kind(), chance_of("queues")
    (tmp_path / "flow.py").write_text(FLOW.replace("SOURCE", queue.source()))
    chaos = Chaos(tmp_path, chance, ("--follow",))

    def written() -> int:
        return sum(line["data"]["user"] != CLOCK for line in lines_of(tmp_path / "written.jsonl"))

    def end_the_server() -> None:
        server: Any = queue.server  # type: ignore[attr-defined]
        server.kill()
        server.start()

    # What Mosquitto acknowledged and has not stored when it is killed is lost, before anybody could read it.
    deeds = [chaos.kill, chaos.kill, *([] if kind is MqttTopic else [end_the_server])]
    chaos.start()
    try:
        for deed in chance.sample(deeds, len(deeds)):
            queue.grow(150)
            left = queue.count - written()
            chaos.await_count(written, queue.count - chance.randrange(1, left + 1), "steps")
            deed()
        queue.grow(100)
        chaos.await_count(written, queue.count, "steps")
        chaos.stop()
    finally:
        chaos.end()
    assert sorted(line["data"]["n"] for line in lines_of(tmp_path / "written.jsonl")) == list(range(queue.count))
    assert queue.left() == 0


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_durable_and_not_acknowledged_is_passed_over(
    kind: type[ServedQueue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, crashes = kind(), Crashes(tmp_path / "crashes")
    queue.grow(200)
    (tmp_path / "flow.py").write_text(FLOW.replace("SOURCE", queue.source()))
    crashes.arm(Kill("queue-answer.before"))
    monkeypatch.setenv("HEADWAY_CRASHPOINTS", str(crashes.folder))
    started = Started(tmp_path, "flow.py", "--workers", 2, "--epoch", "50ms", "--drain")
    try:
        code, told = started.outcome()
    finally:
        started.end()
    assert code == 0 and told.count("was killed by SIGKILL") == 1, told
    assert sorted(line["data"]["n"] for line in lines_of(tmp_path / "written.jsonl")) == list(range(200))
    assert queue.left() == 0


def test_a_retained_message_comes_once_for_a_session(tmp_path: Path) -> None:
    queue = MqttTopic()
    queue.put([("", b'{"n": 1}')], retain=True)
    queue.put([("", b'{"n": 2}')])
    name = f"{queue.name}-new"
    source = f'hw.mqtt("{queue.server.url}", "{queue.name}/#", client_id="{name}", id_property="none")'
    found: list[Any] = []
    for _ in range(3):
        reader = eval(source, {"hw": hw}).within(tmp_path / str(len(found))).open(f"={name}/0", None, follow=False)
        events: list[Any] = []

        def is_over(reader: Any = reader, events: list[Any] = events) -> bool:
            chunk = reader.read(1)
            events.extend(chunk.decode(DECODER).events if chunk is not None else [])
            return bool(reader.at_end)

        with closing(reader):
            eventually(is_over, "the end")
        found.append(events)
    assert found == [[{"n": 1}], [], []]


def test_what_comes_faster_than_it_is_taken_is_lost_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_core, "_PENDING_BYTES", 20_000)
    queue, told, count = NatsSubject(), list[str](), 3_000

    async def flood() -> int:
        consumer = eval(queue.source(), {"hw": hw}).make()
        consumer.tell = told.append
        await consumer.connect()
        await asyncio.get_running_loop().run_in_executor(
            None, queue.put, [(f"id-{n}", b"x" * 200) for n in range(count)]
        )
        await consumer._link.client.flush()
        taken = 0
        while messages := await consumer.take():
            taken += len(messages)
        await consumer.disconnect()
        return taken

    taken = asyncio.run(flood())
    assert 100 < taken < count
    assert told[-1].startswith(f"{count - taken:,} messages were lost: they came faster"), told


def test_a_command_of_redis_is_never_sent_again_by_the_client() -> None:
    client = redis_client(ServerUrl("redis://localhost", "redis_list(...)", REDIS))
    made = client.connection_pool.make_connection()
    assert (client.get_retry().get_retries(), made.retry.get_retries()) == (0, 0)
    assert (made.socket_timeout, made.socket_connect_timeout) == (10.0, 5.0)


def test_what_is_wrong_is_said_in_words(tmp_path: Path) -> None:
    rabbit, redis, mosquitto = rabbit_server(), redis_server(), mosquitto_server()
    refused = [
        hw.rabbitmq_queue(rabbit.url.replace("guest:guest", "ann:swordfish"), "orders"),
        hw.redis_list(redis.url.replace("://", "://ann:swordfish@"), "orders"),
    ]
    for number, source in enumerate(refused):
        assert "swordfish" not in repr(source) + source.describe()
        flow = hw.Flow("orders")
        flow.source("orders", hw.Json, source, time=hw.record_time).to("out", hw.to_list([]))
        with pytest.raises(HeadwayError, match="refuses to let us in") as failed:
            hw.run(flow, state=tmp_path / str(number))
        assert "swordfish" not in str(failed.value)
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: hw.rabbitmq_queue("http://a", "b"), "a URL that begins with amqp://"),
        (lambda: hw.rabbitmq_queue("amqp://a", ""), "expected the name of a queue"),
        (lambda: hw.rabbitmq_queue("amqp://a", "b", prefetch=0), "prefetch=0 is out of range"),
        (lambda: hw.redis_list("redis://a", "b", processing="b"), "expected another list"),
        (lambda: hw.mqtt(mosquitto.url, client_id="a"), "expected topics"),
        (lambda: hw.mqtt(mosquitto.url, "a", client_id=""), "a name that no other client"),
        (lambda: hw.mqtt(mosquitto.url, "a", client_id="a", qos=2), "qos=2 is out of range"),
        (lambda: hw.mqtt("mqtt://a:x", "a", client_id="a"), "Port could not be cast"),
        (lambda: hw.nats_core("nats://a", "b", "b"), "each of them once"),
    ]
    for declare, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            declare()
