"""Asks a server of views for one key at a time, at a fixed rate, and tells how long the answers took.

`python -m benchmarks.asker HOST PORT VIEW KEYS RATE SECONDS` writes one line of JSON at its end, or at SIGTERM.
Questions are sent when their time has come, whether those before have been answered or not: a server that stands still
makes all of them late. One loop over plain sockets, since what the asker takes the others do not get.
"""

from __future__ import annotations

import json
import random
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress

__all__: list[str] = []

_CONNECTIONS = 16
_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent: deque[float] = deque()
        """When the questions were due that have no answer yet."""
        self._got = b""

    def take(self, found: list[float]) -> None:
        """Read what is there."""
        data = self.socket.recv(1 << 16)
        now_s = time.monotonic()
        if not data:
            msg = "the server has closed a connection"
            raise RuntimeError(msg)
        self._got += data
        while (head := self._got.find(_END)) >= 0:
            length = self._got.find(_LENGTH, 0, head)
            body = 0 if length < 0 else int(self._got[length + len(_LENGTH) : head].partition(b"\r\n")[0])
            end = head + len(_END) + body
            if len(self._got) < end:
                return
            if not self._got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
                msg = f"the answer was {self._got[:80]!r}"
                raise RuntimeError(msg)
            self._got = self._got[end:]
            found.append(now_s - self.sent.popleft())


class _Stopped(BaseException):
    """SIGTERM has come."""


def _stop(*_: object) -> None:
    raise _Stopped


def _ask(connections: list[_Connection], view: str, keys: int, rate: int, seconds: float, found: list[float]) -> None:
    chance = random.Random(1)
    poller = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    began_s = time.monotonic()
    count, turn = int(rate * seconds), 0
    while turn < count or len(found) < count:
        now_s = time.monotonic()
        while turn < count and (due_s := began_s + turn / rate) <= now_s:
            connection = connections[turn % len(connections)]
            question = f"GET /v1/views/{view}/u{chance.randrange(keys):06d} HTTP/1.1\r\nhost: localhost\r\n\r\n"
            connection.sent.append(due_s)
            connection.socket.sendall(question.encode())
            turn += 1
        pause_s = began_s + turn / rate - time.monotonic() if turn < count else 1.0
        for number, _ in poller.poll(max(0.0, pause_s)):
            by_number[number].take(found)


def main() -> None:
    """Ask over several connections until the time is over, or SIGTERM; then write what was found."""
    host, port, view, keys, rate, seconds = sys.argv[1:7]
    found: list[float] = []
    signal.signal(signal.SIGTERM, _stop)
    connections = [_Connection(host, int(port)) for _ in range(_CONNECTIONS)]
    with suppress(_Stopped):
        _ask(connections, view, int(keys), int(rate), float(seconds), found)
    found.sort()
    shares = {f"p{share:g}": 1_000 * found[int(len(found) * share / 100)] for share in (50, 90, 99, 99.9)}
    print(json.dumps({"answers": len(found), **shares}))


if __name__ == "__main__":
    main()
