"""What inputs over a network share: what is told of trouble, and readers with a session of their own."""

from __future__ import annotations

import json

from tests.readers import read_out
from tests.servers import redis_server
from tests.test_redis_source import Order

import headway as hw
from headway.connectors.troubles import Troubles


def test_trouble_is_told_once_when_it_lasts_and_again_only_after_better_times() -> None:
    now = [100.0]
    troubles = Troubles("kafka topic carts at broker", lambda: now[0])
    told: list[str] = []

    def at(second: float, *, is_down: bool) -> list[str]:
        now[0] = second
        troubles.down("no broker can be reached") if is_down else troubles.up()
        told.clear()
        troubles.take(told.append)
        return list(told)

    assert at(100, is_down=True) == []
    assert at(104, is_down=True) == []
    assert at(106, is_down=True) == ["kafka topic carts at broker: no broker can be reached; it is tried again"]
    assert at(200, is_down=True) == []
    assert at(201, is_down=False) == []
    assert at(202, is_down=True) == []
    assert len(at(210, is_down=True)) == 1


def test_a_partition_in_trouble_is_told_also_while_the_server_answers_otherwise() -> None:
    now = [100.0]
    troubles = Troubles("rabbitmq stream carts at broker", lambda: now[0])
    told: list[str] = []
    for second in range(12):
        now[0] = 100.0 + second
        troubles.up()  # The server lists its partitions.
        troubles.down("no node has it", "carts")
    troubles.take(told.append)
    assert told == ["rabbitmq stream carts at broker: carts: no node has it; it is tried again"]
    troubles.up("carts")
    told.clear()
    for second in range(12):
        now[0] = 200.0 + second
        troubles.down("the connection is refused")
        troubles.down("no node has it", "carts")
    troubles.take(told.append)
    assert told == ["rabbitmq stream carts at broker: the connection is refused; it is tried again"]


def test_a_reader_that_was_opened_alone_ends_its_session() -> None:
    import threading

    import redis

    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.xadd("alone", {"value": json.dumps({"n": 1})})
    before = set(threading.enumerate())
    reader = hw.redis_stream(server.url, "alone").open("alone", None, follow=False)
    assert read_out(reader, Order) == [1]
    reader.close()
    assert set(threading.enumerate()) <= before
