"""The client for ordinary code. Uses the standard library's HTTP, and keeps some connections open."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Final, Generic, Optional, TypeVar

from headway.basics.times import Duration
from headway.client.protocol import (
    Answer,
    AtLeast,
    Reply,
    Request,
    ViewProtocol,
    bearer,
    check_url,
    unanswered,
)
from headway.client.watching import Watch
from headway.errors import ServiceError

__all__ = ["Client", "View"]

T = TypeVar("T")
_KEPT: Final = 8
"""Connections that are kept open when nobody uses them."""


class Client:
    """Asks one server of views. May be used by several threads; a context manager.

    `token` is a bearer token, or where it is: `env:NAME` or `file:/path`. `timeout_s` is for each answer, besides what
    the server may wait. With `monotone`, each view answers with no older epoch than it has before, also where several
    servers stand behind one address. Nothing is connected before something is asked.

    >>> with Client("http://127.0.0.1:8090") as client:
    ...     carts = client.view("carts", dict)
    """

    def __init__(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        timeout_s: float = 10.0,
        monotone: bool = False,
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        self.url = url.rstrip("/")
        scheme, self._host, self._port, self._path = check_url(url)
        self._tls = (tls or ssl.create_default_context()) if scheme == "https" else None
        self._bearer = bearer(token)
        self._timeout_s = timeout_s
        self._monotone = monotone
        self._lock = Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def view(self, name: str, value_type: type[T] = dict) -> View[T]:  # type: ignore[assignment]
        """A view by its name; its values are checked and decoded as `value_type`: an `Event`, a `State`, or a dict."""
        return View(self, ViewProtocol(name, value_type, monotone=self._monotone))

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def ask(self, request: Request) -> Reply:
        """Send a request; raises `ServiceError` when no answer comes. For what `View` does not offer."""
        headers = {"accept": "application/json", **self._bearer(), **request.headers}
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            # The server may have closed it meanwhile, which is nobody's fault.
            try:
                return self._send(connection, request, headers)
            except (http.client.HTTPException, ConnectionError, ssl.SSLError):
                connection.close()
            except OSError as error:
                raise self._failed(connection, error) from error
        connection = self._connect()
        try:
            return self._send(connection, request, headers)
        except (http.client.HTTPException, OSError) as error:
            raise self._failed(connection, error) from error

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _send(self, connection: http.client.HTTPConnection, request: Request, headers: dict[str, str]) -> Reply:
        connection.timeout = request.timeout_s(self._timeout_s)
        connection.response_class = partial(_Response, time.monotonic() + connection.timeout)  # type: ignore[assignment]
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        try:
            connection.request(request.method, self._path + request.path, request.body, headers)
            response = connection.getresponse()
            body = response.read()
        except BaseException:  # Nobody knows what is on its way over it: also when somebody has interrupted this.
            connection.close()
            raise
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                if len(self._idle) < _KEPT:
                    self._idle.append(connection)
                    return reply
            connection.close()
        return reply

    def _failed(self, connection: http.client.HTTPConnection, error: Exception) -> ServiceError:
        connection.close()
        return unanswered(self.url, error)


class _Response(http.client.HTTPResponse):
    """An answer that has to be there as a whole by a time of the monotonic clock.

    The library's limit is for each piece of it: who sends a byte now and then would be waited for without end.
    """

    def __init__(self, until_s: float, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp = io.BufferedReader(_Wire(self.fp.detach(), sock, until_s))


class _Wire(io.RawIOBase):
    """What is received, until a time of the monotonic clock."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until_s: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until_s = until_s

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        """Receive something. Raises `TimeoutError`."""
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            msg = "timed out"
            raise TimeoutError(msg)
        self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class View(Generic[T]):
    """One view of a flow. Made by `Client.view`."""

    def __init__(
        self,
        client: Client,
        protocol: ViewProtocol[T],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._protocol = protocol
        self._clock_s = clock_s
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"View({self._protocol.name!r} of {self._client.url})"

    def get(self, key: str, *, at_least: AtLeast = None, wait: Duration = 0) -> Optional[T]:
        """The value of a key; None where there is none. See `read`."""
        return self.read(key, at_least=at_least, wait=wait).value

    def read(self, key: str, *, at_least: AtLeast = None, wait: Duration = 0) -> Answer[T]:
        """What there is of a key, and how fresh that is.

        `at_least` is a receipt: the state includes its event, for which the server waits as long as `wait` says.
        Raises `NotYetError` when it is not there by then, `ServiceError` for everything else that goes wrong.
        """
        answer = self._protocol.one(key, self._client.ask(self._protocol.read(key, at_least=at_least, wait=wait)))
        assert answer is not None
        return answer

    def many(self, keys: Iterable[str], *, at_least: AtLeast = None, wait: Duration = 0) -> dict[str, Answer[T]]:
        """Up to 1,000 keys at one epoch."""
        request = self._protocol.many(keys, at_least=at_least, wait=wait)
        return {answer.key: answer for answer in self._several(request)[0]}

    def scan(self, prefix: str = "", *, page: int = 500) -> Iterator[Answer[T]]:
        """All keys that begin with `prefix`, in order and of one epoch, read page by page.

        Raises `ServiceError` when more than a minute passes between two pages.
        """
        cursor = ""
        while True:
            answers, cursor, _ = self._several(self._protocol.page(prefix, page, cursor))
            yield from answers
            if not cursor:
                return

    def top(self, n: int = 10, *, by: Optional[str] = None) -> list[Answer[T]]:
        """The keys with the greatest values of the field by which the view is indexed, the greatest first."""
        return self._several(self._protocol.top(n, by))[0]

    def count(self, prefix: str = "") -> int:
        """How many keys begin with `prefix`."""
        return self._several(self._protocol.count(prefix))[2]

    def watch(self, key: str, *, after: str = "") -> Iterator[Answer[T]]:
        """What there is of a key now, and then each change of it, for ever; versions may be skipped.

        `after` is the ETag of a version that is known: with it, the first answer is another one. A change is told when
        it comes; where the server gives no ETags, as behind a proxy that takes them away, within a second, and `after`
        is of no use.
        """
        watch = Watch(self._protocol, key, after)
        while True:
            began_s = self._clock_s()
            answer = watch.heard(self._client.ask(watch.request()))
            if answer is not None:
                yield answer
            if pause_s := watch.pause_s(self._clock_s() - began_s):
                self._sleep(pause_s)

    def _several(self, request: Request) -> tuple[list[Answer[T]], str, int]:
        return self._protocol.several(self._client.ask(request))
