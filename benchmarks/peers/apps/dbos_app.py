"""Three steps on DBOS."""

from __future__ import annotations

import asyncio
import sys

from common import note, pause, start_all
from dbos import DBOS, SetWorkflowID

DBOS(
    config={
        "name": "three",
        "system_database_url": f"sqlite:///{sys.argv[2]}",
        "application_version": "1",
        "log_level": "ERROR",
    }
)


@DBOS.step()
async def first(number: int) -> int:
    note(number, 1)
    return number


@DBOS.step()
async def second(number: int, pause_ms: int) -> int:
    note(number, 2)
    await pause(pause_ms)
    return number


@DBOS.step()
async def third(number: int) -> int:
    note(number, 3)
    return number


@DBOS.workflow()
async def three(number: int, pause_ms: int) -> int:
    return await third(await second(await first(number), pause_ms))


async def begin(number: int, pause_ms: int) -> object:
    with SetWorkflowID(f"three-{number}"):
        return await DBOS.start_workflow_async(three, number, pause_ms)


async def main() -> None:
    DBOS.launch()
    await start_all(begin)


asyncio.run(main())
