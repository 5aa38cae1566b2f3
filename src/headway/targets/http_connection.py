"""One connection to an HTTP/1.1 receiver: a request, its answer, and again.

The client is small because what is asked of it is small: one request at a time, a body that is in memory, an answer of
which a status, some headers and the beginning of a body are looked at. Heads are read by `httptools`, which is Node's
parser, and strict: what two readers could understand in two ways (two lengths, a length and chunks, bare line feeds) is
no answer. What is ours is how much is read, and for how long:

* The head of an answer has at most 64 KiB, with all that comes before it (`100 Continue`, `103 Early Hints`).
* Once the status is there it decides. Of the body 20 kB are looked at, for 2 s; what it says of its length, and what
  comes behind it, changes nothing but that the connection is not used again.
* A connection serves again only if the answer has ended as it said, the request has gone out as a whole, and nothing
  came behind it. Before it serves again, what has arrived meanwhile is looked for, in memory and on the wire. A
  receiver may say more than it was asked: a second answer, or the `408` and `400` with which many servers take leave of
  a connection that is idle. That would be taken for the answer to the next request, and a trigger would count as taken,
  or as refused, that nobody has seen. What comes at the very moment at which a request is sent cannot be told from its
  answer: HTTP/1.1 has no numbers.

Rejected: general clients. A request costs aiohttp twice what it costs here, most of it for what is not used (cookies,
redirects, middlewares, traces), and the look before a connection serves again has to be put between its parts.
"""

from __future__ import annotations

import asyncio
import select
from typing import Final, NamedTuple, Optional

import httptools
from typing_extensions import override

__all__ = ["BODY_MAX", "BODY_S", "Connection", "NoAnswerError", "Response"]

BODY_MAX: Final = 20_000
"""Bytes of a body that are looked at."""
BODY_S: Final = 2.0
"""How long the body of an answer is waited for, once its status is there."""
_HEAD_MAX: Final = 1 << 16
"""Bytes, of the head of an answer."""
_CHUNKS_MOST: Final = 8
"""How many times as much as a body its chunks may have."""
_PART: Final = 1 << 18
"""Bytes of a request that are written in one go: large ones must not hold up all others."""

_CLOSED: Final = "the connection was closed before an answer came"


class NoAnswerError(Exception):
    """No answer has come; the text says why, for people."""


class Response(NamedTuple):
    """An answer, as far as it is looked at."""

    status: int
    headers: dict[bytes, bytes]
    """By names in small letters; of several with one name the last."""
    body: bytes
    is_whole: bool = False
    """Whether that is the whole body."""


