"""Asks a server of views for one key at a time, at a fixed rate, and tells how long the answers took.

`python -m benchmarks.asker HOST PORT VIEW KEYS RATE SECONDS` writes one line of JSON. Questions are sent when their
time has come, whether those before have been answered or not: a server that stands still makes all of them late.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

__all__: list[str] = []

_CONNECTIONS = 16


async def _ask(host: str, port: int, view: str, keys: int, rate: int, seconds: float, number: int) -> list[float]:
    reader, writer = await asyncio.open_connection(host, port)
    chance = random.Random(number)
    found: list[float] = []
    sent: list[float] = []
    step_s = _CONNECTIONS / rate
    began_s = time.monotonic() + number * step_s / _CONNECTIONS

    async def send() -> None:
        for turn in range(int(seconds / step_s)):
            due_s = began_s + turn * step_s
            pause_s = due_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            key = f"u{chance.randrange(keys):06d}"
            sent.append(due_s)
            writer.write(f"GET /v1/views/{view}/{key} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        await writer.drain()

    sending = asyncio.ensure_future(send())
    for turn in range(int(seconds / step_s)):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if size:
            await reader.readexactly(size)
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
            msg = f"the answer was {head[:80]!r}"
            raise RuntimeError(msg)
        found.append(time.monotonic() - sent[turn])
    await sending
    writer.close()
    return found


async def main() -> None:
    """Ask over several connections, and write what was found."""
    host, port, view, keys, rate, seconds = sys.argv[1:7]
    parts = await asyncio.gather(
        *(_ask(host, int(port), view, int(keys), int(rate), float(seconds), number) for number in range(_CONNECTIONS))
    )
    found = sorted(late_s * 1_000 for part in parts for late_s in part)
    shares = {f"p{share:g}": found[int(len(found) * share / 100)] for share in (50, 90, 99, 99.9)}
    print(json.dumps({"answers": len(found), **shares}))


if __name__ == "__main__":
    asyncio.run(main())
