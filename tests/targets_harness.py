"""What tests of targets share: deliveries, and a loop to run them on."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headway.targets.base import Answer, Delivery, Outcome, Target

Result = TypeVar("Result")
Step = Callable[[Target], Coroutine[Any, Any, Result]]
LIMIT_S = 60.0
ROOT = Path(__file__).parent.parent


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
        arguments = [sys.executable, "-m", "tests.targets_client", kind, address, str(file), str(total), str(seed)]
        with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            # It waits behind the batch in which it is to be killed, so that it is alive however late we look.
            batches = chance.randint(1, 12)
            process.stdin.write(b"." * batches)
            process.stdin.flush()
            if len(process.stdout.read(batches)) == batches:
                time.sleep(chance.uniform(0, 0.004))
                process.kill()
            ended = process.wait(timeout=30)
        if ended != -signal.SIGKILL:
            break
        kills += 1
    assert ended == 0 and kills >= 2