class Connection(asyncio.Protocol):
    """Sends one request after the other. Methods `connection_made` to `resume_writing` are the event loop's.

    It is in `open_ones` from the moment at which it is there until nothing more comes or goes. With `body_most` the
    body is wanted as a whole, up to so many bytes, and waited for as long as the request has time.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, open_ones: set[Connection], body_most: Optional[int] = None
    ) -> None:
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when nothing more comes or goes."""
        self.is_reusable = False
        """Whether the last exchange has left nothing behind."""
        self._loop = loop
        self._open_ones = open_ones
        self._body_most = BODY_MAX if body_most is None else body_most
        self._wants_all = body_most is not None
        self._most = 2 * _HEAD_MAX + (0 if body_most is None else _CHUNKS_MOST * body_most)
        self._wire = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Optional[asyncio.Future[Response]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._may_write: Optional[asyncio.Future[None]] = None

    async def exchange(self, head: bytes, body: bytes, until_s: float) -> Response:
        """Send a request, and wait for the answer until a time of the event loop's clock.

        Raises `NoAnswerError`, and `asyncio.TimeoutError`. After that, or when it is cancelled, the connection is of no
        use any more.
        """
        answer: asyncio.Future[Response] = self._loop.create_future()
        self._answer = answer
        self._timer = self._loop.call_at(until_s, self._late)
        self._until_s = until_s
        self._received = 0
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._left = self._body_most
        self._is_over = self._is_clean = self.is_reusable = False
        try:
            if self.closed.done():
                raise NoAnswerError(_CLOSED)
            is_sent = len(body) <= _PART
            if is_sent:
                self._transport.write(head + body)
            else:
                is_sent = await self._send_large(head, body, answer)
            response = await answer
            self.is_reusable = is_sent and self._is_clean
            return response
        finally:
            self._timer.cancel()
            self._answer = None
            if not self.is_reusable:
                self.close()

    def is_silent(self) -> bool:
        """Whether nothing is there to be read: no more than was asked for, and not the end. Costs a system call."""
        return not self._transport.is_closing() and not self._wire.poll(0)

    def close(self) -> None:
        """Break it off. Again does nothing."""
        self.is_reusable = False
        self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_ones.add(self)
        self._wire.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @override
    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()  # Nobody has asked.
            return
        self._received += len(data)
        problem: Optional[Exception] = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_over, self._is_clean = True, False  # What comes behind is no HTTP.
        except httptools.HttpParserError as error:
            problem, self._is_clean = error, False
        if not self._status:
            if problem is None and self._received > _HEAD_MAX:
                problem = ValueError(f"its head is longer than {_HEAD_MAX:,} bytes")
            if problem is not None:
                self._fail(NoAnswerError(f"the answer is no HTTP: {problem}"))
        elif self._is_over or problem is not None or self._has_enough or self._received > self._most:
            self._finish()
        elif not self._wants_all:
            self._shorten()

    @override
    def connection_lost(self, error: Optional[Exception]) -> None:
        self.is_reusable = False
        if self._answer is not None and not self._answer.done():
            if self._status:
                # Without a length the end of the connection is that of the body.
                has_length = {b"content-length", b"transfer-encoding"} & self._headers.keys()
                self._is_over = self._is_over or (error is None and not has_length)
                self._finish()
            else:
                self._fail(NoAnswerError(_CLOSED if error is None else f"{_CLOSED}: {error}"))
        self.resume_writing()
        self._open_ones.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)

    @override
    def pause_writing(self) -> None:
        self._may_write = self._loop.create_future()

    @override
    def resume_writing(self) -> None:
        if self._may_write is not None and not self._may_write.done():
            self._may_write.set_result(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, also for what comes before the answer and behind its body."""
        if not self._status:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self._status = status
        else:
            self._headers.clear()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._left >= 0:
            self._left -= len(data)
            self._body.append(data)

    def on_message_begin(self) -> None:
        """Called by the parser, for the answer, for what comes before it, and for what nobody has asked for."""
        if self._is_over:
            self._is_clean = False

    def on_message_complete(self) -> None:
        """Called by the parser; also behind a `100 Continue`."""
        self._is_over = self._status != 0
        # Asked here and not later: the parser forgets it with the next byte.
        self._is_clean = self._is_over and self._left > 0 and self._parser.should_keep_alive()

    async def _send_large(self, head: bytes, body: bytes, answer: asyncio.Future[Response]) -> bool:
        """Send it in parts, until an answer is there; returns whether all has gone out."""
        self._transport.write(head)
        view = memoryview(body)
        for at in range(0, len(body), _PART):
            if answer.done():
                return False
            self._transport.write(view[at : at + _PART])
            if self._may_write is not None:
                await self._may_write
            else:
                await asyncio.sleep(0)
        return True

    @property
    def _has_enough(self) -> bool:
        return self._left < 0 if self._wants_all else self._left <= 0

    def _shorten(self) -> None:
        """The status is there: the rest is waited for no longer than it is worth."""
        until_s = min(self._until_s, self._loop.time() + BODY_S)
        if until_s < self._until_s and self._timer is not None:
            self._until_s = until_s
            self._timer.cancel()
            self._timer = self._loop.call_at(until_s, self._late)

    def _late(self) -> None:
        if self._status:
            self._finish()
        else:
            self._fail(asyncio.TimeoutError())

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            body = b"".join(self._body)
            is_whole = self._is_over and len(body) <= self._body_most
            self._answer.set_result(Response(self._status, self._headers, body[: self._body_most], is_whole))
        self._end_writing()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._end_writing()

    def _end_writing(self) -> None:
        """Whoever still sends has no reason to any more."""
        self.resume_writing()
