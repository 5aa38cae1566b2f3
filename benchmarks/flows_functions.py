"""The flow of the case `functions`: functions of three local steps, of many, and such that sleep.

Each of the three steps notes when it begins.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import headway as hw

TIMES = os.environ.get("HEADWAY_BENCH_TIMES", os.devnull)


@hw.durable_workflow
async def three(context: Any, number: int, pause_ms: int = 0) -> int:
    """Three steps, one after the other."""
    first = await context.call("first", number)
    second = await context.call("second", first, pause_ms)
    return int(await context.call("third", second))


@hw.durable_workflow
async def many(context: Any, count: int) -> int:
    """So many steps, one after the other, between two that are noted."""
    await context.call("third", 0)
    for number in range(count):
        await context.call("plain", number)
    return int(await context.call("third", 1))


@hw.durable_workflow
async def asleep(context: Any, number: int) -> int:
    """Does nothing for a month."""
    await context.sleep("30d")
    return number


flow = hw.Functions("three", [three, many, asleep])
_times = os.open(TIMES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(number: int, step: int) -> None:
    """One line, whole or not at all."""
    os.write(_times, f"{number} {step} {time.time_ns()}\n".encode())


@flow.step
async def plain(number: int) -> int:
    """Give it back, and note nothing."""
    return number


@flow.step
async def first(number: int) -> int:
    """Give it back."""
    note(number, 1)
    return number


@flow.step
async def second(number: int, pause_ms: int) -> int:
    """Give it back, after a while."""
    note(number, 2)
    if pause_ms:
        await asyncio.sleep(pause_ms / 1_000)
    return number


@flow.step
async def third(number: int) -> int:
    """Give it back."""
    note(number, 3)
    return number
