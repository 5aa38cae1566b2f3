"""Steps that are HTTP services: a call is a request with an idempotency key, its answer is the result.

The client, its secrets and its address policy are those of webhooks (`headway.targets.http_client`): redirects are not
followed, proxies of the environment not used, addresses judged when they are dialled.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Optional
from urllib.parse import quote, urlencode

import msgspec

from headway.basics.declaring import declaring, fail
from headway.basics.needed import needed
from headway.basics.secret import hide
from headway.basics.times import Duration
from headway.errors import UsageError
from headway.functions.history import Failure
from headway.functions.options import STEP_OPTIONS, CallOptions, RetryPolicy
from headway.steps.attempt import Outcome, Work
from headway.steps.outside import OutsideStep
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import retry_after_s
from headway.targets.headers import Headers, head_of
from headway.targets.tls import TlsFiles
from headway.targets.urls import Address, Url

if TYPE_CHECKING:
    from headway.targets.http_client import HttpClient
    from headway.targets.http_connection import Response

__all__ = ["HttpStep", "http_step"]

_METHODS: Final = ("POST", "PUT", "PATCH", "GET", "DELETE")
_WITHOUT_BODY: Final = ("GET", "DELETE")
_PLACE: Final = re.compile(r"%7B([A-Za-z_][A-Za-z0-9_]*)%7D")
"""A name in braces in a path, as it is there once the path is encoded."""
_TRIED_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses from 400 to 499 that say nothing of the request itself."""
_BODY_MOST: Final = 8 << 20
_DAY_S: Final = 86_400.0
_HEAD_MOST: Final = 500
"""Characters of what a service says of a failure."""


def http_step(
    name: str,
    url: str,
    *,
    method: str = "POST",
    headers: Optional[Mapping[str, str]] = None,
    returns: Any = Any,
    queue: Optional[str] = None,
    priority: int = 0,
    retry: Optional[RetryPolicy] = None,
    attempt_timeout: Duration = "60s",
    timeout: Optional[Duration] = None,
    start_timeout: Optional[Duration] = None,
    ca: Optional[str] = None,
    cert: Optional[str] = None,
    key: Optional[str] = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
) -> HttpStep:
    """A step that is a request to an HTTP service: `hw.Functions(..., steps=[hw.http_step(...)])`.

    Arguments that are given by name are the members of a JSON object, which is the body; a single one by position is
    the body itself, and several are a JSON array. With `GET` and `DELETE` arguments by name are the query. Names in
    braces in the path of `url` stand for arguments by name. Each request has the header `Idempotency-Key`, the same in
    each attempt of a call, `Headway-Attempt`, and `traceparent` where the function was started with one. The body of
    the answer is JSON, of up to 8 MiB, and checked against `returns`; an empty one is null.

    A status from 400 to 499 is final, but for 408, 425 and 429; any other one that is not from 200 to 299 is tried
    again by `retry`, as is a service that does not answer, not before a `Retry-After` of up to a day. Such a failure
    has the type `Http503`, by its status, also for `non_retryable`; its bases are `HttpError`, and `NoAnswer` where
    none came.

    `url` and the values of `headers` may be secrets: `env:NAME` or `file:/path`. `ca`, `cert`, `key`, `allow` and
    `deny` are as in `hw.webhook`, the other options as for all steps. Needs the extra `http`.

    >>> charge = http_step("charge", "https://bank.example/orders/{order}/pay", headers={"X-Shop": "eu"}, returns=str)
    >>> charge
    <http step 'charge': POST https://bank.example/orders/{order}/pay>
    >>> charge.encode_arguments(order="o-17", cents=250)
    b'{"order":"o-17","cents":250}'
    """
    with declaring():
        options = CallOptions(
            retry=retry,
            attempt_timeout=attempt_timeout,
            timeout=timeout,
            start_timeout=start_timeout,
            queue=queue or "",
            priority=priority,
        )
        return HttpStep(
            name,
            Url(url),
            Headers(headers or {}),
            TlsFiles(ca=ca, cert=cert, key=key),
            AddressPolicy(allow=allow, deny=deny),
            method=method,
            returns=returns,
            options=options,
        )


