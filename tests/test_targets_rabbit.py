"""Triggers into streams of RabbitMQ: the contract of targets, what comes again, cuts and kills."""

from __future__ import annotations

import asyncio
import random
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace
from tests.cutting_proxy import CuttingProxy
from tests.kafka_harness import eventually
from tests.kills_harness import chance_of
from tests.rabbit_harness import stream_of
from tests.servers import RabbitServer, rabbit_server
from tests.targets_harness import deliver, delivery_of, outcomes, with_target

import headway as hw
from headway.connectors.parts import record_headers
from headway.errors import UsageError
from headway.formats.json import Json
from headway.targets.base import Delivery, Outcome, Target
from headway.testing import check_target


def entries(server: RabbitServer, stream: str) -> list[tuple[dict[str, str], Any]]:
    """The properties and the values of all messages."""
    found: list[tuple[dict[str, str], Any]] = []
    decoder = Json().decoder(hw.Json)
    with closing(hw.rabbitmq_stream(server.stream_url, stream).session()) as session:
        reader = session.open(stream, None, follow=False)

        def is_over() -> bool:
            chunk = reader.read(1)
            if chunk is not None:
                events = chunk.decode(decoder)
                headers = chunk.parts(record_headers, events.ordinals)
                found.extend(
                    ({name: value.decode() for name, value in pairs}, event)
                    for pairs, event in zip(headers, events.events)
                )
            return reader.at_end and chunk is None

        eventually(is_over, f"the end of {stream}")
    return found


def ids(server: RabbitServer, stream: str) -> list[str]:
    return [properties["cloudEvents:id"] for properties, _ in entries(server, stream)]


def test_the_contract() -> None:
    server = rabbit_server()
    stream = stream_of(server)
    check_target(
        lambda: hw.to_rabbitmq_stream(server.stream_url, stream),
        received=lambda: ids(server, stream),
        make_unreachable=lambda: hw.to_rabbitmq_stream("rabbitmq-stream://ann:swordfish@127.0.0.1:1", stream),
        secrets=["swordfish"],
    )
    found = ids(server, stream)
    assert len(found) == len(set(found)) > 50


def test_a_message_has_the_attributes_of_the_event() -> None:
    server = rabbit_server()
    stream = stream_of(server)
    one = delivery_of(7, {"cents": 1})
    deliver(hw.to_rabbitmq_stream(server.stream_url, stream), [one])
    [(properties, value)] = entries(server, stream)
    assert value == {"cents": 1}
    assert properties == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": one.id,
        "cloudEvents:source": "/headway/shop",
        "cloudEvents:type": "cart.abandoned",
        "cloudEvents:time": "2023-11-14T22:13:20.007Z",
        "cloudEvents:sequence": "00000000000000000007",
        "cloudEvents:subject": "cart-7",
        "cloudEvents:partitionkey": "cart-7",
    }


def test_what_was_taken_under_the_places_of_before_is_passed_over() -> None:
    server = rabbit_server()
    stream = stream_of(server)
    target = hw.to_rabbitmq_stream(server.stream_url, stream)
    deliver(target, [delivery_of(n, place="old") for n in range(4)])
    moved = [replace(delivery_of(n, place="old"), place="new<old", former_places=("older", "old")) for n in range(2, 6)]
    assert outcomes(deliver(target, moved, moved)) == [Outcome.DONE] * 8
    assert ids(server, stream) == [delivery_of(n, place="old").id for n in range(6)]


def test_cuts_and_kills_at_any_moment_double_and_lose_nothing() -> None:
    server, chance = rabbit_server(), chance_of("rabbit target")
    stream, total = stream_of(server), 400
    with CuttingProxy(server.stream_port, random.Random(chance.random()), cut_of=9) as proxy:
        url = server.stream_url.replace(str(server.stream_port), str(proxy.port))

        async def send(target: Target) -> None:
            done = 0
            while done < total:
                # As after a crash: some of what was taken comes again.
                first = max(0, done - chance.randrange(0, 30))
                batch = [delivery_of(n) for n in range(first, min(total, first + chance.randrange(1, 60)))]
                answers = outcomes(await target.deliver(batch))
                taken = answers.index(Outcome.RETRY) if Outcome.RETRY in answers else len(answers)
                assert answers == [Outcome.DONE] * taken + [Outcome.RETRY] * (len(answers) - taken)
                done = max(done, first + taken)
                if chance.randrange(20) == 0:
                    await target.close()

        with_target(hw.to_rabbitmq_stream(url, stream, batch=60, advertised=False), send)
        assert proxy.cut > 0
    assert ids(server, stream) == [delivery_of(n).id for n in range(total)]


def test_a_server_that_was_killed_knows_what_it_has() -> None:
    server = rabbit_server()
    stream = stream_of(server)
    target = hw.to_rabbitmq_stream(server.stream_url, stream)
    batch = [delivery_of(n) for n in range(20)]
    deliver(target, batch)
    server.kill()
    [answer] = deliver(target, [delivery_of(20)])
    assert answer.outcome is Outcome.RETRY and answer.reason
    server.start()

    async def send(opened: Target) -> None:
        async def sent(more: list[Delivery]) -> bool:
            return outcomes(await opened.deliver(more)) == [Outcome.DONE] * len(more)

        for _ in range(200):
            if await sent([*batch[-5:], delivery_of(20)]):
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the server does not come back")

    with_target(target, send)
    assert ids(server, stream) == [delivery_of(n).id for n in range(21)]


def test_what_is_too_large_is_refused_each_time_and_the_rest_goes_on() -> None:
    server = rabbit_server()
    stream = stream_of(server)
    target = hw.to_rabbitmq_stream(server.stream_url, stream)
    large = delivery_of(1, {"text": "x" * (1 << 20)})
    halves = [delivery_of(n, {"text": "x" * (1 << 19)}) for n in (3, 4, 5)]
    batch = [delivery_of(0), large, delivery_of(2), *halves]
    expected = [Outcome.DONE, Outcome.NEVER, *[Outcome.DONE] * 4]
    answers = deliver(target, batch)
    assert outcomes(answers) == expected
    assert "more than a message of a stream may have" in answers[1].reason
    assert outcomes(deliver(target, batch)) == expected
    assert ids(server, stream) == [one.id for one in batch if one is not large]


def test_what_is_wrong_is_said() -> None:
    server = rabbit_server()
    [answer] = deliver(hw.to_rabbitmq_stream(server.stream_url, "no-such-stream"), [delivery_of(1)])
    assert (answer.outcome, answer.reason) == (Outcome.RETRY, "there is no stream no-such-stream: make it")
    wrong = hw.to_rabbitmq_stream(server.stream_url.replace("guest:guest", "ann:swordfish"), "x")
    [answer] = deliver(wrong, [delivery_of(1)])
    assert answer.outcome is Outcome.RETRY
    assert "refuses to let us in" in answer.reason and "swordfish" not in answer.reason
    for url, stream, options, reason in (
        ("http://a", "b", {}, "a URL that begins with rabbitmq-stream://"),
        ("rabbitmq-stream://a", "ä", {}, "ASCII"),
        ("rabbitmq-stream://a", "b", {"batch": 0}, "batch=0 is out of range"),
    ):
        with pytest.raises(UsageError, match=reason):
            hw.to_rabbitmq_stream(url, stream, **options)  # type: ignore[arg-type]
