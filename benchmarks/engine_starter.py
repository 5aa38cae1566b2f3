"""The client of an engine in a loop: `python -m benchmarks.engine_starter ENGINE ADDRESS COUNT CONCURRENCY PREFIX`.

It starts as many workflows at once as the target of the case `engines` does, with ids by which a repeat is known, and
tells how long that took. It keeps nothing: where it ends in the middle, nobody knows what is left to be started.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

Start = Callable[[str, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def temporal(address: str) -> AsyncIterator[Start]:
    from temporalio.client import Client
    from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

    client = await Client.connect(address)

    async def start(name: str, event: dict[str, Any]) -> None:
        await client.start_workflow(
            "Nobody",
            event,
            id=name,
            task_queue="nobody",
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    yield start


@asynccontextmanager
async def restate(address: str) -> AsyncIterator[Start]:
    from restate import create_client

    async with create_client(address) as client:

        async def start(name: str, event: dict[str, Any]) -> None:
            body = msgspec.json.encode(event)
            headers = {"content-type": "application/json"}
            await client.generic_send("Queue", "hold", body, key="client", idempotency_key=name, headers=headers)

        yield start


async def run(engine: str, address: str, count: int, concurrency: int, prefix: str) -> dict[str, float]:
    async with (temporal if engine == "temporal" else restate)(address) as start:
        await start(f"{prefix}-first", {"at": 0, "user": "u0", "n": 0})  # With which it connects.
        numbers = iter(range(count))
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        await asyncio.gather(*(_start_all(start, numbers, prefix) for _ in range(concurrency)))
        return {"running_s": time.monotonic() - started_s, "running_cpu_s": time.process_time() - started_cpu_s}


async def _start_all(start: Start, numbers: Iterator[int], prefix: str) -> None:
    for number in numbers:
        await start(f"{prefix}-{number}", {"at": number, "user": f"u{number % 5_000}", "n": number})


if __name__ == "__main__":
    engine, address, count, concurrency, prefix = sys.argv[1:]
    print(msgspec.json.encode(asyncio.run(run(engine, address, int(count), int(concurrency), prefix))).decode())
