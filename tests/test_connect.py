"""`headway connect check`: what a person sees of servers, of a flow's ends, and of what is wrong with them."""

from __future__ import annotations

import asyncio
import itertools
import json
import keyword
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka_harness import produce, topic_of
from tests.queue_harness import MqttTopic, NatsSubject, RabbitQueue, RedisList
from tests.servers import kafka_server, nats_server, postgres_server, redis_server

import headway as hw
from headway.cli.main import main
from headway.formats.json import Json
from headway.probing.base import Look
from headway.probing.records import declaration
from headway.probing.urls import is_url, probe_of

NUMBERS = itertools.count()


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Said:
        code = main(["connect", "check", *arguments])
        return Said(code, *capsys.readouterr())

    return run


# What a flow would say.

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**42),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(max_size=8),
    st.just("2026-01-01T00:00:00Z"),
    st.lists(st.integers(-9, 9), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2),
)


@given(st.lists(st.dictionaries(names, values, min_size=1, max_size=5), min_size=1, max_size=3))
def test_what_is_declared_takes_the_records_that_it_was_made_of(objects: list[dict[str, Any]]) -> None:
    raw = [json.dumps(one).encode() for one in objects]
    text = declaration("seen", 'hw.kafka("localhost:9092", "seen")', raw)
    found: dict[str, Any] = {}
    exec(compile(text, "shown", "exec", dont_inherit=True), found)
    kind = found.get("Seen", hw.Json)
    decoder = Json().decoder(kind)
    for one, record in zip(objects, raw):
        event = decoder.decode_record(record)
        for name, value in one.items():
            held = event[name] if isinstance(event, dict) else getattr(event, name)
            assert held == value or isinstance(value, (str, float))


@pytest.mark.parametrize("value", [b"no JSON", b"[1]", b'{"with space": 1}', b'{"class": 1}'])
def test_what_is_no_object_with_plain_names_is_left_as_it_is(value: bytes) -> None:
    assert "hw.Json, " in declaration("seen", 'hw.kafka("b", "seen")', [value])


def test_names_of_any_kind_become_names_of_python() -> None:
    assert "orders_eu_1 = " in declaration("Orders.EU-1", "s", [])
    assert "source_1 = " in declaration("1", "s", [])
    assert "source_class = " in declaration("class", "s", [])


# Servers.


def test_topics_and_their_records(check: Any) -> None:
    server = kafka_server()
    topic = topic_of(server, 2)
    produce(server, topic, range(12), partitions=2)
    url = f"kafka://{server.address}"
    listed = check(url)
    assert listed.code == 0
    assert f"{topic}  " in listed.out
    assert "2 partitions, 12 records" in listed.out
    read = check(url, topic)
    assert read.code == 0
    assert f'{topic}/0, offset 0, 1970-01-01T00:00:01.000Z, key user-0: {{"n": 0}}' in read.out
    assert "pip install 'headway[kafka]'" in read.out
    assert f'hw.kafka("{server.address}", "{topic}")' in read.out
    there = json.loads(check(url, topic, "--json").out)
    assert [json.loads(one["value"]) for one in there["records"]] == [{"n": 0}, {"n": 2}, {"n": 4}]
    absent = check(url, "absent")
    assert absent.code == 4
    assert "has no topic 'absent'" in absent.err


def test_streams_of_nats(check: Any) -> None:
    server, stream = nats_server(), f"SEEN{next(NUMBERS)}"
    subject = f"{stream}.a"

    async def put() -> None:
        import nats

        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name=stream, subjects=[subject])
        await client.jetstream().publish(subject, b'{"n": 1}')
        await client.close()

    asyncio.run(put())
    assert f"1 messages of {subject}" in check(server.url).out
    read = check(server.url, stream)
    assert read.code == 0
    assert f'key {subject}: {{"n": 1}}' in read.out


def test_streams_of_redis(check: Any) -> None:
    import redis

    server, stream = redis_server(), f"seen-{next(NUMBERS)}"
    with redis.Redis.from_url(server.url) as client:
        client.set("no-stream", "x")
        client.xadd(stream, {"value": '{"n": 1, "at": 1700000000000}'})
    listed = check(server.url)
    assert f"{stream}" in listed.out
    assert "no-stream" not in listed.out
    read = check(server.url, stream)
    assert read.code == 0
    assert '"n": 1' in read.out
    assert 'time="at"' in read.out


def test_tables_of_postgresql(check: Any) -> None:
    import psycopg

    server = postgres_server()
    with psycopg.connect(server.dsn) as connection:
        connection.execute("create table if not exists seen_orders (id bigint primary key, kind text)")
    listed = check(server.dsn)
    assert listed.code == 0
    assert "as the user postgres" in listed.out
    assert "id bigint, kind text" in listed.out


