"""Triggers into streams of Redis and of NATS: the contract of targets, and what comes again."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from msgspec.structs import replace
from tests.servers import nats_server, redis_server
from tests.targets_harness import deliver, delivery_of, outcomes

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Outcome
from headway.testing import check_target

NAMES = itertools.count()


def entries(stream: str) -> list[dict[str, str]]:
    import redis

    with redis.Redis.from_url(redis_server().url, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(stream)]


def test_redis_keeps_the_contract() -> None:
    server, stream = redis_server(), f"triggers-{next(NAMES)}"
    check_target(
        lambda: hw.to_redis_stream(server.url, stream),
        received=lambda: [fields["id"] for fields in entries(stream)],
        make_unreachable=lambda: hw.to_redis_stream("redis://127.0.0.1:1", stream),
    )
    found = [fields["id"] for fields in entries(stream)]
    assert len(found) == len(set(found)) > 50


def test_an_entry_of_redis_has_the_attributes_of_the_event() -> None:
    server, stream = redis_server(), f"triggers-{next(NAMES)}"
    one = delivery_of(7, {"cents": 1})
    deliver(hw.to_redis_stream(server.url, stream), [one])
    assert entries(stream) == [
        {
            "specversion": "1.0",
            "id": one.id,
            "source": "/headway/shop",
            "type": "cart.abandoned",
            "time": "2023-11-14T22:13:20.007Z",
            "sequence": "00000000000000000007",
            "subject": "cart-7",
            "partitionkey": "cart-7",
            "datacontenttype": "application/json",
            "data": '{"cents":1}',
        }
    ]


def test_redis_knows_the_places_that_others_go_on_from_and_those_of_another_state_directory() -> None:
    server, stream = redis_server(), f"triggers-{next(NAMES)}"
    target = hw.to_redis_stream(server.url, stream)
    deliver(target, [delivery_of(n, place="old") for n in range(4)])
    moved = [replace(delivery_of(n, place="old"), place="new<old", former_places=("older", "old")) for n in range(2, 6)]
    assert outcomes(deliver(target, moved, moved)) == [Outcome.DONE] * 8
    assert [fields["id"] for fields in entries(stream)] == [delivery_of(n, place="old").id for n in range(6)]
    [answer] = deliver(target, [replace(delivery_of(5, place="new<old"), id="another")])
    assert answer.outcome is Outcome.RETRY
    assert "another state directory has written there" in answer.reason
    assert len(entries(stream)) == 6


def stream_of(subject: str) -> None:
    import nats

    async def make() -> None:
        client = await nats.connect(nats_server().url)
        await client.jetstream().add_stream(name=subject.replace(".", "-"), subjects=[subject])
        await client.close()

    asyncio.run(make())


def messages(subject: str) -> list[Any]:
    import nats

    async def read() -> list[Any]:
        client = await nats.connect(nats_server().url)
        stream = client.jetstream()
        state = (await stream.stream_info(subject.replace(".", "-"))).state
        found = [await stream.get_msg(subject.replace(".", "-"), seq) for seq in range(1, state.last_seq + 1)]
        await client.close()
        return found

    return asyncio.run(read())


def test_nats_keeps_the_contract_and_drops_what_comes_again() -> None:
    server, subject = nats_server(), f"triggers.t{next(NAMES)}"
    stream_of(subject)
    check_target(
        lambda: hw.to_nats(server.url, subject, password="swordfish", user="ann"),
        received=lambda: [message.headers["Nats-Msg-Id"] for message in messages(subject)],
        make_unreachable=lambda: hw.to_nats("nats://127.0.0.1:1", subject),
        secrets=["swordfish"],
    )
    found = [message.headers["Nats-Msg-Id"] for message in messages(subject)]
    assert len(found) == len(set(found)) > 20
    one = messages(subject)[0]
    assert one.headers["ce-id"] == one.headers["Nats-Msg-Id"]
    assert one.headers["ce-type"] == "contract.checked"


def test_what_nats_does_not_take_is_said() -> None:
    server = nats_server()
    [answer] = deliver(hw.to_nats(server.url, "nobody.takes.it", timeout="2s"), [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY
    assert "no stream takes the subject nobody.takes.it" in answer.reason
    [answer] = deliver(hw.to_nats(server.url, "nobody.takes.it"), [delivery_of(1, {"text": "x" * 1_100_000})])
    assert answer.outcome is Outcome.NEVER
    assert "raise its max_payload" in answer.reason


def test_options() -> None:
    target = hw.to_nats("nats://ann:swordfish@a:1", "b")
    assert "swordfish" not in repr(target) + target.name
    with pytest.raises(UsageError, match="a subject without wildcards"):
        hw.to_nats("nats://a", "carts.*")
    with pytest.raises(UsageError, match="expected the URL of a server"):
        hw.to_nats([], "carts")
    with pytest.raises(UsageError, match="batch=201 is out of range"):
        hw.to_redis_stream("redis://a", "b", batch=201)
    with pytest.raises(UsageError, match="a URL that begins with redis://"):
        hw.to_redis_stream("a", "b")
