"""Triggers into a stream of NATS JetStream, by id: the stream drops what comes again within its window.

A message is acknowledged when the stream has it. One whose acknowledgement is lost is sent again with the same
`Nats-Msg-Id`, and the stream knows it for as long as its `duplicate_window`, two minutes by default; what comes again
later is there twice, with the same id.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final, Optional, Union

from headway.basics.times import Duration
from headway.connectors.nats_servers import NatsLink, NatsServers
from headway.errors import OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import attributes, percent_encoded
from headway.targets.connecting import Connecting
from headway.targets.limits import limits_of

__all__ = ["Nats", "to_nats"]

_SUBJECT: Final = re.compile(r"[^\s*>.]+(\.[^\s*>.]+)*")


def to_nats(
    servers: Union[str, Sequence[str]],
    subject: str,
    *,
    concurrency: int = 256,
    rate: Optional[float] = None,
    timeout: Duration = "10s",
    token: Optional[str] = None,
    user: Optional[str] = None,
    password: Optional[str] = None,
    credentials: Optional[str] = None,
    name: Optional[str] = None,
) -> Nats:
    """Publish triggers to a subject that a stream of NATS JetStream takes, in the order of their keys.

    A message holds the value as JSON; the attributes of the CloudEvent are headers `ce-*`, and its id is the
    `Nats-Msg-Id` too, by which the stream drops what comes again within its window. Access is as for `hw.nats`. Needs
    the extra `nats`. Raises `UsageError` for an option that cannot be.

    >>> to_nats("nats://localhost:4222", "carts.abandoned")
    <Nats nats localhost:4222 carts.abandoned>
    """
    at = NatsServers("hw.to_nats(...)", servers, token=token, user=user, password=password, credentials=credentials)
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        msg = f"to_nats(..., {subject!r}): expected a subject without wildcards, such as 'carts.abandoned'"
        raise UsageError(msg)
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        timeout_least_ms=100,
    )
    return Nats(at, subject, limits, name)


class Nats(Target):
    """A subject that takes triggers; made by `hw.to_nats`."""

    guarantee = Guarantee.BY_ID

    def __init__(self, servers: NatsServers, subject: str, limits: Limits, name: Optional[str] = None) -> None:
        self.limits = limits
        self._servers = servers
        self._subject = subject
        self._name = name or f"nats {servers.shown} {subject}"
        self._link: Optional[NatsLink] = None
        self._stream: Any = None
        self._connecting = Connecting(self._connect, lambda: self._link is not None and self._link.is_open)

    @property
    def name(self) -> str:
        """`nats`, the servers and the subject."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the secrets are there."""
        self._servers.check()

    async def open(self) -> None:
        """Look whether the library is there; a connection is made when it is needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Publish one trigger, and wait until the stream has it."""
        import nats.errors
        import nats.js.errors

        [delivery] = batch
        headers = {f"ce-{what}": percent_encoded(value) for what, value in attributes(delivery).items()}
        headers |= {"Nats-Msg-Id": delivery.id, "Content-Type": "application/json"}
        try:
            await self._connecting.made()
            await self._publish(delivery.data, headers)
        except nats.errors.MaxPayloadError:
            told = f"{len(delivery.data)} bytes are more than the server takes: raise its max_payload"
            return [Answer(Outcome.NEVER, told)]
        except nats.js.errors.NoStreamResponseError:
            return [Answer(Outcome.RETRY, f"no stream takes the subject {self._subject}: add it to one")]
        except (nats.errors.Error, UsageError, OSError, asyncio.TimeoutError) as error:
            return [Answer(Outcome.RETRY, self._servers.words(error))]
        return [DONE]

    async def _publish(self, data: bytes, headers: dict[str, str]) -> None:
        link, stream = self._link, self._stream
        if link is None:
            msg = "the connection has ended"
            raise ConnectionError(msg)
        await link.ask(stream.publish(self._subject, data, timeout=self.limits.timeout_s, headers=headers))

    async def look(self) -> str:
        """Ask which stream takes the subject."""
        import nats.errors
        import nats.js.errors

        try:
            await self._connecting.made()
            assert self._link is not None
            name = await self._link.ask(self._stream.find_stream_name_by_subject(self._subject))
        except nats.js.errors.NotFoundError as error:
            msg = f"no stream takes the subject {self._subject}: add it to one"
            raise OutputError(msg) from error
        except (nats.errors.Error, UsageError, OSError, asyncio.TimeoutError) as error:
            raise OutputError(self._servers.words(error)) from error
        return f"the stream {name} takes the subject"

    async def close(self) -> None:
        """End the client."""
        await self._connecting.ended()
        await self._disconnect()

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _connect(self) -> None:
        await self._disconnect()
        self._link = await self._servers.connect()
        self._stream = self._link.client.jetstream()
