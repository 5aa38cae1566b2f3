"""Triggers as webhooks: signed CloudEvents, posted over HTTP.

What this rests on. CloudEvents' HTTP binding and its webhook rules, and Standard Webhooks for the signature. Each
attempt is made anew: its timestamp, its signature, the secret and the certificates of that moment.

What the receiver sends back is not trusted. Its status decides, and nothing else does: once a 2xx has come, a body that
drips, lies about its length or never ends changes nothing. 20 kB of a body are looked at, for some seconds, and never
unpacked. Redirects are not followed, cookies not kept, proxies of the environment not used.

Rejected: libraries that retry. They keep what they know in memory; the dispatcher's retries outlive the process. And
a connection of its own for each request: it costs a handshake.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Optional

from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError
from headway.targets.addresses import AddressPolicy
from headway.targets.answers import answer_for, checked_answers
from headway.targets.base import Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.checks import needed, number_in
from headway.targets.cloudevents import MODES, Message, message_of
from headway.targets.headers import Headers
from headway.targets.secret import SecretText, hide
from headway.targets.signatures import Signer
from headway.targets.tls import TlsFiles
from headway.targets.urls import Url

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Webhook", "webhook"]

_BODY_MAX: Final = 20_000
"""Bytes of an answer that are looked at."""
_REASON_MAX: Final = 300
"""Characters: an error may quote what the receiver has sent."""
_BODY_S: Final = 2.0
"""How long the body of an answer is waited for, once its status is there."""
_WHOLE_MAX: Final = 1 << 20
"""Bytes of a message that are written in one go."""
_IDLE_S: Final = 4.0
"""How long a connection is kept for the next request. Many servers close theirs after 5 s: who sends at that moment
gets no answer, and has to retry for nothing."""
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
    (`whsec_...`, best as `env:NAME` or `file:/path`); give several, or several lines of a file, while it is changed.
    `headers` are sent as well, such as `{"Authorization": "Bearer env:SHOP_TOKEN"}`. `mode` is how an event becomes a
    message: `"binary"`, `"structured"`, or `"batched"` with up to `batch` events in one, for receivers that take lists.

    `timeout` is for one message, `concurrency` how many are under way at once, `rate` how many triggers begin in a
    second. `ca`, `cert` and `key` are files for TLS, read again when they change. `allow` and `deny` say which networks
    may be dialled (see `docs/security.md`). `answers` says what statuses mean to this receiver where that is not what
    they usually do, such as `{409: "done"}`. `name` tells two targets of one address apart.

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
        self._name = name or f"http {url.shown}"
        self._now_s = now_s
        self._session: Optional[aiohttp.ClientSession] = None

    @property
    def name(self) -> str:
        """`http` and the address, without what may be secret in it."""
        return self._name

    def check(self) -> None:
        """Look whether secrets and certificates are there and can be used."""
        needed("aiohttp", "http", "hw.webhook(...)")
        self._signer.check()
        self._headers.read()
        if self._url.read().scheme == "https":
            self._tls.context()
        elif self._tls.is_given:
            msg = f"ca, cert and key are for https: the address of {self.name!r} begins with http"
            raise UsageError(msg)

    async def open(self) -> None:
        """Make the pool of connections; none is opened yet."""
        aiohttp = needed("aiohttp", "http", "hw.webhook(...)")
        from headway.targets.pool import Pool

        connector = Pool(
            limit=self.limits.concurrency,
            socket_factory=self._addresses.socket_for,
            ttl_dns_cache=10,
            keepalive_timeout=_IDLE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BODY_MAX,
        )

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
        import aiohttp

        try:
            message = message_of(self._mode, batch)
            signed = self._signer.headers(message.id, message.body)
            headers = {**self._headers.read(), **message.headers, **signed}
            return await self._exchange(self._url.read(), message, headers, until_s)
        except UsageError as error:
            reason = str(error)
        except asyncio.TimeoutError:
            reason = f"no answer within {self.limits.timeout_s - _SPARE_S:g} s"
        except aiohttp.ClientConnectorCertificateError as error:
            reason = f"the certificate is refused: {error.certificate_error}"
        except aiohttp.ClientConnectorError as error:
            why = error.os_error.strerror or error.os_error
            reason = f"cannot connect to {error.host}:{error.port}: {why}"
        except aiohttp.ClientResponseError as error:
            # Its text has the address, which may be secret.
            reason = f"the answer is no HTTP: {error.message}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        return 0, Answer(Outcome.RETRY, self._hide(" ".join(reason.split()))[:_REASON_MAX])

    async def _exchange(
        self, url: Any, message: Message, headers: dict[str, str], until_s: float
    ) -> tuple[int, Answer]:
        import aiohttp

        assert self._session is not None, "open() comes before deliver()"
        remaining_s = until_s - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            raise asyncio.TimeoutError
        async with self._session.post(
            url,
            # Large ones go out in parts, so that they do not hold up all others.
            data=message.body if len(message.body) <= _WHOLE_MAX else io.BytesIO(message.body),
            headers=headers,
            allow_redirects=False,
            ssl=self._tls.context() if url.scheme == "https" else True,
            timeout=aiohttp.ClientTimeout(total=remaining_s),
        ) as response:
            body = await _beginning(response)
            head = "" if 200 <= response.status < 300 else self._hide(body.decode(errors="backslashreplace"))
            retry_after = response.headers.get("Retry-After")
            answer = answer_for(response.status, head, retry_after, now_s=self._now_s(), own=self._answers)
            return response.status, answer

    def _hide(self, text: str) -> str:
        """The text without secrets: a receiver may send back what it was sent, and errors may quote it."""
        for secrets_of in (self._url.secrets, self._headers.secrets, self._signer.texts):
            # One that cannot be read any more was not sent either.
            with suppress(UsageError):
                text = hide(text, secrets_of())
        return text

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """What a body begins with. It does not fail: the status has said what there is to say.

    A body that is read to its end leaves the connection to the next request. Any other is cut off with it.
    """
    import aiohttp

    content = response.content
    found = b""
    if content.at_eof():
        return found
    # Closing it wakes whoever reads, and costs no task.
    closing = asyncio.get_running_loop().call_later(_BODY_S, response.close)
    try:
        while len(found) < _BODY_MAX and not content.at_eof():
            found += await content.readany()
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
        response.close()
    finally:
        closing.cancel()
    if not content.at_eof():
        response.close()
    return found[:_BODY_MAX]
