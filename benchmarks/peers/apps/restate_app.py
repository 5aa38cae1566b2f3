"""Three journalled steps on Restate."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
import restate
from common import note, pause

service = restate.Service("Three")


@service.handler()
async def run(context: restate.Context, arguments: list[int]) -> int:
    number, pause_ms = arguments

    async def first() -> int:
        note(number, 1)
        return number

    async def second() -> int:
        note(number, 2)
        await pause(pause_ms)
        return number

    async def third() -> int:
        note(number, 3)
        return number

    await context.run_typed("first", first)
    await context.run_typed("second", second)
    return await context.run_typed("third", third)


async def main() -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{sys.argv[2]}"]
    config.h2_max_concurrent_streams = 10_000
    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(restate.app([service]), config, shutdown_trigger=asyncio.Event().wait)
    )
    await asyncio.sleep(0.3)
    Path(sys.argv[1]).touch()
    await serving


asyncio.run(main())
