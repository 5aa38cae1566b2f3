"""Posts events at a steady rate, and waits for the webhook of each: `python -m benchmarks.hooks RATE SECONDS`.

Prints the port of its receiver, reads a line with the port of the flow's server, and prints figures in the end.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final, Optional

import msgspec

__all__ = ["Arrived"]

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_CONNECTIONS: Final = 16
_TICK_S: Final = 0.01
_WARM_S: Final = 2.0
_PATIENCE_S: Final = 30.0


class Arrived(msgspec.Struct, frozen=True):
    """How long it took from a post to its webhook."""

    posted: int
    arrived: int
    p50_ms: float
    p99_ms: float


class _Data(msgspec.Struct):
    n: int


class _Http(asyncio.Protocol):
    """Takes whole messages out of a stream of them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while True:
            head, end, rest = self._read.partition(_HEAD_END)
            found = head.lower().partition(_LENGTH)[2]
            length = int(found.partition(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            body, self._read = rest[:length], rest[length:]
            self.take(body)

    def take(self, body: bytes) -> None:
        raise NotImplementedError


class _Receiver(_Http):
    def __init__(self, came: dict[int, float]) -> None:
        self._came = came

    def take(self, body: bytes) -> None:
        self._came.setdefault(msgspec.json.decode(body, type=_Data).n, time.perf_counter())
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class _Poster(_Http):
    """Posts, whether the answers before have come or not."""

    def take(self, body: bytes) -> None:
        """An acknowledgement."""

    def post(self, number: int) -> None:
        body = b'{"at":%d,"user":"u%d","n":%d}' % (time.time_ns() // 1_000_000, number % 500, number)
        head = (
            b"POST /steps HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        )
        self.transport.write(head % len(body) + body)


async def _main(rate: int, seconds: float) -> Arrived:
    loop = asyncio.get_running_loop()
    came: dict[int, float] = {}
    server = await loop.create_server(lambda: _Receiver(came), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    port = int(await loop.run_in_executor(None, sys.stdin.readline))
    posters = [(await loop.create_connection(_Poster, "127.0.0.1", port))[1] for _ in range(_CONNECTIONS)]
    posted: dict[int, float] = {}
    began = time.perf_counter()
    warm_until = began + _WARM_S
    first_counted: Optional[int] = None
    while (now := time.perf_counter()) < warm_until + seconds:
        while len(posted) < (now - began) * rate:
            number = len(posted)
            if first_counted is None and now >= warm_until:
                first_counted = number
            posters[number % _CONNECTIONS].post(number)
            posted[number] = time.perf_counter()
        await asyncio.sleep(_TICK_S)
    counted = range(first_counted or 0, len(posted) - rate // 2)  # The last ones wait for time to pass them.
    until = time.perf_counter() + _PATIENCE_S
    while not all(number in came for number in counted) and time.perf_counter() < until:
        await asyncio.sleep(_TICK_S)
    times = sorted(came[number] - posted[number] for number in counted if number in came)
    return Arrived(
        posted=len(counted),
        arrived=len(times),
        p50_ms=1_000 * times[len(times) // 2],
        p99_ms=1_000 * times[len(times) * 99 // 100],
    )


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))).decode())
