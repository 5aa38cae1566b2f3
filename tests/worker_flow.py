"""A flow whose steps run on workers, and the file of the workers: they are the same here."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import headway as hw

remote = hw.Steps(queue="remote")


Promised: Any = str if os.environ.get("WORKER") else int
"""Workers have another version of a step than the flow."""


def note(text: str) -> None:
    """One line in a file, whole or not at all."""
    file = os.open("notes.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@remote.step
async def greet(name: str) -> str:
    info = hw.step_info()
    note(f"greet {name} {info.key} {info.attempt} {os.getpid()}")
    return f"Hello, {name}"


@remote.step(retry=hw.RetryPolicy(initial="10ms"))
def hold(name: str) -> list[Any]:
    """Goes on until there is a file of its name."""
    info = hw.step_info()
    note(f"hold {name} {info.key} {info.attempt} {os.getpid()}")
    while not Path(f"release-{name}").exists():
        try:
            info.heartbeat({"waits for": name})
        except asyncio.CancelledError:
            note(f"cancelled {name}")
            raise
        time.sleep(0.01)
    note(f"held {name} {info.key} {info.attempt} {os.getpid()}")
    return [info.attempt, info.last_details, os.getpid()]


@remote.step
def large(size: int) -> str:
    return "x" * size


@remote.step
def wrong() -> Promised:
    return "text"


@remote.step(retry=hw.RetryPolicy(initial="10ms"), runs_in="process", queue="remote")
def crash() -> int:
    info = hw.step_info()
    note(f"crash {info.attempt}")
    if info.attempt < 3:
        os._exit(7)
    return info.attempt


@remote.step
def refuse(text: str) -> None:
    raise hw.NeverDeliver(text)


if os.environ.get("NEWEST"):

    @remote.step
    def newest() -> str:
        return "new"


@hw.durable_workflow
async def call(context: Any, step: str, *arguments: Any) -> Any:
    """Calls one step."""
    options = hw.CallOptions(queue="remote", retry=hw.RetryPolicy(initial="10ms", maximum_attempts=50))
    return await context.call(step, *arguments, options=options)


flow = hw.Functions(
    "remote",
    [call],
    # Of those only the ones that run are known to workers.
    steps=[remote, hw.topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.http_source("/replies"))],
    queues=[hw.Queue("remote", runs_on="workers", lease=os.environ.get("LEASE", "30s"))],
)
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
