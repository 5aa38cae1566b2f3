"""Streams of Redis as an input: the contract, what is trimmed or lost, and what a person reads."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_harness import eventually
from tests.readers import read_out, taking
from tests.servers import RedisServer, redis_server

import headway as hw
from headway.errors import InputError, UsageError
from headway.testing import check_transport

NAMES = itertools.count()


class Order(hw.Event):
    n: int
    at: hw.Time = 0
    user: str = ""
    headers: dict[str, str] = {}


@pytest.fixture
def redis() -> RedisServer:
    return redis_server()


def client(server: RedisServer) -> Any:
    import redis

    return redis.Redis.from_url(server.url)


def stream_of(server: RedisServer, numbers: range = range(0), **settings: Any) -> str:
    name = f"orders-{next(NAMES)}"
    add(server, name, numbers, **settings)
    return name


def add(server: RedisServer, stream: str, numbers: range, **settings: Any) -> None:
    with client(server) as writer:
        for n in numbers:
            writer.xadd(
                stream, {"value": json.dumps({"n": n}), "user": f"u{n}"}, id=f"{1_000 + n // 2}-{n % 2}", **settings
            )


def test_the_contract(redis: RedisServer) -> None:
    one, other = stream_of(redis, range(10)), stream_of(redis, range(3))
    numbers = itertools.count(100)

    def append(name: str) -> Order:
        n = next(numbers)
        add(redis, name, range(n, n + 1))
        return Order(n)

    expected = {one: [Order(n) for n in range(10)], other: [Order(n) for n in range(3)]}
    check_transport(hw.redis_stream(redis.url, one, other), Order, expected, append=append)


def test_the_parts_of_entries_are_the_fields_of_events(redis: RedisServer, tmp_path: Path) -> None:
    stream = stream_of(redis, range(2))
    with client(redis) as writer:
        writer.xadd(stream, {"other": "x"}, id="9000-0")
    flow = hw.Flow("orders")
    given = hw.redis_stream(redis.url, stream, key="user")
    fields = {"user": hw.record_key, "headers": hw.record_headers, "at": hw.record_time}
    orders = flow.source("orders", Order, given, time=hw.record_time, fields=fields)
    found: list[Any] = []
    letters: list[Any] = []
    orders.to("found", hw.to_list(found))
    orders.dead_letters.to("letters", hw.to_list(letters))
    hw.run(flow, state=tmp_path, drain=True)
    assert sorted(found, key=itemgetter("n")) == [  # Both have one time.
        {"n": n, "at": 1_000, "user": f"u{n}", "headers": {"value": json.dumps({"n": n}), "user": f"u{n}"}}
        for n in range(2)
    ]
    assert [letter["position"] for letter in letters] == ["entry 9000-0"]
    assert letters[0]["reason"].startswith("it has no field 'value', only 'other': field= of the input says")
    assert letters[0]["raw"] == '{"other": "x"}'


def test_entries_that_were_trimmed_before_they_were_read_end_the_run_or_are_told(redis: RedisServer) -> None:
    stream = stream_of(redis, range(10))
    with client(redis) as writer:
        writer.xtrim(stream, maxlen=4, approximate=False)
        at_the_trim = {"id": "1002-1", "record": 6, "added": 6}
    behind = {"id": "1000-1", "record": 2, "added": 2}
    with closing(hw.redis_stream(redis.url, stream).session()) as session:
        assert read_out(session.open(stream, None, follow=False), Order) == [6, 7, 8, 9], "nothing was read before"
        with pytest.raises(
            InputError, match=r"at least 4 entries of .* behind 1000-1 were trimmed .*expired=\"earliest\""
        ):
            read_out(session.open(stream, behind, follow=False), Order)
        assert read_out(session.open(stream, at_the_trim, follow=False), Order) == [6, 7, 8, 9], "nothing is missing"
        with client(redis) as writer:
            writer.xdel(stream, "1003-1")
        with pytest.raises(InputError, match="at least 1 entries"):
            read_out(session.open(stream, at_the_trim, follow=False), Order)
        with pytest.raises(InputError, match="it was made anew, or has lost entries in a failover"):
            read_out(session.open(stream, {"id": "2000-0", "record": 30, "added": 30}, follow=False), Order)
    with closing(hw.redis_stream(redis.url, stream, expired="earliest").session()) as session:
        assert read_out(session.open(stream, behind, follow=False), Order) == [6, 8, 9]
        told: list[str] = []
        session.partitions(told.append)
        assert [text.partition(": ")[2] for text in told] == [
            f"at least 5 entries of {stream} behind 1000-1 were trimmed or deleted before they were read"
        ]
    with closing(hw.redis_stream(redis.url, stream, start="latest").session()) as session:
        assert read_out(session.open(stream, None, follow=False), Order) == []


def test_a_server_that_was_killed_is_read_on_when_it_is_back() -> None:
    redis_server()
    server = RedisServer()
    try:
        stream = stream_of(server, range(50))
        with closing(hw.redis_stream(server.url, stream).session()) as session:
            has, found = taking(session.open(stream, None, follow=True), Order)
            eventually(lambda: has(50), "the first fifty")
            server.kill()
            assert has(50)
            server.start()
            add(server, stream, range(50, 100))
            eventually(lambda: has(100), "all hundred", 60)
            assert found == list(range(100))
            with client(server) as writer:
                writer.delete(stream)
            with pytest.raises(InputError, match="is gone while it is read"):
                eventually(lambda: has(101), "the failure")
    finally:
        server.remove()


def test_what_is_wrong_is_said_in_words(redis: RedisServer) -> None:
    with client(redis) as writer:
        writer.set("a-text", "x")
    with (
        closing(hw.redis_stream(redis.url, "a-text").session()) as session,
        pytest.raises(InputError, match="a-text is a string, expected a stream"),
    ):
        session.partitions()
    with closing(hw.redis_stream(redis.url, "no-such").session()) as session:
        told: list[str] = []
        assert session.partitions(told.append) == []
        assert "the stream no-such is not there yet" in told[0]
    wrong = hw.redis_stream(redis.url.replace("://", "://ann:swordfish@"), "x")
    assert "swordfish" not in repr(wrong)
    with closing(wrong.session()) as session, pytest.raises(InputError, match="refuses to let us in"):
        session.partitions()
    for given, reason in (
        ({"url": "http://a"}, "a URL that begins with redis://"),
        ({"start": "tomorrow"}, "start='tomorrow'"),
        ({"format": "csv"}, "name the columns"),
    ):
        with pytest.raises(UsageError, match=reason):
            hw.redis_stream(given.pop("url", redis.url), "a", **given)
    with pytest.raises(UsageError, match="each of them once"):
        hw.redis_stream(redis.url, "a", "a")
