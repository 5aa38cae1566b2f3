"""What the applications share: notes of steps, and the numbers that come on standard input."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

_times = os.open(os.environ["HEADWAY_BENCH_TIMES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(number: int, step: int) -> None:
    os.write(_times, f"{number} {step} {time.time_ns()}\n".encode())


async def pause(pause_ms: int) -> None:
    if pause_ms:
        await asyncio.sleep(pause_ms / 1_000)


async def start_all(begin: Callable[[int, int], Awaitable[object]]) -> None:
    """Say that the application is ready, and start a function for each line until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    Path(sys.argv[1]).touch()
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int, pause_ms: int) -> None:
        await begin(number, pause_ms)
        note(number, 0)

    while line := await reader.readline():
        number, pause_ms = map(int, line.split())
        task = asyncio.ensure_future(one(number, pause_ms))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
