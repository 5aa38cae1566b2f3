"""What tests of targets share: deliveries, and a loop to run them on."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from pathlib import Path
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


def deliver_with_kills(kind: str, address: str, file: Path, total: int) -> None:
    """Let processes deliver to a database, one after the other, each killed at some moment but the last."""
    chance, kills = random.Random(7), 0
    file.write_text("0")
    for seed in range(1_000):
        arguments = ["tests.targets_client", kind, address, str(file), str(total), str(seed)]
        process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=Path(__file__).parent.parent, env=os.environ)
        try:
            # Until it has come some way: the moment is anywhere in its work. It is at a third of the rest at most, so
            # that some are killed although we look too late.
            start = int(file.read_text())
            until = chance.randint(50, min(500, max(100, (total - start) // 3)))
            while process.poll() is None and int(file.read_text()) < start + until:
                os.sched_yield()
            if process.poll() is not None:
                break
            process.kill()
            kills += 1
        finally:
            process.wait(timeout=30)
    assert process.returncode == 0 and kills >= 2
