"""What tests of targets share: deliveries, and a loop to run them on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from headway.targets.base import Answer, Delivery, Outcome, Target

Result = TypeVar("Result")
Step = Callable[[Target], Coroutine[Any, Any, Result]]
LIMIT_S = 60.0


def delivery_of(number: int, value: Any = None, *, place: str = "place-0", key: str | None = None) -> Delivery:
    """The delivery of a number: always the same."""
    return Delivery(
        id=blake2b(f"{place}/{number}".encode(), digest_size=16).hexdigest(),
        type="cart.abandoned",
        source="/headway/shop",
        subject=key or f"cart-{number}",
        time_ms=1_700_000_000_000 + number,
        data=msgspec.json.encode({"number": number} if value is None else value),
        sequence=f"{number:020}",
        place=place,
        number=number,
    )


def run(awaited: Coroutine[Any, Any, Result]) -> Result:
    """Run it to its end; one that hangs fails."""

    async def limited() -> Result:
        return await asyncio.wait_for(awaited, LIMIT_S)

    return asyncio.run(limited())


def with_target(target: Target, step: Step[Result]) -> Result:
    """What a step gives that uses an open target."""

    async def opened() -> Result:
        target.check()
        await target.open()
        try:
            return await step(target)
        finally:
            await target.close()

    return run(opened())


def deliver(target: Target, *batches: Sequence[Delivery]) -> list[Answer]:
    """The answers to batches, one after the other."""

    async def all_of(opened: Target) -> list[Answer]:
        return [answer for batch in batches for answer in await opened.deliver(batch)]

    return with_target(target, all_of)


def outcomes(answers: Sequence[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]
