"""A client of `headway run --listen`: `python -m benchmarks.poster PORT CONNECTIONS BATCH SECONDS`, figures to stdout.

Each connection sends a request, waits for the answer, and sends the next.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from typing import Final, Optional

import msgspec

__all__ = ["Posted"]

_WARM_S: Final = 1.0
_LINES: Final = b"application/x-ndjson"
_JSON: Final = b"application/json"


class Posted(msgspec.Struct, frozen=True):
    """What was posted, and how long the answers took."""

    seconds: float
    requests: int
    events: int
    refused: int
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    def __init__(self, number: int, batch: int, until: float) -> None:
        self._number = number
        self._batch = batch
        self._until = until
        self._sent = 0
        self._sent_at = 0.0
        self._buffer = b""
        self._transport: Optional[asyncio.Transport] = None
        self.times: list[tuple[float, float]] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, ends, body = self._buffer.partition(b"\r\n\r\n")
        if not ends or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.times.append((now, now - self._sent_at))
        if not head.startswith(b"HTTP/1.1 200"):
            self.refused += 1
        self._buffer = b""
        if now > self._until:
            assert self._transport is not None
            self._transport.close()
            return
        self._send()

    def connection_lost(self, error: Optional[Exception]) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        first = self._sent * self._batch
        self._sent += 1
        body = b"\n".join(
            b'{"id":"%d-%d","at":%d,"user":"u%d","cents":%d}'
            % (self._number, first + index, now_ms, (first + index) % 1000, index)
            for index in range(self._batch)
        )
        head = b"POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
        key = b"idempotency-key: %d-%d-%d\r\n\r\n" % (os.getpid(), self._number, self._sent)
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        kind = _JSON if self._batch == 1 else _LINES
        self._transport.write(head % (kind, len(body)) + key + body)


async def _post(port: int, connections: int, batch: int, seconds: float) -> Posted:
    loop = asyncio.get_running_loop()
    began = time.perf_counter() + _WARM_S
    until = began + seconds
    made = []
    for number in range(connections):
        _, protocol = await loop.create_connection(partial(_Connection, number, batch, until), "127.0.0.1", port)
        made.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in made))
    times = sorted(took for protocol in made for at, took in protocol.times if began <= at <= until)
    return Posted(
        seconds=seconds,
        requests=len(times),
        events=len(times) * batch,
        refused=sum(protocol.refused for protocol in made),
        p50_ms=1_000 * times[len(times) // 2],
        p99_ms=1_000 * times[len(times) * 99 // 100],
    )


if __name__ == "__main__":
    _port, _connections, _batch = map(int, sys.argv[1:4])
    print(msgspec.json.encode(asyncio.run(_post(_port, _connections, _batch, float(sys.argv[4])))).decode())
