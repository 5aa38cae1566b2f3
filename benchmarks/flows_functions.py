"""The flow of the case `functions`: functions of three local steps, the last of which notes when it is done."""

from __future__ import annotations

import os
import time
from typing import Any

import headway as hw

TIMES = os.environ.get("HEADWAY_BENCH_TIMES", os.devnull)


@hw.durable_workflow
async def three(context: Any, number: int) -> int:
    """Three steps, one after the other."""
    first = await context.call("first", number)
    second = await context.call("second", first)
    return int(await context.call("third", second))


flow = hw.Functions("three", [three])
_times = os.open(TIMES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@flow.step
async def first(number: int) -> int:
    """Give it back."""
    return number


@flow.step
async def second(number: int) -> int:
    """Give it back."""
    return number


@flow.step
async def third(number: int) -> int:
    """Note the time, and give it back."""
    os.write(_times, f"{number} {time.time_ns()}\n".encode())
    return number
