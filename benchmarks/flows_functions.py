"""The flow of the case `functions`: functions of three local steps, of many, and such that sleep.

The step `third` notes when it was done.
"""

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


@hw.durable_workflow
async def many(context: Any, count: int) -> int:
    """So many steps, one after the other, between two that are noted."""
    await context.call("third", 0)
    for number in range(count):
        await context.call("first", number)
    return int(await context.call("third", 1))


@hw.durable_workflow
async def asleep(context: Any, number: int) -> int:
    """Does nothing for a month."""
    await context.sleep("30d")
    return number


flow = hw.Functions("three", [three, many, asleep])
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
