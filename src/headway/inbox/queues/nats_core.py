"""The input `nats_core`: subjects of NATS without JetStream, whose messages go through the inbox, at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Optional, Union

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.base import Input
from headway.connectors.nats_servers import NatsLink, NatsServers
from headway.errors import UsageError
from headway.formats.named import JSON, FormatLike
from headway.inbox.queues.base import BATCH, Consumer, Losses, Message, gathered
from headway.inbox.queues.source import MOST_WAITING, log_name, queue_source

__all__ = ["nats_core"]

_PENDING_BYTES: Final = 64 << 20
"""What may wait in memory, of all subjects."""
_PENDING_MESSAGES: Final = 100_000
"""The same of each subject, in messages."""


def nats_core(
    servers: Union[str, Sequence[str]],
    *subjects: str,
    group: str = "",
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    window: Duration = "24h",
    window_keys: int = 500_000,
    most_waiting: int = MOST_WAITING,
    log: Optional[str] = None,
    token: Optional[str] = None,
    user: Optional[str] = None,
    password: Optional[str] = None,
    credentials: Optional[str] = None,
) -> Input:
    """Read subjects of NATS, which keeps nothing: a message is in the flow at most once.

    What is published while no run is connected is gone, and so is what has come and is not durable in the inbox when
    the flow is killed; what is durable is in the flow exactly once. What comes faster than it can be made durable waits
    in memory, 64 MiB or 100,000 messages of each subject at most; what comes then is lost, counted, and told. Where
    that is not enough, publish to a stream and read it by `hw.nats`. With `group` several flows, or other services,
    share the messages. The key of a message is its subject; one with the header `Nats-Msg-Id` is passed over when it
    comes again with the same data within `window`. The other options are those of `queue_source`, access is as for
    `hw.nats`. Needs the extra `nats`. Raises `UsageError` for an option that cannot be.

    >>> nats_core("nats://localhost:4222", "carts.>").describe()
    'nats subject carts.> at localhost:4222'
    """
    at = NatsServers("hw.nats_core(...)", servers, token=token, user=user, password=password, credentials=credentials)
    if not subjects or len(set(subjects)) < len(subjects) or not all(isinstance(one, str) and one for one in subjects):
        msg = f"nats_core(..., {', '.join(map(repr, subjects))}): expected subjects, each of them once"
        raise UsageError(msg)
    described = f"nats subject{'s' if len(subjects) > 1 else ''} {', '.join(subjects)} at {at.shown}"
    return queue_source(
        log or log_name("nats", *subjects),
        lambda: NatsConsumer(at, subjects, group, described),
        format=format,
        window=window,
        window_keys=window_keys,
        most_waiting=most_waiting,
        described=described,
    )


class NatsConsumer(Consumer):
    """Subscribes to subjects; there is nothing to acknowledge."""

    def __init__(self, servers: NatsServers, subjects: Sequence[str], group: str, described: str) -> None:
        needed("nats", "nats", "hw.nats_core(...)")
        import nats.errors

        self.transient = (*Consumer.transient, nats.errors.Error)
        self._servers = servers
        self._subjects = subjects
        self._group = group
        self._described = described
        self._link: Optional[NatsLink] = None
        self._come: asyncio.Queue[Any] = asyncio.Queue(BATCH)
        self._lost = Losses(self.tell, "")

    async def connect(self) -> None:
        """Connect and subscribe."""
        self._come = asyncio.Queue(BATCH)
        self._lost = Losses(self.tell, "messages were lost: they came faster than they can be made durable")
        self._link = link = await self._servers.connect_to_read(self._described, self._met)
        for subject in self._subjects:
            await link.client.subscribe(
                subject,
                queue=self._group,
                cb=self._come.put,
                pending_msgs_limit=_PENDING_MESSAGES,
                pending_bytes_limit=_PENDING_BYTES // len(self._subjects),
            )
        await link.ask(link.client.flush(timeout=5))

    async def take(self) -> Sequence[Message]:
        """What has come. In silence the server is asked whether it is there."""
        found = await gathered(self._come, BATCH)
        if not found:
            link = self._link
            if link is None or not link.is_open:
                msg = "the connection has ended"
                raise ConnectionError(msg)
            await link.ask(link.client.flush(timeout=5))
        return [_message(one) for one in found]

    async def done(self, messages: Sequence[Message]) -> None:
        """NATS has forgotten them already."""

    async def disconnect(self) -> None:
        """End the client."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self._lost.end()

    async def look(self) -> str:
        """Which server it is."""
        link = await self._servers.connect_to_read(self._described)
        version = link.client.connected_server_version
        await link.close()
        return f"NATS {version.major}.{version.minor}.{version.patch} lets us in"

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._servers.words(error)

    def _met(self, error: Exception) -> None:
        """The client says what is wrong beside what is asked of it, such as that it has dropped a message."""
        import nats.errors

        if isinstance(error, nats.errors.SlowConsumerError):
            self._lost.add()


def _message(given: Any) -> Message:
    headers = given.headers or {}
    pairs = [(name, value.encode()) for name, value in headers.items()]
    return Message(given.data, headers.get("Nats-Msg-Id"), given.subject, pairs)
