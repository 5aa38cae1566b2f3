"""How a worker talks to its flow: over HTTP, again and again until there is an answer."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Optional, TypeVar

import msgspec

from headway.errors import ServiceError, UsageError
from headway.steps.wire import PATH

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Refused", "WorkerClient"]

T = TypeVar("T")
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_REPLY_S: Final = 15.0
"""How long an answer may take, beyond the time for which it may be held back."""
_FINAL: Final = frozenset({400, 401, 403, 404, 405, 421, 422})
"""What would be answered again: the worker is set up wrongly."""


class Refused(Exception):
    """The flow does not take what it is sent: it comes too late (409), or is too large (413)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class WorkerClient:
    """Asks one flow. `tell` hears, once each time, that it cannot be reached, and that it is there again."""

    def __init__(
        self, url: str, headers: dict[str, str], tell: Callable[[str], None], tls: Optional[ssl.SSLContext] = None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json", **headers}
        self._tell = tell
        self._tls = tls
        self._session: Optional[aiohttp.ClientSession] = None
        self._is_lost = False
        self._was_there = False
        self._answered_s = 0.0

    async def ask(self, what: str, question: Any, answer: type[T], *, wait_s: float = 0.0) -> T:
        """The answer, however long it takes until the flow is there.

        Raises `Refused`, and `ServiceError` where the flow says that it would never answer otherwise.
        """
        pause_s = _FIRST_PAUSE_S
        failed = 0
        while True:
            asked_s = time.monotonic()
            try:
                found = await self._post(what, question, wait_s)
            except _Unavailable as error:
                failed += 1
                # One alone says only that a connection had been kept for too long; and others may have an answer since.
                if failed > 1 and self._answered_s < asked_s:
                    self._lost(": ".join(str(part) for part in error.args if str(part)))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            self._there()
            return msgspec.json.decode(found, type=answer)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, what: str, question: Any, wait_s: float) -> bytes:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        try:
            async with self._session.post(
                f"{self._url}{PATH}/{what}",
                data=msgspec.json.encode(question),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=wait_s + _REPLY_S),
                allow_redirects=False,
                ssl=self._tls if self._tls is not None else True,
            ) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise _Unavailable(type(error).__name__, error) from None
        if status == 200:
            return body
        detail = _detail(body)
        if status in (409, 413):
            raise Refused(status, detail)
        if status in _FINAL and not (status == 404 and self._was_there):
            msg = f"{self._url}{PATH}/{what} answers {status}: {detail}"
            if status == 404:
                msg = (
                    f"{msg}: there is no flow with steps for workers: it needs a "
                    'hw.Queue(..., runs_on="workers"), and headway run FLOW --listen'
                )
            raise ServiceError(msg) if status != 401 else UsageError(f"{msg}; give --token env:NAME")
        raise _Unavailable(status, detail)

    def _lost(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._tell(f"{self._url} cannot be reached ({reason[:300]}): trying again until it can")

    def _there(self) -> None:
        self._was_there = True
        self._answered_s = time.monotonic()
        if self._is_lost:
            self._is_lost = False
            self._tell(f"{self._url} is there again")


class _Unavailable(Exception):
    """No answer for now."""


class _Problem(msgspec.Struct):
    detail: str = ""


def _detail(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:200].decode(errors="replace")