def test_a_table_with_the_numbers_of_transactions_is_read(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, table = postgres_server(), f"Outbox{next(NUMBERS)}"
    xid = "xid xid8 not null default pg_current_xact_id()"
    server.query(f'create table "{table}" (id bigserial primary key, kind text, {xid})')
    server.query(f"""insert into "{table}" (kind) values ('new')""")
    server.query("create table if not exists bare_orders (id bigint primary key)")
    monkeypatch.setenv("SHOP_DSN", server.dsn)
    assert f"{table}  " in check(server.dsn).out
    read = check("env:SHOP_DSN", table)
    assert read.code == 0 and '"kind":"new"' in read.out
    assert f'hw.postgres_log("env:SHOP_DSN", "{table}")' in read.out
    refused = check(server.dsn, "bare_orders")
    assert refused.code == 4 and "ALTER TABLE bare_orders ADD COLUMN xid" in refused.err


def test_how_a_url_was_given_is_kept(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    server, stream = redis_server(), f"kept-{next(NUMBERS)}"
    with redis.Redis.from_url(server.url) as client:
        client.xadd(stream, {"value": '{"n": 1}'})
    monkeypatch.setenv("SHOP_REDIS", server.url)
    assert "To read one: headway connect check env:SHOP_REDIS " in check("env:SHOP_REDIS").out
    assert f'hw.redis_stream("env:SHOP_REDIS", "{stream}")' in check("env:SHOP_REDIS", stream).out


@pytest.mark.parametrize(
    ("url", "shown", "declared"),
    [
        ("rediss://:swordfish@h:1/2", "rediss://h:1/2", 'hw.redis_stream("rediss://h:1/2", "x")'),
        ("tls://h:4222", "tls://h:4222", 'hw.nats("tls://h:4222", "x")'),
        ("nats://token@h", "nats://h", 'hw.nats("nats://h", "x", token="env:...")'),
        (
            "tls://ann:swordfish@a:1,tls://ann:swordfish@b:2",
            "tls://a:1,tls://b:2",
            'hw.nats(["tls://a:1", "tls://b:2"], "x", user="ann", password="env:...")',
        ),
    ],
)
def test_a_connection_by_tls_is_shown_as_one(url: str, shown: str, declared: str) -> None:
    probe = probe_of(url, {})
    assert (probe.shown, probe.source("x")) == (shown, declared)


def test_an_address_in_json(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.probing.http.HttpProbe.look", lambda self: Look("it answers", []))
    found = json.loads(check("http://127.0.0.1:1/hook", "--json").out)
    assert sorted(found) == ["addresses", "declaration", "more", "records", "server", "url"]


# What is wrong.


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("kafka://127.0.0.1:1", "check address and port"),
        ("nats://ann:swordfish@127.0.0.1:1", "check address and port"),
        ("redis://:swordfish@127.0.0.1:1", "refused; check address and port"),
        ("postgresql://ann:swordfish@127.0.0.1:1/shop", "refused"),
        ("http://127.0.0.1:1/hook?token=swordfish", "cannot connect to 127.0.0.1:1: Connection refused"),
    ],
)
def test_nobody_is_there(check: Any, url: str, told: str) -> None:
    pytest.importorskip({"kafka": "confluent_kafka", "postgresql": "psycopg"}.get(url.partition(":")[0], "msgspec"))
    said = check(url)
    assert said.code == 4
    assert told in said.err
    assert "swordfish" not in said.out + said.err
    assert "Traceback" not in said.err


def test_a_wrong_password_is_told_and_not_shown(check: Any) -> None:
    import redis

    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "another")
        try:
            said = check(server.url.replace("redis://", "redis://:swordfish@"))
        finally:
            client.config_set("requirepass", "")
    assert said.code == 4
    assert "refuses to let us in: check user and password" in said.err
    assert "swordfish" not in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["amok://host"], "amok://... is not known: expected kafka://"),
        (["kafka://ann:swordfish@host"], "--option sasl.username=env:NAME"),
        (["kafka://host", "--option", "acks=1"], "it is always all"),
        (["kafka://host", "--option", "acks"], "write --option NAME=VALUE"),
        (["kafka://host", "--option", "nonsense=1"], 'No such configuration property: "nonsense"; names and values'),
        (["kafka://host", "--option", "socket.timeout.ms=abc"], "Invalid value for configuration property"),
        (["kafka://host", "--option", "ssl.key.pem=swordfish", "--option", "security.protocol=SSL"], "ssl.key.pem"),
        (["redis://host", "--option", "a=b"], "--option is for settings of Kafka's client"),
        (["redis://host", "--set", "a=b"], "--set is for the parameters of a flow"),
        (["env:NOT_SET_AT_ALL"], "the environment variable 'NOT_SET_AT_ALL' is not set"),
        (["flow.py", "orders"], "'orders' is for the URL of a server"),
    ],
)
def test_what_cannot_be_asked_for(check: Any, arguments: list[str], told: str) -> None:
    said = check(*arguments)
    assert said.code in (2, 4)
    assert told in said.err
    assert "swordfish" not in said.err


