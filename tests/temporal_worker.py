"""A worker of Temporal for tests: `python -m tests.temporal_worker ADDRESS`. Its standard output says when it is ready.

A process of its own, because the library may crash where the interpreter ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

TASK_QUEUE = "carts"


@workflow.defn(name="Told", sandboxed=False)
class Told:
    """Says at once what it was started with."""

    @workflow.run
    async def run(self, argument: Any) -> Any:
        return [argument, workflow.memo_value("cloudevent", None)]


@workflow.defn(name="Cart", sandboxed=False)
class Cart:
    """Collects what comes by signals and updates, until it is told to end."""

    def __init__(self) -> None:
        self._got: list[Any] = []
        self._is_over = False

    @workflow.run
    async def run(self, argument: Any) -> Any:
        await workflow.wait_condition(lambda: self._is_over)
        return self._got

    @workflow.signal
    def add(self, event: Any) -> None:
        self._got.append(event)

    @workflow.update
    def put(self, event: Any) -> int:
        self._got.append(event)
        if event["data"].get("fails"):
            msg = "the handler has failed"
            raise ApplicationError(msg)
        return len(self._got)

    @put.validator
    def refuse(self, event: Any) -> None:
        if event["data"].get("number", 0) < 0:
            msg = "no number below zero"
            raise ValueError(msg)

    @workflow.signal
    def end(self) -> None:
        self._is_over = True


async def main(address: str) -> None:
    client = await Client.connect(address)
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Told, Cart], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
