"""Three local activities on Temporal."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from common import note, pause, start_all
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

LIMIT = timedelta(seconds=60)


@activity.defn
async def first(number: int) -> int:
    note(number, 1)
    return number


@activity.defn
async def second(number: int, pause_ms: int) -> int:
    note(number, 2)
    await pause(pause_ms)
    return number


@activity.defn
async def third(number: int) -> int:
    note(number, 3)
    return number


@workflow.defn(sandboxed=False)
class Three:
    @workflow.run
    async def run(self, number: int, pause_ms: int) -> int:
        found = await workflow.execute_local_activity(first, number, start_to_close_timeout=LIMIT)
        found = await workflow.execute_local_activity(second, args=[found, pause_ms], start_to_close_timeout=LIMIT)
        return await workflow.execute_local_activity(third, found, start_to_close_timeout=LIMIT)


async def main() -> None:
    address = f"127.0.0.1:{sys.argv[2]}"
    while True:
        try:
            client = await Client.connect(address)
            break
        except RuntimeError:
            await asyncio.sleep(0.05)
    worker = Worker(
        client,
        task_queue="three",
        workflows=[Three],
        activities=[first, second, third],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_local_activities=1_000,
        max_concurrent_workflow_tasks=1_000,
        max_cached_workflows=5_000,
    )
    async with worker:
        await start_all(
            lambda number, pause_ms: client.start_workflow(
                Three.run, args=[number, pause_ms], id=f"three-{number}", task_queue="three"
            )
        )


asyncio.run(main())
