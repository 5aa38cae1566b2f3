"""Connections to HTTP receivers: dialled when they are needed, kept for the next request, and judged by their address.

Each address that a name leads to is judged when it is dialled (`headway.targets.addresses`). Addresses are tried one
after the other, each a quarter of a second after the one before (RFC 8305), the families in turn; the first that is
there serves, and the other attempts are given up.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple, Optional

from headway.targets.addresses import AddressPolicy
from headway.targets.http_connection import Connection, NoAnswerError, Response
from headway.targets.urls import Address

__all__ = ["HttpClient"]

_IDLE_S: Final = 4.0
"""How long a connection is kept for the next request. Many servers close theirs after 5 s: who sends at that moment
gets no answer, and has to retry for nothing."""
_STAGGER_S: Final = 0.25
_RESOLVED_S: Final = 10.0
"""How long what a name leads to is remembered: a receiver that closes each connection costs no question for each."""


class _Idle(NamedTuple):
    connection: Connection
    since_s: float
    address: Address
    tls: Optional[ssl.SSLContext]


class HttpClient:
    """Sends requests over connections that are kept. Of one event loop; has as many connections as are used at once.

    With `body_most` bodies are read as a whole, up to so many bytes: see `Connection`.
    """

    def __init__(self, addresses: AddressPolicy, body_most: Optional[int] = None) -> None:
        self._addresses = addresses
        self._body_most = body_most
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Idle] = deque()
        """The one that was used last stands last."""
        self._open: set[Connection] = set()
        self._sweeping: Optional[asyncio.TimerHandle] = None
        self._resolved: Optional[tuple[Address, float, list[Any]]] = None

    async def request(
        self, address: Address, tls: Optional[ssl.SSLContext], head: bytes, body: bytes, until_s: float
    ) -> Response:
        """The answer to one request; `tls` is None for one that goes out unencrypted.

        Raises `NoAnswerError`, and `asyncio.TimeoutError` when the loop's clock says `until_s`.
        """
        connection = self._kept(address, tls)
        if connection is None:
            remaining_s = until_s - self._loop.time()
            connection = await asyncio.wait_for(self._dial(address, tls), max(0.0, remaining_s))
        response = await connection.exchange(head, body, until_s)
        if connection.is_reusable:
            self._idle.append(_Idle(connection, self._loop.time(), address, tls))
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(_IDLE_S, self._sweep)
        return response

    async def close(self) -> None:
        """Break all connections off."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.close()
        if self._open:
            await asyncio.wait([connection.closed for connection in self._open])

    def _kept(self, address: Address, tls: Optional[ssl.SSLContext]) -> Optional[Connection]:
        """A connection that serves again; the one that was used last, so that others grow old."""
        oldest_s = self._loop.time() - _IDLE_S
        while self._idle:
            connection, since_s, to, by = self._idle.pop()
            if since_s >= oldest_s and to == address and by is tls and connection.is_silent():
                return connection
            connection.close()
        return None

    def _sweep(self) -> None:
        self._sweeping = None
        oldest_s = self._loop.time() - _IDLE_S
        while self._idle and self._idle[0].since_s <= oldest_s:
            self._idle.popleft().connection.close()
        if self._idle:
            self._sweeping = self._loop.call_at(self._idle[0].since_s + _IDLE_S, self._sweep)

    async def reach(self, address: Address, tls: Optional[ssl.SSLContext]) -> None:
        """Open a connection and close it. Raises `NoAnswerError` where that fails."""
        (await self._dial(address, tls)).close()

    async def _dial(self, address: Address, tls: Optional[ssl.SSLContext]) -> Connection:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._open, self._body_most),
                sock=await self._connected(await self._resolve(address)),
                ssl=tls,
                server_hostname=None if tls is None else address.host.rstrip("."),
            )
        except ssl.SSLCertVerificationError as error:
            msg = f"the certificate is refused: {error.verify_message}"
            raise NoAnswerError(msg) from None
        except (OSError, UnicodeError) as error:
            msg = f"cannot connect to {address.host}:{address.port}: {_why(error)}"
            raise NoAnswerError(msg) from None
        return connection

    async def _resolve(self, address: Address) -> list[Any]:
        if self._resolved is not None:
            known, until_s, found = self._resolved
            if known == address and self._loop.time() < until_s:
                return found
        found = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        self._resolved = (address, self._loop.time() + _RESOLVED_S, found)
        return found

    async def _connected(self, found: list[Any]) -> socket.socket:
        """A socket to the first of some addresses that is there. Raises `OSError`, that of the last one."""
        attempts: dict[asyncio.Task[socket.socket], None] = {}
        waiting = deque(_in_turn(found))
        error: OSError = OSError("the name leads to no address")
        try:
            while waiting or attempts:
                if waiting:
                    attempts[self._loop.create_task(self._connect(waiting.popleft()))] = None
                done, _ = await asyncio.wait(
                    attempts, timeout=_STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    attempts.pop(task)
                    try:
                        return task.result()
                    except OSError as failed:
                        error = failed
            raise error
        finally:
            await _given_up(attempts)

    async def _connect(self, info: Any) -> socket.socket:
        sock = self._addresses.socket_for(info)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, info[4])
        except BaseException:
            sock.close()
            raise
        return sock


def _why(error: Exception) -> str:
    """What is wrong, in words."""
    if isinstance(error, OSError):
        # The numbers of resolvers and of TLS are their own, and not those of the system.
        is_of_system = not isinstance(error, (socket.gaierror, socket.herror, ssl.SSLError))
        if is_of_system and error.errno:
            # The text of an error of asyncio's names the address once more, and not what is wrong.
            return os.strerror(error.errno)
        return error.strerror or str(error)
    return str(error)


def _in_turn(found: list[Any]) -> list[Any]:
    """The addresses of a name, those of its families in turn, each family in the resolver's order."""
    first = [info for info in found if info[0] == found[0][0]]
    others = [info for info in found if info[0] != found[0][0]]
    return [info for info in chain.from_iterable(zip_longest(first, others)) if info is not None]


async def _given_up(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    for task in attempts:
        task.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()
