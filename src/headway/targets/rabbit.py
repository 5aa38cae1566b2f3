"""Triggers to an exchange of RabbitMQ, by AMQP 0.9.1 and by id: confirmed, persistent, and refused where no queue is.

The server confirms a message when its queues have it. It has no memory of ids: one whose confirmation is lost is
published again, and is there twice, with the same `message_id`. A message that no queue takes is confirmed all the
same, unless it is *mandatory*: then it is returned before, which is an error here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.amqp_link import AmqpLink, transient_errors, translated
from headway.connectors.server_url import AMQP, ServerUrl
from headway.connectors.wording import wording
from headway.errors import InputError, OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import attributes
from headway.targets.connecting import Connecting
from headway.targets.limits import limits_of

__all__ = ["Rabbit", "to_rabbitmq"]

_MESSAGE_MOST: Final = 128 << 20
"""Bytes: what RabbitMQ takes by default, and never more."""


def to_rabbitmq(
    url: str,
    routing_key: str,
    *,
    exchange: str = "",
    concurrency: int = 256,
    rate: Optional[float] = None,
    timeout: Duration = "10s",
    name: Optional[str] = None,
) -> Rabbit:
    """Publish triggers to an exchange of RabbitMQ, in the order of their keys; without `exchange` to a queue by name.

    A message is persistent. It holds the value as JSON; its `message_id` is the trigger's id, and the attributes of the
    CloudEvent are headers `cloudEvents:id`, `cloudEvents:type` and so on. It counts as delivered when the server has
    confirmed it, and has to be taken by at least one queue: else it is tried again, with the reason told. `url` is as
    for `hw.rabbitmq_queue`. Needs the extra `rabbitmq`. Raises `UsageError` for an option that cannot be.

    >>> to_rabbitmq("amqp://localhost", "abandoned-carts")
    <Rabbit rabbitmq localhost abandoned-carts>
    """
    for what, value in (("routing_key", routing_key), ("exchange", exchange)):
        if not isinstance(value, str) or len(value.encode()) > 255:
            msg = f"to_rabbitmq(..., {what}={value!r}): expected a text of up to 255 bytes"
            raise UsageError(msg)
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        timeout_least_ms=100,
    )
    return Rabbit(ServerUrl(url, "to_rabbitmq(...)", AMQP), exchange, routing_key, limits, name)


class Rabbit(Target):
    """An exchange that takes triggers; made by `hw.to_rabbitmq`."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self, address: ServerUrl, exchange: str, routing_key: str, limits: Limits, name: Optional[str] = None
    ) -> None:
        self.limits = limits
        self._address = address
        self._exchange = exchange
        self._routing_key = routing_key
        where = " ".join(part for part in (exchange, routing_key) if part)
        self._name = name or f"rabbitmq {address.shown} {where}"
        self._link: Optional[AmqpLink] = None
        self._to: Any = None
        self._connecting = Connecting(self._connect, lambda: self._link is not None and self._link.is_open)

    @property
    def name(self) -> str:
        """`rabbitmq`, the server, the exchange and the routing key."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        needed("aio_pika", "rabbitmq", "hw.to_rabbitmq(...)")
        self._address.read()

    async def open(self) -> None:
        """Look whether the library is there; a connection is made when it is needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Publish one trigger, and wait until the server has confirmed it."""
        from aio_pika.exceptions import DeliveryError, PublishError

        transient = _transient()
        [delivery] = batch
        if len(delivery.data) > _MESSAGE_MOST:
            return [Answer(Outcome.NEVER, f"{len(delivery.data)} bytes are more than the server takes")]
        try:
            with translated(self._name):
                await self._connecting.made()
                await self._to.publish(
                    _message(delivery), self._routing_key, mandatory=True, timeout=self.limits.timeout_s
                )
        except PublishError:
            where = f"the exchange {self._exchange}" if self._exchange else "the default exchange"
            return [self._retry(f"no queue takes it: {where} has none for the routing key {self._routing_key!r}")]
        except DeliveryError:
            return [self._retry("the server does not take it: a queue is full, or cannot store it")]
        except InputError as error:
            return [self._retry(str(error))]
        except transient as error:
            return [self._retry(self._words(error))]
        return [DONE]

    async def look(self) -> str:
        """Ask whether the exchange, or the queue that is named, is there."""
        transient = _transient()
        try:
            with translated(self._name):
                await self._connecting.made()
                if self._exchange:
                    return f"the exchange {self._exchange} is there"
                assert self._link is not None
                queue = await self._link.channel.get_queue(self._routing_key, ensure=True)
        except InputError as error:
            raise OutputError(str(error)) from error
        except transient as error:
            raise OutputError(self._words(error)) from error
        return f"the queue {queue.name} has {queue.declaration_result.message_count} messages"

    async def close(self) -> None:
        """End the connection."""
        await self._connecting.ended()
        await self._disconnect()

    def _retry(self, reason: str) -> Answer:
        return Answer(Outcome.RETRY, self._address.without_secrets(reason))

    def _words(self, error: BaseException) -> str:
        return self._address.without_secrets(wording(error))

    async def _connect(self) -> None:
        await self._disconnect()
        self._link = link = AmqpLink(self._address, self._name)
        await link.open(confirms=True)
        with translated(self._name):
            self._to = (
                await link.channel.get_exchange(self._exchange, ensure=True)
                if self._exchange
                else link.channel.default_exchange
            )

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


def _transient() -> tuple[type[BaseException], ...]:
    return (*transient_errors(), OSError, asyncio.TimeoutError)


def _message(delivery: Delivery) -> Any:
    import aio_pika

    return aio_pika.Message(
        delivery.data,
        message_id=delivery.id,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/json",
        type=delivery.type,
        timestamp=datetime.fromtimestamp(max(delivery.time_ms, 0) / 1_000, timezone.utc),
        headers={f"cloudEvents:{name}": value for name, value in attributes(delivery).items()},
    )
