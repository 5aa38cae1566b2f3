"""A service that is asked over HTTP: where it is, what is sent with each request, and what may be said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Optional

from headway.basics.needed import needed
from headway.basics.secret import hide
from headway.errors import OutputError, UsageError
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import REASON_MAX, answer_for
from headway.targets.base import Answer, Outcome
from headway.targets.headers import Headers, head_of
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

if TYPE_CHECKING:
    from headway.targets.http_client import HttpClient
    from headway.targets.http_connection import Response

__all__ = ["HttpReceiver"]

_LOOK_S: Final = 10.0


class HttpReceiver:
    """An address, headers, certificates and allowed networks, with the connections to it.

    `who` is what needs the extra `http`. `secrets` are more texts that must not be shown. With `body_most` bodies are
    waited for as a whole, up to so many bytes. `adds_path` says that requests add a path to the address: then it has no
    part behind a question mark. Raises `UsageError` for one that has.
    """

    def __init__(
        self,
        who: str,
        url: Url,
        headers: Headers,
        tls: TlsFiles,
        addresses: AddressPolicy,
        secrets: Callable[[], Iterable[str]] = tuple,
        body_most: Optional[int] = None,
        *,
        adds_path: bool = False,
    ) -> None:
        self.shown = url.shown
        self._who = who
        self._url = url
        self._headers = headers
        self._tls = tls
        self._addresses = addresses
        self._secrets = secrets
        self._body_most = body_most
        self._adds_path = adds_path
        self._check_path(url.shown)
        self._client: Optional[HttpClient] = None

    def check(self, name: str) -> None:
        """Look whether secrets and certificates are there and can be used; `name` is the target's."""
        needed("httptools", "http", self._who)
        self._headers.read()
        address = self._url.read()
        self._check_path(address.path)
        if address.is_tls:
            self._tls.context()
        elif self._tls.is_given:
            msg = f"ca, cert and key are for https: the address of {name!r} begins with http"
            raise UsageError(msg)

    async def open(self) -> None:
        """Get ready; no connection is opened yet."""
        needed("httptools", "http", self._who)
        from headway.targets.http_client import HttpClient

        self._client = HttpClient(self._addresses, self._body_most)

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()

    async def look(self) -> str:
        """Dial it, and say that it is there; nothing is sent. Raises `OutputError` where that fails."""
        assert self._client is not None, "open() comes before look()"
        try:
            address = self._url.read()
            reaching = self._client.reach(address, self._tls.context() if address.is_tls else None)
            await asyncio.wait_for(reaching, _LOOK_S)
        except Exception as error:
            raise OutputError(self.reason(error, _LOOK_S)) from error
        return "takes connections, and its certificate is trusted" if address.is_tls else "takes connections"

    async def request(
        self, method: str, headers: Mapping[str, str], body: bytes, until_s: float, path: str = ""
    ) -> Response:
        """The answer to one request. `path` is added to that of the address, encoded. Raises what `reason` takes."""
        assert self._client is not None, "open() comes before deliver()"
        address = self._url.read()
        tls = self._tls.context() if address.is_tls else None
        self._check_path(address.path)
        asked = address._replace(path=address.path.rstrip("/") + path) if path else address
        head = head_of(method, asked, {**self._headers.read(), **headers}, len(body))
        # Connections are those of the address, whatever path is asked for.
        return await self._client.request(address, tls, head, body, until_s)

    def _check_path(self, path: str) -> None:
        if self._adds_path and "?" in path:
            msg = (
                f"{self._who}: {self.shown} has a part behind a question mark, and a path is added to it: leave it out"
            )
            raise UsageError(msg)

    def reason(self, error: Exception, timeout_s: float) -> str:
        """Why there is no answer. Raises an error again that is none of the receiver's."""
        from headway.targets.http_connection import NoAnswerError

        if isinstance(error, (UsageError, NoAnswerError)):
            reason = str(error)
        elif isinstance(error, asyncio.TimeoutError):
            reason = f"no answer within {timeout_s:g} s"
        elif isinstance(error, (OSError, ValueError)):
            reason = f"{type(error).__name__}: {error}"
        else:
            raise error
        return self.hide(" ".join(reason.split()))[:REASON_MAX]

    def answer(
        self,
        response: Response,
        now_s: float,
        own: Optional[Mapping[int, Outcome]] = None,
        status: Optional[int] = None,
    ) -> Answer:
        """What an answer means, by its status or by the one that is given; `own` is as in `answer_for`."""
        given = response.status if status is None else status
        said = "" if 200 <= given < 300 else self.said(response)
        found = response.headers.get(b"retry-after")
        return answer_for(given, said, None if found is None else found.decode("latin-1"), now_s=now_s, own=own)

    def said(self, response: Response) -> str:
        """The body of an answer."""
        return self.hide(response.body.decode(errors="backslashreplace"))

    def hide(self, text: str) -> str:
        """The text without secrets: a receiver may send back what it was sent, and errors may quote it."""
        for secrets_of in (self._url.secrets, self._headers.secrets, self._secrets):
            text = hide(text, secrets_of())
        return text
