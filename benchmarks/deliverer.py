"""A bare loop over one target: `python -m benchmarks.deliverer KIND ADDRESS COUNT` tells how long it took."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice

import msgspec

import headway as hw

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLACES = 4


class Cart(msgspec.Struct):
    """What a trigger tells."""

    cart: str
    cents: int
    items: dict[str, int]


def target_of(kind: str, address: str) -> hw.Target:
    if kind == "webhook":
        return hw.webhook(address, secret=SECRET)
    if kind == "webhook batched":
        return hw.webhook(address, secret=SECRET, mode="batched", batch=100)
    if kind == "call":
        return hw.call(lambda trigger: None)
    key = "cart" if kind.endswith("rows") else None
    made = hw.postgres if kind.startswith("postgres") else hw.sqlite
    return made(address, kind.partition(" ")[2], key=key, row=Cart if key else None)


def deliveries(count: int, place: str) -> list[hw.Delivery]:
    return [
        hw.Delivery(
            id=blake2b(f"{place}/{number}".encode(), digest_size=16).hexdigest(),
            type="cart.abandoned",
            source="/headway/shop",
            subject=f"{place}-cart-{number}",
            time_ms=1_700_000_000_000 + number,
            data=msgspec.json.encode(Cart(f"{place}-cart-{number}", number, {"book": 1, "pen": 2})),
            sequence=f"{number:020}",
            place=place,
            number=number,
        )
        for number in range(count)
    ]


async def deliver_all(target: hw.Target, batches: Iterator[Sequence[hw.Delivery]]) -> None:
    for batch in batches:
        for answer in await target.deliver(batch):
            assert answer.outcome is hw.Outcome.DONE, answer


def in_batches(found: list[hw.Delivery], size: int) -> Iterator[Sequence[hw.Delivery]]:
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch


async def run(kind: str, address: str, count: int) -> dict[str, float]:
    target = target_of(kind, address)
    target.check()
    await target.open()
    logs = [deliveries(count // PLACES, f"place-{number}") for number in range(PLACES)]
    size, concurrency = target.limits.batch, target.limits.concurrency
    if target.in_order:
        # Each place one batch after the other, the places beside each other.
        lanes = [in_batches(log, size) for log in logs]
    else:
        lanes = [in_batches([each for log in logs for each in log], size)] * concurrency
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    await asyncio.gather(*(deliver_all(target, lane) for lane in lanes))
    running = {"running_s": time.monotonic() - started_s, "running_cpu_s": time.process_time() - started_cpu_s}
    await target.close()
    return running


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))).decode())