class HttpStep(OutsideStep):
    """A step that is an HTTP service; made by `hw.http_step`."""

    takes: Sequence[str] = tuple(name for name in STEP_OPTIONS if name != "heartbeat_timeout")

    def __init__(
        self,
        name: str,
        url: Url,
        headers: Headers,
        tls: TlsFiles,
        addresses: AddressPolicy,
        *,
        method: str,
        returns: Any,
        options: CallOptions,
    ) -> None:
        if not isinstance(name, str) or not name or not name.isprintable():
            fail(f"http step {name!r}: its name must be text")
        if method not in _METHODS:
            fail(f"http step {name!r}: method={method!r}: expected one of {', '.join(_METHODS)}")
        super().__init__("http step", name, returns, options)
        self._url = url
        self._headers = headers
        self._tls = tls
        self._addresses = addresses
        self._method = method
        self._client: Optional[HttpClient] = None

    @property
    def queue(self) -> str:
        """The queue in which its calls wait that name none."""
        return self.options.queue or "default"

    def check(self) -> None:
        """Look whether secrets and certificates are there and can be used. Raises `UsageError`."""
        needed("httptools", "http", "hw.http_step(...)")
        self._headers.read()
        if self._url.read().is_tls:
            self._tls.context()
        elif self._tls.is_given:
            msg = f"{self.what}: ca, cert and key are for https, and its address begins with http"
            raise UsageError(msg)

    async def run(self, work: Work) -> Outcome:
        """Make one request. Cancelled when its time is over."""
        from headway.targets.http_client import HttpClient
        from headway.targets.http_connection import NoAnswerError

        if self._client is None:
            self._client = HttpClient(self._addresses, _BODY_MOST)
        try:
            address, body = self._asked(self._url.read(), msgspec.json.decode(work.arguments))
            head = head_of(self._method, address, self._head(work, body), len(body))
            tls = self._tls.context() if address.is_tls else None
        except (UsageError, ValueError) as error:
            return Outcome(failure=Failure("UsageError", self._hide(str(error)), non_retryable=True))
        until_s = asyncio.get_running_loop().time() + _DAY_S
        try:
            response = await self._client.request(address, tls, head, body, until_s)
        except (NoAnswerError, OSError, asyncio.TimeoutError) as error:
            reason = self._hide(" ".join(str(error).split())) or "no answer"
            return Outcome(failure=Failure("NoAnswer", reason), types=("NoAnswer", "HttpError"))
        return self._outcome(response)

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _asked(self, address: Address, arguments: Any) -> tuple[Address, bytes]:
        """What is asked for, with the arguments in their places, and the body."""
        named = dict(arguments) if isinstance(arguments, dict) else {}
        path = _PLACE.sub(lambda found: self._placed(found[1], named), address.path)
        if self._method not in _WITHOUT_BODY:
            value = named if isinstance(arguments, dict) else arguments
            if isinstance(arguments, list) and len(arguments) == 1:
                [value] = arguments
            return address._replace(path=path), msgspec.json.encode(value)
        if isinstance(arguments, list) and arguments:
            msg = f"{self.what}: {self._method} has no body: give its arguments by name, for the query"
            raise UsageError(msg)
        if named:
            pairs = {name: self._text(name, value) for name, value in named.items() if value is not None}
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(pairs)}"
        return address._replace(path=path), b""

    def _placed(self, name: str, named: dict[str, Any]) -> str:
        if name not in named:
            msg = f"{self.what}: its path needs the argument {name!r}, by name"
            raise UsageError(msg)
        text = self._text(name, named.pop(name))
        if text in ("", ".", ".."):
            msg = f"{self.what}: {name}={text!r} would be another path"
            raise UsageError(msg)
        return quote(text, safe="")

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, (str, int, float)):
            msg = f"{self.what}: {name}={value!r:.100} is no text and no number"
            raise UsageError(msg)
        return str(value)

    def _head(self, work: Work, body: bytes) -> dict[str, str]:
        headers = self._headers.read()
        if headers["accept"] == "*/*":
            headers["accept"] = "application/json"
        if body:
            headers["content-type"] = "application/json"
        headers["idempotency-key"] = _in_header(work.key)
        headers["headway-attempt"] = str(work.attempt)
        if work.traceparent:
            headers["traceparent"] = work.traceparent
        return headers

    def _outcome(self, response: Response) -> Outcome:
        status = response.status
        if 200 <= status < 300:
            return self._result_of(response)
        said = self._hide(response.body[: 4 * _HEAD_MOST].decode(errors="backslashreplace"))
        found = response.headers.get(b"retry-after")
        after_s = None if found is None else retry_after_s(found.decode("latin-1"), time.time())
        message = f"{status} {_phrase(status)}: {said[:_HEAD_MOST]}".strip(": ")
        if 300 <= status < 400:
            message += ": redirects are not followed, give the address that it leads to"
        return Outcome(
            failure=Failure(f"Http{status}", message, non_retryable=400 <= status < 500 and status not in _TRIED_AGAIN),
            types=(f"Http{status}", "HttpError"),
            after_ms=None if after_s is None else int(after_s * 1_000),
        )

    def _result_of(self, response: Response) -> Outcome:
        """The result in an answer. One that cannot be read is final: what was asked for has been done."""
        body = response.body.strip() or b"null"
        if not response.is_whole:
            if len(response.body) < _BODY_MOST:
                failure = Failure("NoAnswer", "the connection was closed in the middle of the answer")
                return Outcome(failure=failure, types=("NoAnswer", "HttpError"))
            told = f"the result of {self.what} has more than {_BODY_MOST:,} bytes"
            return Outcome(failure=Failure("ResultError", told, non_retryable=True))
        try:
            self.decode_result(body)
        except UsageError as error:
            return Outcome(failure=Failure("ResultError", self._hide(str(error)), non_retryable=True))
        return Outcome(body)

    def _hide(self, text: str) -> str:
        """The text without secrets: a service may send back what it was sent, and errors may quote it."""
        for secrets_of in (self._url.secrets, self._headers.secrets):
            text = hide(text, secrets_of())
        return text

    def __repr__(self) -> str:
        return f"<http step {self.name!r}: {self._method} {self._url.shown}>"


def _in_header(key: str) -> str:
    """The idempotency key as a header may have it: ids of functions are any text."""
    return quote(key, safe="/#.:@!$&'()*+,;=~ -_") if not key.isascii() or not key.isprintable() else key


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
