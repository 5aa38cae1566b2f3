"""Asks a server of views for one key at a time, at a fixed rate, and tells how long the answers took.

`python -m benchmarks.asker HOST PORT VIEW KEYS RATE SECONDS` writes one line of JSON at its end, or at SIGTERM.
Questions are sent when their time has come, whether those before have been answered or not: a server that stands still
makes all of them late.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import deque
from contextlib import suppress

__all__: list[str] = []

_CONNECTIONS = 16


async def _ask(
    host: str, port: int, view: str, keys: int, rate: int, seconds: float, number: int, found: list[float]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    chance = random.Random(number)
    sent: deque[float] = deque()
    step_s = _CONNECTIONS / rate
    count = int(seconds / step_s)
    began_s = time.monotonic() + number * step_s / _CONNECTIONS

    async def send() -> None:
        for turn in range(count):
            due_s = began_s + turn * step_s
            pause_s = due_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            sent.append(due_s)
            writer.write(
                f"GET /v1/views/{view}/u{chance.randrange(keys):06d} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
            )

    sending = asyncio.ensure_future(send())
    try:
        for _ in range(count):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if size:
                await reader.readexactly(size)
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
                msg = f"the answer was {head[:80]!r}"
                raise RuntimeError(msg)
            found.append(time.monotonic() - sent.popleft())
    finally:
        sending.cancel()
        writer.close()


async def main() -> None:
    """Ask over several connections until the time is over, or SIGTERM; then write what was found."""
    host, port, view, keys, rate, seconds = sys.argv[1:7]
    found: list[float] = []
    asking = asyncio.gather(
        *(
            _ask(host, int(port), view, int(keys), int(rate), float(seconds), number, found)
            for number in range(_CONNECTIONS)
        )
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asking.cancel)
    with suppress(asyncio.CancelledError):
        await asking
    found.sort()
    shares = {f"p{share:g}": 1_000 * found[int(len(found) * share / 100)] for share in (50, 90, 99, 99.9)}
    print(json.dumps({"answers": len(found), **shares}))


if __name__ == "__main__":
    asyncio.run(main())
