"""A process that delivers, as a dispatcher would: `python -m tests.targets_client KIND ADDRESS FILE TOTAL SEED`.

The file holds the number of deliveries that were acknowledged. It is written behind each answer, so that whoever kills
this process may find anything done that the file does not tell. A dot on standard output follows each batch, and the
next batch waits for a byte of standard input.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from tests.targets_harness import delivery_of

import headway as hw
from headway.targets.base import Outcome


def target_of(kind: str, address: str) -> hw.Target:
    if kind == "dbos":
        return hw.to_dbos(address, workflow="audited", queue="nobody", workflow_id="audited-{id}")
    if kind == "redis-hash":
        return hw.to_redis_hash(address, "audited")
    if kind == "mysql":
        return hw.to_mysql(address, "audited")
    return (hw.postgres if kind == "postgres" else hw.sqlite)(address, "audited")


async def main(kind: str, address: str, file: Path, total: int, seed: int) -> None:
    chance = random.Random(seed)
    target = target_of(kind, address)
    await target.open()
    at = int(file.read_text())
    while at < total:
        batch = [delivery_of(number) for number in range(at, min(total, at + chance.randint(1, 40)))]
        answers = await target.deliver(batch)
        if any(answer.outcome is Outcome.NEVER for answer in answers):
            sys.exit(f"refused: {answers}")
        if all(answer.outcome is Outcome.DONE for answer in answers):
            at += len(batch)
            # Replaced as a whole: half a number would be another one.
            file.with_suffix(".new").write_text(str(at))
            file.with_suffix(".new").rename(file)
            os.write(sys.stdout.fileno(), b".")
            os.read(sys.stdin.fileno(), 1)
        else:
            await asyncio.sleep(0.01)
    await target.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
