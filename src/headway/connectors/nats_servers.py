"""The servers of NATS that a flow connects to, and how it is let in. URLs may hold a user and a password.

The client says nothing to whoever waits for an answer when its connection ends: they would wait until their timeout,
and all that a flow has under way with them. So `NatsLink` tells them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Optional, TypeVar, Union

from headway.basics.needed import needed
from headway.basics.secret import Secret, hide
from headway.connectors.answered import answered
from headway.connectors.wording import wording
from headway.errors import InputError, UsageError

__all__ = ["NatsLink", "NatsServers"]

_Answer = TypeVar("_Answer")
_PING_S: Final = 10
"""How often the client asks whether the server is there; after three pings without an answer the connection ends."""
_GOODBYE_S: Final = 2.0


class NatsLink:
    """One connection, for one event loop: what has ended stays so, and whoever uses it makes another one."""

    def __init__(self, client: Any) -> None:
        self.client = client
        """A `nats.aio.client.Client`."""
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended, or when nothing that comes is read any more."""
        # What the client has for this is not called each time: not where a last write fails, nor where reading does.
        client._reading_task.add_done_callback(lambda task: self._end())

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return not self.gone.done() and bool(self.client.is_connected)

    async def ask(self, answer: Awaitable[_Answer]) -> _Answer:
        """The answer; a `ConnectionError` when the connection ends before it."""
        return await answered(answer, self.gone)

    async def close(self) -> None:
        """End it, whatever state it is in."""
        try:
            await asyncio.wait_for(self.client.close(), _GOODBYE_S)  # It may have something left that nobody takes.
        except (OSError, asyncio.TimeoutError):
            return
        finally:
            self._end()

    def _end(self) -> None:
        if not self.gone.done():
            self.gone.set_result("the connection has ended")


class NatsServers:
    """Addresses and access, shown without what is secret.

    `token`, `user` and `password` are texts, `env:NAME` or `file:/path`; `credentials` is the path of a file with a JWT
    and a seed. Raises `UsageError`, beginning with `who`, for what is no URL.

    >>> NatsServers("hw.nats(...)", "nats://ann:swordfish@localhost:4222", password="swordfish")
    <NATS at localhost:4222>
    """

    def __init__(
        self,
        who: str,
        servers: Union[str, Sequence[str]],
        *,
        token: Optional[str] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        credentials: Optional[str] = None,
    ) -> None:
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls or not all(isinstance(url, str) and url for url in urls):
            msg = f"{who}: expected the URL of a server, such as 'nats://localhost:4222', or several"
            raise UsageError(msg)
        self._who = who
        self._urls = urls
        given = {"token": token, "user": user, "password": password}
        self._access = {name: Secret(value, f"nats {name}") for name, value in given.items() if value is not None}
        self._credentials = credentials

    @property
    def shown(self) -> str:
        """Hosts and ports."""
        return ", ".join(url.partition("://")[2].rpartition("@")[2] or url.rpartition("@")[2] for url in self._urls)

    def check(self) -> None:
        """Raise `UsageError` where the library or a secret is not there."""
        needed("nats", "nats", self._who)
        for secret in self._access.values():
            secret.read()

    async def connect(self, on_error: Optional[Callable[[Exception], None]] = None) -> NatsLink:
        """A connection, which does not connect again by itself: whoever uses it sees that it is gone, and asks anew.

        `on_error` hears what the client meets later; else it is told by whoever waits for it.
        """
        from nats.aio.client import Client

        async def met(error: Exception) -> None:
            if on_error is not None:
                on_error(error)

        options: dict[str, Any] = {name: secret.one() for name, secret in self._access.items()}
        if self._credentials is not None:
            options["user_credentials"] = self._credentials
        client: Any = Client()
        try:
            await client.connect(
                list(self._urls),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                connect_timeout=5,
                ping_interval=_PING_S,
                max_outstanding_pings=2,
                name="headway",
                error_cb=met,
                **options,
            )
        except BaseException:
            # The library leaves open what was cut, refused or given up before it was let in.
            transport = client._transport
            if transport is not None:
                transport.close()
            raise
        return NatsLink(client)

    async def connect_to_read(self, described: str, on_error: Optional[Callable[[Exception], None]] = None) -> NatsLink:
        """The same for an input, `described` as people know it.

        Raises `InputError` for what does not end by itself, such as a wrong password; `ConnectionError` or an error of
        the client's for what may.
        """
        import nats.errors

        try:
            return await self.connect(on_error)
        except UsageError as error:  # A secret is not where it should be.
            raise InputError(str(error)) from error
        except nats.errors.NoServersError as error:
            msg = f"no server of {self.shown} takes a connection: check address and port, and whether it runs"
            raise ConnectionError(msg) from error
        except nats.errors.Error as error:
            if "authorization" in str(error).lower():
                msg = f"{described} refuses to let us in: check user, password, token or credentials"
                raise InputError(msg) from error
            raise

    def words(self, error: BaseException) -> str:
        """What is wrong, without what is secret."""
        inside = [url.partition("://")[2].rpartition("@")[0] for url in self._urls]
        secrets = [text for secret in self._access.values() for text in secret.known()]
        secrets += [part for both in inside for part in (both, both.partition(":")[2]) if part]
        return hide(wording(error), secrets)

    def __repr__(self) -> str:
        return f"<NATS at {self.shown}>"
