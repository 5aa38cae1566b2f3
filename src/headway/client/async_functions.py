"""The client of durable functions for asyncio, on aiohttp: `pip install 'headway[http]'`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Final, Generic, Optional, TypeVar, Union, overload

from headway.basics.times import Duration
from headway.client.asynchronous import AsyncClient
from headway.client.function_protocol import Declared, FunctionProtocol, InstanceProtocol, Rules, Since, listed
from headway.client.function_records import InstanceStatus, Posted
from headway.client.functions import address_missing
from headway.client.talks import Pause, Server, Talk
from headway.errors import ServiceError, UsageError

__all__ = ["AsyncFunction", "AsyncFunctionClient", "AsyncInstance"]

R = TypeVar("R")
T = TypeVar("T")
_WAIT: Final = "10s"


class AsyncFunctionClient:
    """As `FunctionClient`, for asyncio. Use it as an async context manager, or call `close`.

    Raises `UsageError` where aiohttp is not installed.
    """

    def __init__(
        self,
        *,
        listen: Union[str, AsyncClient, None] = None,
        serve: Union[str, AsyncClient, None] = None,
        token: Optional[str] = None,
        timeout_s: float = 10.0,
        retry_s: float = 30.0,
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        if listen is None and serve is None:
            msg = "AsyncFunctionClient() has no address: give listen=, serve= or both, such as listen='http://127.0.0.1:8080'"
            raise UsageError(msg)

        self._own: list[AsyncClient] = []

        def client_of(server: Server, given: Union[str, AsyncClient, None]) -> Optional[AsyncClient]:
            if given is None or isinstance(given, AsyncClient):
                return given
            if not isinstance(given, str):
                msg = f"{server}={given!r:.100}: give the address of the server, or an AsyncClient"
                raise UsageError(msg)
            self._own.append(AsyncClient(given, token=token, timeout_s=timeout_s, tls=tls))
            return self._own[-1]

        self._clients: dict[Server, Optional[AsyncClient]] = {
            "listen": client_of("listen", listen),
            "serve": client_of("serve", serve),
        }
        self._rules = Rules(retry_s)

    @overload
    def function(self, function: Declared[R]) -> AsyncFunction[R]: ...

    @overload
    def function(self, function: Union[Declared[Any], str], returns: type[T]) -> AsyncFunction[T]: ...

    @overload
    def function(self, function: str) -> AsyncFunction[Any]: ...

    def function(self, function: Any, returns: Any = Any) -> Any:
        """A function, as it is declared or by its name; see `FunctionClient.function`."""
        return AsyncFunction(self, FunctionProtocol(function, returns, self._rules))

    async def list(
        self,
        name: str = "",
        *,
        status: Union[str, Iterable[str]] = (),
        where: Union[str, Iterable[str]] = (),
        since: Optional[Since] = None,
        page: int = 100,
    ) -> AsyncIterator[InstanceStatus]:
        """The instances for which everything holds that is given; see `FunctionClient.list`."""
        cursor = ""
        while True:
            talk = listed(self._rules, cursor, name=name, status=status, where=where, since=since, page=page)
            found, cursor = await self.drive(talk)
            for one in found:
                yield one
            if not cursor:
                return

    async def close(self) -> None:
        """Close all connections, but for those of an `AsyncClient` that was given: it may have others."""
        for client in self._own:
            await client.close()

    async def __aenter__(self) -> AsyncFunctionClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def drive(self, talk: Talk[T]) -> T:
        """Have a talk. For `AsyncFunction` and `AsyncInstance`."""
        try:
            step = next(talk)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = talk.send(None)
                    continue
                client = self._clients[step.server]
                if client is None:
                    raise address_missing(step.server)
                try:
                    reply = await client.ask(step.request)
                except ServiceError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            talk.close()


class AsyncFunction(Generic[R]):
    """One function of a flow; see `Function`, which says what each method does."""

    def __init__(self, client: AsyncFunctionClient, protocol: FunctionProtocol[R]) -> None:
        self._client = client
        self._protocol = protocol

    def __repr__(self) -> str:
        return f"AsyncFunction({self._protocol.name!r})"

    def instance(self, id: str, /) -> AsyncInstance[R]:  # noqa: A002 - what it is called everywhere
        """A handle of the instance of an id, whether there is one or not. Asks nobody."""
        return AsyncInstance(self._client, self._protocol.instance(id))

    async def start(
        self,
        id: str,  # noqa: A002
        /,
        *arguments: Any,
        id_reuse: Optional[str] = None,
        key: Optional[str] = None,
        **keywords: Any,
    ) -> AsyncInstance[R]:
        """Start it; returns a handle when the start is durable."""
        instance = self._protocol.instance(id)
        encoded = self._protocol.encode(*arguments, **keywords)
        await self._client.drive(instance.start(encoded, id_reuse, key))
        return AsyncInstance(self._client, instance)

    async def signal_with_start(
        self,
        id: str,  # noqa: A002
        signal: str,
        value: Any,
        /,
        *arguments: Any,
        id_reuse: Optional[str] = None,
        key: Optional[str] = None,
        **keywords: Any,
    ) -> AsyncInstance[R]:
        """Send a signal; where there is no instance of the id it is started, and has the signal from its beginning."""
        instance = self._protocol.instance(id)
        encoded = self._protocol.encode(*arguments, **keywords)
        await self._client.drive(instance.signal_with_start(signal, value, encoded, id_reuse, key))
        return AsyncInstance(self._client, instance)


class AsyncInstance(Generic[R]):
    """One instance of a function; see `Instance`, which says what each method does."""

    def __init__(self, client: AsyncFunctionClient, protocol: InstanceProtocol[R]) -> None:
        self._client = client
        self._protocol = protocol

    def __repr__(self) -> str:
        return f"AsyncInstance({str(self._protocol)!r})"

    @property
    def id(self) -> str:
        """Its id."""
        return self._protocol.id

    @property
    def posted(self) -> Optional[Posted]:
        """What the server has said of the last thing that this handle has told; None before."""
        return self._protocol.posted

    async def signal(self, name: str, value: Any = None, *, key: Optional[str] = None) -> Posted:
        """Send a signal."""
        return await self._client.drive(self._protocol.signal(name, value, key))

    @overload
    async def update(
        self,
        name: str,
        value: Any = None,
        *,
        returns: type[T],
        timeout: Optional[Duration] = "30s",
        key: Optional[str] = None,
    ) -> T: ...

    @overload
    async def update(
        self, name: str, value: Any = None, *, timeout: Optional[Duration] = "30s", key: Optional[str] = None
    ) -> Any: ...

    async def update(
        self,
        name: str,
        value: Any = None,
        *,
        returns: Any = Any,
        timeout: Optional[Duration] = "30s",
        key: Optional[str] = None,
    ) -> Any:
        """Ask it to change something, and wait for the answer."""
        return await self._client.drive(self._protocol.update(name, value, returns, timeout, key))

    async def answer(self, token: str, value: Any = None, *, key: Optional[str] = None) -> Posted:
        """Give the answer to a call that waits for it: the text of a `context.token()`."""
        return await self._client.drive(self._protocol.answer_token(token, value, key))

    async def cancel(self, reason: str = "", *, key: Optional[str] = None) -> Posted:
        """Ask it to end in an orderly way."""
        return await self._client.drive(self._protocol.end("cancel", reason, key))

    async def terminate(self, reason: str = "", *, key: Optional[str] = None) -> Posted:
        """End it here and now."""
        return await self._client.drive(self._protocol.end("terminate", reason, key))

    @overload
    async def query(self, name: str, value: Any = None, *, returns: type[T], wait: Duration = _WAIT) -> T: ...

    @overload
    async def query(self, name: str, value: Any = None, *, wait: Duration = _WAIT) -> Any: ...

    async def query(self, name: str, value: Any = None, *, returns: Any = Any, wait: Duration = _WAIT) -> Any:
        """What the handler of a query says."""
        return await self._client.drive(self._protocol.query(name, value, returns, wait))

    async def describe(self, *, wait: Duration = _WAIT) -> Optional[InstanceStatus]:
        """Where it stands; None where there is no such instance."""
        return await self._client.drive(self._protocol.describe(wait))

    async def is_ours(self, *, wait: Duration = _WAIT) -> bool:
        """Whether the run that there is now was started by the `start` of this handle."""
        return await self._client.drive(self._protocol.is_ours(wait))

    async def result(self, timeout: Optional[Duration] = None) -> R:
        """Its result, once it has ended."""
        return await self._client.drive(self._protocol.result(timeout))
