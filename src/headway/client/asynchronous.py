"""The client for asyncio, on aiohttp: `pip install 'headway[http]'`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Optional, TypeVar

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
from headway.errors import UsageError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AsyncClient", "AsyncView"]

T = TypeVar("T")


class AsyncClient:
    """As `Client`, for asyncio. Use it as an async context manager, or call `close`.

    Raises `UsageError` where aiohttp is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        timeout_s: float = 10.0,
        monotone: bool = False,
        tls: Optional[ssl.SSLContext] = None,
        connections: int = 100,
    ) -> None:
        try:
            import aiohttp  # noqa: F401
        except ImportError:
            msg = "AsyncClient needs aiohttp, which is not installed: pip install 'headway[http]'"
            raise UsageError(msg) from None
        check_url(url)
        self.url = url.rstrip("/")
        self._tls = tls
        self._bearer = bearer(token)
        self._timeout_s = timeout_s
        self._monotone = monotone
        self._connections = connections
        self._session: Optional[aiohttp.ClientSession] = None

    def view(self, name: str, value_type: type[T] = dict) -> AsyncView[T]:  # type: ignore[assignment]
        """A view by its name; see `Client.view`."""
        return AsyncView(self, ViewProtocol(name, value_type, monotone=self._monotone))

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def ask(self, request: Request) -> Reply:
        """Send a request; raises `ServiceError` when no answer comes."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        url = URL(self.url + request.path, encoded=True)
        try:
            async with self._session.request(
                request.method,
                url,
                data=request.body,
                headers={"accept": "application/json", **self._bearer(), **request.headers},
                timeout=aiohttp.ClientTimeout(total=request.timeout_s(self._timeout_s)),
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls,
            ) as response:
                body = await response.read()
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, body)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise unanswered(self.url, error) from error


class AsyncView(Generic[T]):
    """One view of a flow; see `View`, which says what each method does."""

    def __init__(
        self,
        client: AsyncClient,
        protocol: ViewProtocol[T],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._protocol = protocol
        self._clock_s = clock_s
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"AsyncView({self._protocol.name!r} of {self._client.url})"

    async def get(self, key: str, *, at_least: AtLeast = None, wait: Duration = 0) -> Optional[T]:
        """The value of a key; None where there is none."""
        return (await self.read(key, at_least=at_least, wait=wait)).value

    async def read(self, key: str, *, at_least: AtLeast = None, wait: Duration = 0) -> Answer[T]:
        """What there is of a key, and how fresh that is."""
        request = self._protocol.read(key, at_least=at_least, wait=wait)
        answer = self._protocol.one(key, await self._client.ask(request))
        assert answer is not None
        return answer

    async def many(self, keys: Iterable[str], *, at_least: AtLeast = None, wait: Duration = 0) -> dict[str, Answer[T]]:
        """Up to 1,000 keys at one epoch."""
        request = self._protocol.many(keys, at_least=at_least, wait=wait)
        return {answer.key: answer for answer in (await self._several(request))[0]}

    async def scan(self, prefix: str = "", *, page: int = 500) -> AsyncIterator[Answer[T]]:
        """All keys that begin with `prefix`, in order and of one epoch, read page by page."""
        cursor = ""
        while True:
            answers, cursor, _ = await self._several(self._protocol.page(prefix, page, cursor))
            for answer in answers:
                yield answer
            if not cursor:
                return

    async def top(self, n: int = 10, *, by: Optional[str] = None) -> list[Answer[T]]:
        """The keys with the greatest values of the field by which the view is indexed, the greatest first."""
        return (await self._several(self._protocol.top(n, by)))[0]

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with `prefix`."""
        return (await self._several(self._protocol.count(prefix)))[2]

    async def watch(self, key: str, *, after: str = "") -> AsyncIterator[Answer[T]]:
        """What there is of a key now, and then each change of it, for ever; versions may be skipped."""
        watch = Watch(self._protocol, key, after)
        while True:
            began_s = self._clock_s()
            answer = watch.heard(await self._client.ask(watch.request()))
            if answer is not None:
                yield answer
            if pause_s := watch.pause_s(self._clock_s() - began_s):
                await self._sleep(pause_s)

    async def _several(self, request: Request) -> tuple[list[Answer[T]], str, int]:
        return self._protocol.several(await self._client.ask(request))
