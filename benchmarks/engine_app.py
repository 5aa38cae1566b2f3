"""An object of Restate that takes calls and does nothing with them: `python -m benchmarks.engine_app PORT`.

Its first call never ends, and the others wait behind it in Restate: what is measured is their start.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate

queue = restate.VirtualObject("Queue")


@queue.handler()
async def hold(context: restate.ObjectContext, event: Any) -> None:
    never: Any
    _, never = context.awakeable()
    await never


async def main(port: str) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    await hypercorn.asyncio.serve(restate.app([queue]), config, shutdown_trigger=asyncio.Event().wait)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
