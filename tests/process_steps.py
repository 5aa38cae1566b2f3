"""Steps that run in processes, for tests: they crash, hang, compute and report."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import headway as hw

steps = hw.Steps()


@steps.step(runs_in="process")
def who(text: str) -> list[Any]:
    info = hw.step_info()
    print("said on standard output, which is that of the protocol")  # noqa: T201 - what a user's step may do
    return [os.getpid(), text, info.key, info.attempt, info.last_details]


@steps.step(runs_in="process")
async def who_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@steps.step(runs_in="process")
def crash(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), 9)
    if how == "sys.exit":
        sys.exit("no")
    raise KeyboardInterrupt


@steps.step(runs_in="process")
def large(size: int) -> str:
    return "x" * size


@steps.step(runs_in="process")
def wrong() -> int:
    return "text"  # type: ignore[return-value]


@steps.step(runs_in="process")
def patient(folder: str) -> str:
    """Goes on until it is told that nobody waits, and says that it was."""
    Path(folder, "began").write_text(str(os.getpid()))
    done = 0
    while True:
        try:
            hw.step_info().heartbeat({"done": done})
        except asyncio.CancelledError:
            Path(folder, "told").write_text("nobody waits")
            raise
        done += 1
        time.sleep(0.005)


@steps.step(runs_in="process")
async def patient_async(folder: str) -> None:
    Path(folder, "began").write_text(str(os.getpid()))
    try:
        await asyncio.Event().wait()
    finally:
        Path(folder, "told").write_text("nobody waits")


@steps.step(runs_in="process")
def deaf(folder: str) -> None:
    """Never ends by itself."""
    Path(folder, "began").write_text(str(os.getpid()))
    while True:
        time.sleep(1)