def test_a_name_for_what_has_none_is_refused(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.probing.http.HttpProbe.look", lambda self: Look("it answers", []))
    said = check("http://127.0.0.1:1/x", "orders")
    assert said.code == 2 and "no address is read here by name: leave 'orders' out" in said.err


def test_what_is_a_url() -> None:
    assert [is_url(text) for text in ("kafka://h", "env:X", "file:/x", "flow.py", "pkg.flows:orders")] == [
        *(True, True, True, False, False)
    ]


# A flow.

FLOW = """
import headway as hw

class Order(hw.Event):
    n: int

flow = hw.Flow("ends")
orders = flow.source("orders", Order, hw.files("orders.jsonl"), time=hw.INGESTION_TIME)
others = flow.source("others", Order, hw.files("others.jsonl"), time=hw.INGESTION_TIME)
posted = flow.source("posted", Order, hw.http_source("/posted"), time=hw.INGESTION_TIME)
orders.merge(others, posted).key_by("n").silence("quiet", after="1h").trigger(
    "order.quiet", hw.webhook("http://127.0.0.1:1/hook")
)
"""


def test_all_ends_of_a_flow(check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.py").write_text(FLOW)
    Path("orders.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    Path("others.jsonl").write_text('{"n": "one"}\n')
    before = sorted(path.name for path in tmp_path.iterdir())
    said = check("flow.py")
    assert said.code == 4
    assert "ok     orders" in said.out
    assert "Order(n=2)" in said.out
    assert "wrong  others" in said.out
    assert "is no event of the flow" in said.out
    assert "posted" in said.out
    assert "wrong  order.quiet" in said.out
    assert "2 of 4 ends of ends cannot be used: others, order.quiet" in said.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == before
    found = json.loads(check("flow.py", "--json").out)
    assert [edge["is_good"] for edge in found["edges"]] == [True, False, True, False]


NAMED = """
import headway as hw

flow = hw.Flow("named")
for number, log in enumerate([hw.redis_stream(URL, "no-such"), hw.files("none-yet-*.jsonl")]):
    flow.source(f"log-{number}", hw.Json, log, time=hw.INGESTION_TIME).to(f"out-{number}", hw.to_list([]))
"""


def test_a_target_with_a_wrong_password_says_what_to_check(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = redis_server().url.replace("://", "://ann:swordfish@")
    target = f'hw.items([]), time=hw.INGESTION_TIME).trigger("t", hw.to_redis_stream({url!r}, "t"))'
    Path("flow.py").write_text(f'import headway as hw\nflow = hw.Flow("let-in")\nflow.source("s", hw.Json, {target}\n')
    said = check("flow.py")
    assert said.code == 4
    assert "it refuses to let us in: check user and password in the URL" in said.out
    assert "swordfish" not in said.out + said.err


def test_a_log_that_is_not_there_is_wrong_and_a_pattern_may_match_nothing_yet(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.py").write_text(NAMED.replace("URL", repr(redis_server().url)))
    said = check("flow.py")
    assert said.code == 4
    assert "wrong  log-0" in said.out and " is not there; make it, or check its name, or run with" in said.out
    assert "ok     log-1" in said.out and " matches nothing; check the path, or run with --follow" in said.out
    assert "1 of 4 ends of named cannot be used: log-0" in said.err


QUEUES = """
import headway as hw

flow = hw.Flow("queues")
for number, queue in enumerate([QUEUES]):
    taken = flow.source(f"queue-{number}", hw.Json, queue, time=hw.record_time)
    taken.to(f"out-{number}", hw.to_jsonl(f"{number}.jsonl"))
"""


def test_queues_are_asked_and_nothing_is_taken(check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    queues: list[Any] = [RabbitQueue(), RedisList(), MqttTopic(), NatsSubject()]
    for queue in queues:
        queue.put([("1", b'{"n": 1}'), ("2", b'{"n": 2}')])
    wrong = [
        f'hw.rabbitmq_queue("{queues[0].server.url}", "absent")',
        'hw.redis_list("redis://127.0.0.1:1", "orders")',
        'hw.mqtt("mqtt://127.0.0.1:1", "orders", client_id="me")',
        'hw.nats_core("nats://127.0.0.1:1", "absent.>")',
    ]
    given = [*(queue.source() for queue in queues), *wrong]
    Path("flow.py").write_text(QUEUES.replace("QUEUES", ", ".join(given)))
    found = json.loads(check("flow.py", "--json").out)["edges"]
    looks = [(one["is_good"], one["found"]) for one in found if one["name"].startswith("queue-")]
    assert looks[0] == (True, "2 messages wait in the queue")
    assert looks[1] == (True, "2 elements wait in the list")
    assert looks[2] == (True, "the broker lets us in")
    assert looks[3][0] and looks[3][1].startswith("NATS ")
    assert [is_good for is_good, _ in looks[4:]] == [False] * 4
    assert "there is no queue absent yet: make it" in looks[4][1]
    assert all(queue.left() == 2 for queue in queues[:2]), "something was taken"
