"""The input `rabbitmq_queue`: a queue of RabbitMQ, by AMQP 0.9.1, whose messages go through the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Optional

from headway.basics.needed import needed, whole_in
from headway.basics.times import Duration
from headway.connectors.amqp_link import ANSWER_S, AmqpLink, transient_errors, translated
from headway.connectors.base import Input
from headway.connectors.server_url import AMQP, ServerUrl
from headway.errors import InputError, UsageError
from headway.formats.named import JSON, FormatLike
from headway.inbox.queues.base import BATCH, Consumer, Message, gathered
from headway.inbox.queues.source import MOST_WAITING, log_name, queue_source

__all__ = ["rabbitmq_queue"]


def rabbitmq_queue(
    url: str,
    queue: str,
    *,
    prefetch: int = 1_000,
    key: Optional[str] = None,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    window: Duration = "24h",
    window_keys: int = 500_000,
    most_waiting: int = MOST_WAITING,
    log: Optional[str] = None,
) -> Input:
    """Read a queue of RabbitMQ by way of the inbox: a message is acknowledged once it is durable in a log of the state.

    The queue has to be there. `prefetch` messages may be under way without an acknowledgement. A message that comes
    again, after a crash of the flow or of the server, is passed over by its property `message_id` and its body, within
    `window`; one without that property is then there twice. A publisher that gives equal bodies one id means one
    message by it. What the source's type does not take is a dead letter of the flow, and
    acknowledged: the queue does not hand it out for ever.

    The key of a message is its header `key`, or else its routing key; its headers are `hw.record_headers`, its
    timestamp the time, where it has one. A run without `--follow` takes what there is, and ends when nothing has come
    for a second. The other options are those of `queue_source`. `url` is `amqp://user:password@host:5672/vhost` or
    `amqps://...`, or where it stands: `env:RABBIT_URL`, `file:/path`. Needs the extra `rabbitmq`. Raises `UsageError`
    for an option that cannot be.

    >>> rabbitmq_queue("amqp://localhost", "orders").describe()
    'rabbitmq queue orders at localhost'
    """
    if not isinstance(queue, str) or not queue or len(queue.encode()) > 255:
        msg = f"rabbitmq_queue(..., {queue!r}): expected the name of a queue"
        raise UsageError(msg)
    whole_in("prefetch", prefetch, 1, 65_535)
    address = ServerUrl(url, "rabbitmq_queue(...)", AMQP)
    described = f"rabbitmq queue {queue} at {address.shown}"
    return queue_source(
        log or log_name("rabbitmq", queue),
        lambda: RabbitConsumer(address, queue, prefetch, key, described),
        format=format,
        window=window,
        window_keys=window_keys,
        most_waiting=most_waiting,
        described=described,
    )


class RabbitConsumer(Consumer):
    """Takes messages from one queue, in its order, and acknowledges them together."""

    def __init__(self, address: ServerUrl, queue: str, prefetch: int, key: Optional[str], described: str) -> None:
        needed("aio_pika", "rabbitmq", "hw.rabbitmq_queue(...)")
        self.transient = (*Consumer.transient, *transient_errors())
        self._address = address
        self._name = queue
        self._prefetch = prefetch
        self._key = key
        self._described = described
        self._acknowledged = 0
        """How many messages of this connection: the server numbers them from 1 on."""
        self._link: Optional[AmqpLink] = None
        self._acks: Any = None
        """What is under the channel, which acknowledges several messages with one frame."""
        self._come: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None:
        """Connect, and have messages sent."""
        from aio_pika.exceptions import ChannelNotFoundEntity

        come: asyncio.Queue[Any] = asyncio.Queue()
        self._come, self._acknowledged = come, 0
        # Held before it connects, so that `disconnect` ends also what is half made.
        self._link = link = AmqpLink(self._address, self._described)
        # Whoever waits hears that nothing comes any more.
        await link.open(confirms=False, lost=lambda: come.put_nowait(None))
        try:
            with translated(self._described):
                self._acks = await link.channel.get_underlay_channel()
                await link.channel.set_qos(prefetch_count=self._prefetch, timeout=ANSWER_S)
                queue = await link.channel.declare_queue(self._name, passive=True, timeout=ANSWER_S)
                await queue.consume(come.put, timeout=ANSWER_S)
        except ChannelNotFoundEntity as error:
            msg = f"there is no queue {self._name} yet: make it"
            raise ConnectionError(msg) from error

    async def take(self) -> Sequence[Message]:
        """What has come. In silence the queue is asked for: a connection that was cut says nothing."""
        found = await gathered(self._come, BATCH)
        if None in found:
            msg = "the connection has ended"
            raise ConnectionError(msg)
        if not found:
            assert self._link is not None
            with translated(self._described):
                await self._link.channel.declare_queue(self._name, passive=True, timeout=ANSWER_S)
        return list(map(self._message, found))

    async def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge all, with one frame where there is none before them that was not taken yet."""
        tags = [message.token for message in messages]
        is_whole = sorted(tags) == list(range(self._acknowledged + 1, self._acknowledged + 1 + len(tags)))
        with translated(self._described):
            for tag in [max(tags)] if is_whole else tags:
                await self._acks.basic_ack(tag, multiple=is_whole)
        self._acknowledged += len(tags)

    async def disconnect(self) -> None:
        """End the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def look(self) -> str:
        """How many messages are in the queue."""
        from aio_pika.exceptions import ChannelNotFoundEntity

        link = AmqpLink(self._address, self._described)
        try:
            await link.open(confirms=False, lost=lambda: None)
            with translated(self._described):
                queue = await link.channel.declare_queue(self._name, passive=True, timeout=ANSWER_S)
            return f"{queue.declaration_result.message_count:,} messages wait in the queue"
        except ChannelNotFoundEntity as error:
            msg = f"{self._described}: there is no queue {self._name} yet: make it"
            raise InputError(msg) from error
        finally:
            await link.close()

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._address.without_secrets(super().words(error))

    def _message(self, given: Any) -> Message:
        headers = [(name, _bytes_of(value)) for name, value in (given.headers or {}).items()]
        key = given.routing_key if self._key is None else dict(headers).get(self._key, b"").decode(errors="replace")
        time_ms = None if given.timestamp is None else int(given.timestamp.timestamp() * 1_000)
        return Message(bytes(given.body), given.message_id, key or None, headers, time_ms, given.delivery_tag)


def _bytes_of(value: Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else str(value).encode()
