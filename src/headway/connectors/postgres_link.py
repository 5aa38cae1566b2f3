"""A connection to PostgreSQL that is read through, and is given up when nobody works on what was asked.

The client waits for an answer for ever, also where the wire has fallen silent: a firewall forgets connections without
a word. A limit of time would not do, since a statement may take minutes. So after a while the server is asked over
another connection whether it is at work for this one. If not, the answer is lost, and the socket is shut down, which
the client takes as its end. That is also how whoever waits is cancelled: the client itself would wait for the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Optional

from headway.basics.dsn import Dsn

__all__ = ["PostgresLink"]

_KEEP_ALIVE: Final = {
    "application_name": "headway",
    "connect_timeout": 10,
    # What nobody waits for an answer to, such as a notification: the operating system asks whether there is a wire.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Unless the DSN says otherwise."""
_PATIENCE_S: Final = 10.0
"""How long an answer may take before the server is asked whether it is at work."""
_ANSWER_S: Final = 5.0
_CANCEL_S: Final = 2.0
_AT_WORK: Final = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity "
    "WHERE pid = %s AND state = 'active' AND wait_event IS DISTINCT FROM 'ClientWrite')"
)


class PostgresLink:
    """One connection, that reads alone; made by `PostgresLink.open`."""

    def __init__(self, dsn: Dsn, connection: Any) -> None:
        self.connection = connection
        """A `psycopg.AsyncConnection`."""
        self._dsn = dsn
        self._process: Optional[int] = None
        """Who works for it at the server; None where a pool of connections is in between, which says another one."""

    @classmethod
    async def open(cls, dsn: Dsn) -> PostgresLink:
        """Connect. Raises `UsageError` where the DSN cannot be read, or what the client raises."""
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        given: dict[str, Any] = {**_KEEP_ALIVE, **conninfo_to_dict(dsn.read())}
        connection = await psycopg.AsyncConnection.connect(
            **given,
            autocommit=True,
            prepare_threshold=None,
            client_encoding="utf8",
        )
        link = cls(dsn, connection)
        try:
            await link._within(link._ask("SET TIME ZONE 'UTC'"))
            await link._within(link._ask("SET default_transaction_read_only = on"))
            [[process]] = await link._within(link._ask("SELECT pg_backend_pid()"))
        except BaseException:  # Also where the session ends meanwhile.
            await connection.close()
            raise
        link._process = process if process == connection.info.backend_pid else None
        return link

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return not self.connection.closed

    async def rows(self, query: str, given: Optional[Sequence[Any]] = None) -> list[Any]:
        """What a statement gives, however long the server works on it.

        Raises what the client raises, also where nobody works on it any more.
        """
        asked = asyncio.ensure_future(self._ask(query, given))
        try:
            while not (await asyncio.wait([asked], timeout=_PATIENCE_S))[0]:
                if not await self._is_at_work():
                    await self._ended(asked)
        except asyncio.CancelledError:
            # Else the server would work on, for nobody.
            with suppress(Exception):
                await self.connection.cancel_safe(timeout=_CANCEL_S)
                await asyncio.wait([asked], timeout=_CANCEL_S)
            await self._ended(asked)
            raise
        return asked.result()

    async def close(self) -> None:
        """End it."""
        await self.connection.close()

    async def _ask(self, query: str, given: Optional[Sequence[Any]] = None) -> list[Any]:
        cursor = await self.connection.execute(query.encode(), given)
        return list(await cursor.fetchall()) if cursor.description else []

    async def _within(self, asking: Any) -> list[Any]:
        """What takes the server no time; the client's error where it takes longer."""
        asked: asyncio.Future[list[Any]] = asyncio.ensure_future(asking)
        try:
            await asyncio.wait([asked], timeout=_ANSWER_S)
        finally:
            await self._ended(asked)
        return asked.result()

    async def _is_at_work(self) -> bool:
        """Whether the server works for this connection. Where it cannot be asked, it has gone away."""
        import psycopg

        if self._process is None:
            return True
        try:
            other = await PostgresLink.open(self._dsn)
        except (psycopg.Error, OSError):
            return False
        try:
            [[is_at_work]] = await other._within(other._ask(_AT_WORK, [self._process]))
        except (psycopg.Error, OSError):
            return False
        finally:
            await other.close()
        return bool(is_at_work)

    async def _ended(self, asked: asyncio.Future[list[Any]]) -> None:
        """Return when nothing waits for an answer any more."""
        if asked.done():
            return
        with suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as shared:
            shared.shutdown(socket.SHUT_RDWR)
        await asyncio.wait([asked])
        if not asked.cancelled():
            asked.exception()
