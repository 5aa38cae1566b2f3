"""Triggers as webhooks: signed CloudEvents, posted over HTTP.

What this rests on. CloudEvents' HTTP binding and its webhook rules, and Standard Webhooks for the signature. Each
attempt is made anew: its timestamp, its signature, the secret and the certificates of that moment.

What the receiver sends back is not trusted. Its status decides, and nothing else does: once a 2xx has come, a body that
drips, lies about its length or never ends changes nothing. 20 kB of a body are looked at, for some seconds, and never
unpacked. Redirects are not followed, cookies not kept, proxies of the environment not used.

Rejected: libraries that retry. They keep what they know in memory; the dispatcher's retries outlive the process. And
a connection of its own for each request: it costs a handshake. `headway.targets.http_connection` says how the client
reads, and why it is our own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Optional

from headway.basics.needed import needed, number_in
from headway.basics.secret import SecretText, hide
from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import answer_for, checked_answers
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import MODES, message_of
from headway.targets.handshake import ORIGIN, asking_headers, checked_origin, permission_in
from headway.targets.headers import Headers, head_of
from headway.targets.signatures import Signer
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

if TYPE_CHECKING:
    from headway.targets.http_client import HttpClient
    from headway.targets.http_connection import Response

__all__ = ["Webhook", "webhook"]

_REASON_MAX: Final = 300
"""Characters: an error may quote what the receiver has sent."""
_SPARE_S: Final = 5.0
"""By how much the dispatcher waits longer: an answer of our own says more than that time is over."""
_SPLIT: Final = frozenset({400, 413, 422})
"""For a list of events: some of them may be at fault, or it is too long."""


def webhook(
    url: str,
    *,
    secret: Optional[SecretText] = None,
    mode: str = "binary",
    headers: Optional[Mapping[str, str]] = None,
    timeout: Duration = "20s",
    concurrency: int = 16,
    batch: int = 100,
    rate: Optional[float] = None,
    origin: Optional[str] = None,
    ca: Optional[str] = None,
    cert: Optional[str] = None,
    key: Optional[str] = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    answers: Optional[Mapping[int, str]] = None,
    name: Optional[str] = None,
) -> Webhook:
    """Post each trigger to an HTTP service, as a CloudEvent with a signature.

    `url` is the address, or where it stands if it is itself a secret: `env:NAME` or `file:/path`. `secret` signs
    (`whsec_...`, or `whsk_...` with the extra `ed25519`; best as `env:NAME` or `file:/path`); give several, or several
    lines of a file, while it is changed. `headers` are sent as well, such as `{"Authorization": "Bearer env:TOKEN"}`.
    `mode` is how an event becomes a message: `"binary"`, `"structured"`, or `"batched"` with up to `batch` events in
    one, for receivers that take lists.

    `timeout` is for one message, `concurrency` how many are under way at once, `rate` how many triggers begin in a
    second. `origin` is the DNS name of the system that sends: then the receiver is asked first whether it wants events,
    by the handshake of CloudEvents, and gets none before it agrees, and no more than it allows. `ca`, `cert` and `key`
    are files for TLS, read again when they change. `allow` and `deny` say which networks may be dialled (see
    `docs/security.md`). `answers` says what statuses mean to this receiver where that is not what they usually do, such
    as `{409: "done"}`. `name` tells two targets of one address apart.

    The receiver knows a repeat by the id. Raises `UsageError` for an option that cannot be. Needs the extra `http`.

    >>> webhook("https://shop.example/hooks", secret="env:SHOP_SECRET")
    <Webhook http https://shop.example/hooks>
    """
    return Webhook(
        Url(url),
        Signer([] if secret is None else [secret] if isinstance(secret, str) else secret, time.time),
        Headers(headers or {}),
        TlsFiles(ca=ca, cert=cert, key=key),
        AddressPolicy(allow=allow, deny=deny),
        mode=mode,
        limits=Limits(
            concurrency=int(number_in("concurrency", concurrency, 1, 10_000)),
            batch=int(number_in("batch", batch, 1, 10_000)) if mode == "batched" else 1,
            per_second=None if rate is None else number_in("rate", rate, 0.001, 1_000_000),
            timeout_s=number_in("timeout", duration_ms(timeout, what="timeout"), 1, 3_600_000) / 1_000 + _SPARE_S,
        ),
        answers=answers,
        origin=None if origin is None else checked_origin(origin),
        name=name,
    )


class Webhook(Target):
    """An HTTP service that takes triggers; made by `hw.webhook`."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self,
        url: Url,
        signer: Signer,
        headers: Headers,
        tls: TlsFiles,
        addresses: AddressPolicy,
        *,
        mode: str,
        limits: Limits,
        answers: Optional[Mapping[int, str]] = None,
        origin: Optional[str] = None,
        name: Optional[str] = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if mode not in MODES:
            msg = f"mode={mode!r} is none: write one of {', '.join(map(repr, MODES))}"
            raise UsageError(msg)
        self.limits = limits
        self._mode = mode
        self._url = url
        self._signer = signer
        self._headers = headers
        self._tls = tls
        self._addresses = addresses
        self._answers = checked_answers(answers)
        self._origin = origin
        self._asking: Optional[asyncio.Lock] = None
        self._name = name or f"http {url.shown}"
        self._now_s = now_s
        self._client: Optional[HttpClient] = None
        self.one_at_a_time = origin is not None

    @property
    def name(self) -> str:
        """`http` and the address, without what may be secret in it."""
        return self._name

    def check(self) -> None:
        """Look whether secrets and certificates are there and can be used."""
        needed("httptools", "http", "hw.webhook(...)")
        self._signer.check()
        self._headers.read()
        if self._url.read().is_tls:
            self._tls.context()
        elif self._tls.is_given:
            msg = f"ca, cert and key are for https: the address of {self.name!r} begins with http"
            raise UsageError(msg)

    async def open(self) -> None:
        """Get ready; no connection is opened yet."""
        needed("httptools", "http", "hw.webhook(...)")
        from headway.targets.http_client import HttpClient

        self._client = HttpClient(self._addresses)
        self._asking = asyncio.Lock()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Post each trigger; in the mode `batched` all of them as one message.

        A list that is refused for what is in it, or for its length, is halved until it is clear whom that concerns.
        """
        until_s = asyncio.get_running_loop().time() + self.limits.timeout_s - _SPARE_S
        if self._mode == "batched":
            return await self._post_list(batch, until_s)
        return [(await self._post([delivery], until_s))[1] for delivery in batch]

    async def _post_list(self, batch: Sequence[Delivery], until_s: float) -> list[Answer]:
        status, answer = await self._post(batch, until_s)
        if len(batch) == 1 or answer.outcome is not Outcome.NEVER or status not in _SPLIT:
            return [answer] * len(batch)
        half = len(batch) // 2
        return [*await self._post_list(batch[:half], until_s), *await self._post_list(batch[half:], until_s)]

    async def _post(self, batch: Sequence[Delivery], until_s: float) -> tuple[int, Answer]:
        """One attempt: the status, 0 where none came, and what it means."""
        from headway.targets.http_connection import NoAnswerError

        try:
            if self.one_at_a_time and (refused := await self._ask(until_s)) is not None:
                return 0, refused
            message = message_of(self._mode, batch)
            signed = self._signer.headers(message.id, message.body)
            asked = {} if self._origin is None else {ORIGIN: self._origin}
            response = await self._request("POST", {**message.headers, **signed, **asked}, message.body, until_s)
            said = "" if 200 <= response.status < 300 else self._said(response)
            found = response.headers.get(b"retry-after")
            retry_after = None if found is None else found.decode("latin-1")
            answer = answer_for(response.status, said, retry_after, now_s=self._now_s(), own=self._answers)
        except (UsageError, NoAnswerError) as error:
            reason = str(error)
        except asyncio.TimeoutError:
            reason = f"no answer within {self.limits.timeout_s - _SPARE_S:g} s"
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return response.status, answer
        return 0, Answer(Outcome.RETRY, self._hide(" ".join(reason.split()))[:_REASON_MAX])

    async def _ask(self, until_s: float) -> Optional[Answer]:
        """Ask whether events are wanted, if nobody has; returns what becomes of the trigger where they are not."""
        assert self._asking is not None and self._origin is not None, "open() comes before deliver()"
        async with self._asking:
            if not self.one_at_a_time:
                return None
            response = await self._request(
                "OPTIONS", asking_headers(self._origin, self.limits.per_second), b"", until_s
            )
            found = permission_in(self._origin, response.status, response.headers, self._said(response), self._now_s())
            if isinstance(found, Answer):
                return replace(found, reason=self._hide(found.reason)[:_REASON_MAX])
            if found.per_minute is not None:
                self.limits = replace(self.limits, batches_per_second=found.per_minute / 60)
            self.one_at_a_time = False
            return None

    async def _request(self, method: str, headers: Mapping[str, str], body: bytes, until_s: float) -> Response:
        assert self._client is not None, "open() comes before deliver()"
        address = self._url.read()
        tls = self._tls.context() if address.is_tls else None
        head = head_of(method, address, {**self._headers.read(), **headers}, len(body))
        return await self._client.request(address, tls, head, body, until_s)

    def _said(self, response: Response) -> str:
        return self._hide(response.body.decode(errors="backslashreplace"))

    def _hide(self, text: str) -> str:
        """The text without secrets: a receiver may send back what it was sent, and errors may quote it."""
        for secrets_of in (self._url.secrets, self._headers.secrets, self._signer.texts):
            # One that cannot be read any more was not sent either.
            with suppress(UsageError):
                text = hide(text, secrets_of())
        return text

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
