"""What becomes of triggers when the network is bad: connections are cut behind answers that nobody hears, and answers
are held up. Each system gets them through a proxy that does so; what is there in the end is there once, in order.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from tests.cutting_proxy import CuttingProxy
from tests.kills_harness import chance_of
from tests.servers import mariadb_server, nats_server, postgres_server, redis_server
from tests.targets_harness import delivery_of

import headway as hw
from headway.targets.base import Delivery, Outcome, Target

NAMES = itertools.count()
BATCH = 100


class System(NamedTuple):
    """A server, the target through a port of 127.0.0.1, and the ids that have arrived, in their order."""

    port: int
    target: Callable[[int], Target]
    arrived: Callable[[], list[str]]
    in_order: bool = True
    """Whether what is delivered at one time arrives in its order."""


def redis_stream() -> System:
    import redis

    server, name = redis_server(), f"cut-{next(NAMES)}"

    def arrived() -> list[str]:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            return [fields["id"] for _, fields in client.xrange(name)]

    return System(server.port, lambda port: hw.to_redis_stream(f"redis://127.0.0.1:{port}", name), arrived)


def redis_hash() -> System:
    import redis

    server, name = redis_server(), f"cut-{next(NAMES)}"

    def arrived() -> list[str]:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            versions = [client.hget(key, "headway:version") for key in client.scan_iter(f"{name}:*")]
        return [version.partition(" ")[2] for version in sorted(versions)]

    return System(server.port, lambda port: hw.to_redis_hash(f"redis://127.0.0.1:{port}", name), arrived)


def postgres() -> System:
    server, name = postgres_server(), f"cut{next(NAMES)}"

    def arrived() -> list[str]:
        return [row[0] for row in server.query(f"SELECT id FROM {name} ORDER BY sequence")]

    return System(
        server.port, lambda port: hw.postgres(f"postgresql://postgres@127.0.0.1:{port}/postgres", name), arrived
    )


def mysql() -> System:
    server, name = mariadb_server(), f"cut{next(NAMES)}"

    def arrived() -> list[str]:
        return [row[0] for row in server.query(f"SELECT id FROM {name} ORDER BY sequence")]

    return System(server.port, lambda port: hw.to_mysql(f"mysql://root@127.0.0.1:{port}/shop", name), arrived)


def nats() -> System:
    import nats.aio.client

    server, name = nats_server(), f"cut-{next(NAMES)}"

    async def with_stream(step: Callable[[Any], Any]) -> Any:
        client = await nats.connect(server.url)
        try:
            return await step(client.jetstream())
        finally:
            await client.close()

    async def read(stream: Any) -> list[str]:
        reading = await stream.subscribe(name, ordered_consumer=True)
        left = (await stream.stream_info(name)).state.messages
        return [(await reading.next_msg(5)).headers["Nats-Msg-Id"] for _ in range(left)]

    asyncio.run(with_stream(lambda stream: stream.add_stream(name=name, subjects=[name])))
    return System(
        server.port,
        lambda port: hw.to_nats(f"nats://127.0.0.1:{port}", name),
        lambda: asyncio.run(with_stream(read)),
        in_order=False,
    )


async def delivered(target: Target, batches: Sequence[Sequence[Delivery]]) -> int:
    """Deliver as a dispatcher would: what was not taken comes again before what is behind it. Returns the repeats."""
    await target.open()
    repeats = 0
    try:
        for batch in batches:
            left = list(batch)
            while left:
                size = target.limits.batch
                pieces = [left[at : at + size] for at in range(0, len(left), size)]
                found = await asyncio.gather(*map(target.deliver, pieces))
                answers = [answer for piece in found for answer in piece]
                assert all(answer.outcome in (Outcome.DONE, Outcome.RETRY) for answer in answers), answers[0]
                left = [delivery for delivery, answer in zip(left, answers) if answer.outcome is not Outcome.DONE]
                repeats += bool(left)
    finally:
        await target.close()
    return repeats


@pytest.mark.parametrize("system", [redis_stream, redis_hash, postgres, mysql, nats])
@pytest.mark.parametrize("total", [5_000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_triggers_arrive_once_and_in_order(system: Callable[[], System], total: int) -> None:
    found, chance = system(), chance_of(system.__name__)
    log = [delivery_of(number) for number in range(total)]
    batches = [log[at : at + BATCH] for at in range(0, total, BATCH)]
    with CuttingProxy(found.port, random.Random(chance.randrange(1 << 30)), cut_of=25, hold_of=10) as proxy:
        repeats = asyncio.run(asyncio.wait_for(delivered(found.target(proxy.port), batches), 300))
        assert proxy.cut >= 1, "a test that cuts nothing shows nothing"
    arrived, expected = found.arrived(), [delivery.id for delivery in log]
    assert arrived == expected if found.in_order else sorted(arrived) == sorted(expected)
    assert repeats >= 1
