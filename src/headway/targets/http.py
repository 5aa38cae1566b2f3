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
from dataclasses import replace
from typing import Final, Optional

from headway.basics.secret import SecretText
from headway.basics.times import Duration
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import REASON_MAX, checked_answers
from headway.targets.base import Answer, Delivery, Limits, Outcome
from headway.targets.cloudevents import BATCHED_TOO, checked_mode, message_of
from headway.targets.handshake import ORIGIN, asking_headers, checked_origin, permission_in
from headway.targets.headers import Headers
from headway.targets.http_receiver import HttpReceiver
from headway.targets.http_target import HttpTarget
from headway.targets.limits import SPARE_S, limits_of
from headway.targets.signatures import Signer
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

__all__ = ["Webhook", "webhook"]

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
        limits=limits_of(
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            batch=batch if mode == "batched" else 1,
            spare_s=SPARE_S,
        ),
        answers=answers,
        origin=None if origin is None else checked_origin(origin),
        name=name,
    )


class Webhook(HttpTarget):
    """An HTTP service that takes triggers; made by `hw.webhook`."""

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
        receiver = HttpReceiver("hw.webhook(...)", url, headers, tls, addresses, signer.secrets)
        super().__init__(receiver, limits, name or f"http {url.shown}", now_s=now_s)
        self._mode = checked_mode(mode, BATCHED_TOO)
        self._signer = signer
        self._answers = checked_answers(answers)
        self._origin = origin
        self._asking: Optional[asyncio.Lock] = None
        self.one_at_a_time = origin is not None

    def check(self) -> None:
        """Look whether secrets and certificates are there and can be used."""
        self._signer.check()
        super().check()

    async def open(self) -> None:
        """Get ready; no connection is opened yet."""
        await super().open()
        self._asking = asyncio.Lock()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Post each trigger; in the mode `batched` all of them as one message.

        A list that is refused for what is in it, or for its length, is halved until it is clear whom that concerns.
        """
        until_s = self._until_s()
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
        try:
            if self.one_at_a_time and (refused := await self._ask(until_s)) is not None:
                return 0, refused
            message = message_of(self._mode, batch)
            signed = self._signer.headers(message.id, message.body)
            asked = {} if self._origin is None else {ORIGIN: self._origin}
            headers = {**message.headers, **signed, **asked}
            response = await self._receiver.request("POST", headers, message.body, until_s)
        except Exception as error:
            return 0, self._unanswered(error)
        return response.status, self._answered(response, self._answers)

    async def _ask(self, until_s: float) -> Optional[Answer]:
        """Ask whether events are wanted, if nobody has; returns what becomes of the trigger where they are not."""
        assert self._asking is not None and self._origin is not None, "open() comes before deliver()"
        async with self._asking:
            if not self.one_at_a_time:
                return None
            asking = asking_headers(self._origin, self.limits.per_second)
            response = await self._receiver.request("OPTIONS", asking, b"", until_s)
            said = self._receiver.said(response)
            found = permission_in(self._origin, response.status, response.headers, said, self._now_s())
            if isinstance(found, Answer):
                return replace(found, reason=self._receiver.hide(found.reason)[:REASON_MAX])
            if found.per_minute is not None:
                self.limits = replace(self.limits, batches_per_second=found.per_minute / 60)
            self.one_at_a_time = False
            return None
