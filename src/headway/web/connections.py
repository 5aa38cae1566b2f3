"""Connections that bring nothing: bounded in number, in time and in what they may send without making a request.

uvicorn's own protocol waits without end for the head of a first request, and for the rest of a body, and keeps any
number of headers; `limit_concurrency` answers 503 to everybody as soon as enough strangers hold a connection open. Here

* a connection must bring the head of a request within `head_s` of its beginning, or of the answer before, and the
  whole body within `body_s`;
* a head has at most 64 KiB and 128 headers;
* above `connections` the one that has waited longest for its next request is closed: idle ones are no harm to those
  that work;
* what a client goes on to send after it has been refused is thrown away for a while, so that it reads the answer
  before the connection is reset, and no longer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Optional

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headway.web.limits import ConnectionLimits
from headway.web.problems import PROBLEM_TYPE, body_of

__all__ = ["ConnectionLimits", "bounded_protocol"]

_HEAD_BYTES: Final = 64 << 10
_HEADERS: Final = 128
_REST_BYTES: Final = 1 << 20
_REST_S: Final = 2.0


def bounded_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The class of the connections of one server. Its instances share what they know of each other."""
    waiting: dict[_Bounded, None] = {}  # In the order in which they began to wait.

    class Bounded(_Bounded):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(limits, waiting, *args, **options)

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return Bounded


class _Joining:
    """A transport that writes the head of an answer together with what follows at once: that is one call, not two."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class _Bounded(HttpToolsProtocol):
    def __init__(self, limits: ConnectionLimits, waiting: dict[_Bounded, None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._waiting = waiting
        self._head_bytes = 0
        self._rest_bytes = 0
        self._timer: Optional[asyncio.TimerHandle] = None
        self._complete = True
        """Whether the request that came last has been read to its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self._limits.connections and not self._close_idle():
            self._refuse(503, "too many connections: come again in a moment")
            return
        self._wait()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._cancel()
        self._waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._complete and self._timer is None:
            self._start(self._limits.body_s, self._body_is_late)  # Most bodies come with their head, and need no timer.
        if self in self._waiting and self._head_bytes > _HEAD_BYTES:
            self._refuse(431, f"the head of a request has more than {_HEAD_BYTES:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _HEADERS:
            # Also the trailers of a chunked body, which the parser hands on as headers.
            self._refuse(431, f"a request has more than {_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._waiting.pop(self, None)
        self._complete = False
        self._head_bytes = 0
        self._cancel()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._rest_bytes += len(body)
            if self._rest_bytes > _REST_BYTES:
                self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._complete = True
        self._cancel()
        if self.cycle is None:
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._complete:
            self._discard_rest()
        elif self.cycle.response_complete:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not an HTTP request")

    def _wait(self) -> None:
        """For the head of the next request."""
        if self.transport.is_closing():
            return
        self._waiting[self] = None
        self._start(self._limits.head_s, self.transport.close)

    def _discard_rest(self) -> None:
        """The request was answered before its body was read: to close now would reset what the client is to read."""
        if self.cycle.waiting_for_100_continue:
            self.transport.close()  # It sends no body now, and what it sends next would be taken for one.
        else:
            self._start(_REST_S, self.transport.abort)

    def _body_is_late(self) -> None:
        if self.cycle.response_complete or self.cycle.response_started:
            self.transport.abort()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refuse(408, f"the body was not there within {self._limits.body_s:g} s")

    def _close_idle(self) -> bool:
        """Close the connection that has waited longest, if one waits."""
        idle = next(iter(self._waiting), None)
        if idle is None:
            return False
        del self._waiting[idle]
        idle.transport.close()
        return True

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        body = body_of(status, None, detail)
        head = b"HTTP/1.1 %d \r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, PROBLEM_TYPE, len(body)) + body)
        self.transport.close()

    def _start(self, delay_s: float, call: Any) -> None:
        self._cancel()
        self._timer = self.loop.call_later(delay_s, call)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
