"""A flow whose steps must not run more than two at once, in however many processes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import headway as hw


def note(text: str) -> None:
    file = os.open("notes.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text} {os.getpid()}\n".encode())
    os.close(file)


@hw.durable_workflow
async def one(context: Any) -> None:
    await context.call("work")


flow = hw.Functions("shared", [one], queues=[hw.Queue("narrow", concurrency=2)])


@flow.step(queue="narrow")
async def work() -> None:
    note("begin")
    await asyncio.sleep(0.01)
    note("end")


flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
