"""An HTTP receiver of the worst kind, on a real socket: it does to each connection what a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

Behaviour = Callable[["Request", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    """What came, as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for other, value in self.headers if other == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None


def respond(status: int = 204, headers: str = "", body: bytes = b"", *, length: int | None = None) -> Behaviour:
    """Answer each request alike. `length` is what is said of the body, where that is a lie."""

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = "" if status == 204 else f"Content-Length: {len(body) if length is None else length}\r\n"
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{said}{headers}\r\n".encode() + body)
        await writer.drain()
        if length is not None:
            writer.close()

    return answer


def raw(data: bytes, *, repeat: int = 1, close: bool = True) -> Behaviour:
    """Send these bytes, so many times, as fast as they are taken."""

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(repeat):
            writer.write(data)
            await writer.drain()
        if close:
            writer.close()

    return answer


def hang() -> Behaviour:
    """Say nothing until the other side goes."""

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    return answer


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Another one at each request; the last one for all that follow."""
    left = list(behaviours)

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = left.pop(0) if len(left) > 1 else left[0]
        await behaviour(request, reader, writer)

    return answer


@dataclass
class HostileServer:
    """Serves while it is entered. `unread` says of each connection whether it is closed before anything is read.

    `port` is 0 for any that is free, and then the one that it has got.
    """

    behaviour: Behaviour = field(default_factory=respond)
    tls: ssl.SSLContext | None = None
    unread: Callable[[], bool] = lambda: False
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def __aenter__(self) -> HostileServer:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not self.unread() and not writer.is_closing():
                request = await self._read(reader)
                self.requests.append(request)
                await self.behaviour(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, asyncio.LimitOverrunError):
            pass  # The client is gone, or the test is over.
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)
        ]
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        return Request(head[0], headers, await reader.readexactly(length))
