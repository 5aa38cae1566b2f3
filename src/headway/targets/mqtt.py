"""Triggers to a topic of MQTT 5, by id, at quality of service 1.

A message is delivered when the broker has acknowledged it. MQTT knows no ids: one whose acknowledgement is lost is
published again, and is there twice, with the same id among its user properties. Quality of service 2 would not change
that, as it holds for one exchange between client and broker, and not over restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Optional

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.mqtt_link import MqttLink, check_url
from headway.connectors.server_url import MQTT, ServerUrl
from headway.connectors.wording import wording
from headway.errors import InputError, OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.cloudevents import attributes, percent_encoded
from headway.targets.connecting import Connecting
from headway.targets.limits import limits_of

__all__ = ["Mqtt", "to_mqtt"]

_OF_A_MESSAGE: Final = ("Packet too large", "Payload format invalid")
"""What is refused for what is in a message; all else is tried again."""


def to_mqtt(
    url: str,
    topic: str,
    *,
    retain: bool = False,
    concurrency: int = 64,
    rate: Optional[float] = None,
    timeout: Duration = "10s",
    name: Optional[str] = None,
) -> Mqtt:
    """Publish triggers to a topic of MQTT 5, in the order of their keys, each acknowledged by the broker.

    A message holds the value as JSON. The attributes of the CloudEvent are its user properties, as the MQTT binding of
    CloudEvents says, percent-encoded as in HTTP: receivers know by `id` what comes again. With `retain` the broker
    keeps the last one for who subscribes later. `url` is as for `hw.mqtt`. Needs the extra `mqtt`. Raises `UsageError`
    for an option that cannot be.

    >>> to_mqtt("mqtt://localhost", "carts/abandoned")
    <Mqtt mqtt localhost carts/abandoned>
    """
    if not isinstance(topic, str) or not topic or set(topic) & set("+#\0") or len(topic.encode()) > 65_535:
        msg = f"to_mqtt(..., {topic!r}): expected a topic without wildcards, such as 'carts/abandoned'"
        raise UsageError(msg)
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        timeout_least_ms=100,
    )
    address = ServerUrl(url, "to_mqtt(...)", MQTT)
    if address.reference is None:
        check_url(address)
    return Mqtt(address, topic, limits, retain=retain, name=name)


class Mqtt(Target):
    """A topic that takes triggers; made by `hw.to_mqtt`."""

    guarantee = Guarantee.BY_ID

    def __init__(
        self, address: ServerUrl, topic: str, limits: Limits, *, retain: bool = False, name: Optional[str] = None
    ) -> None:
        self.limits = limits
        self._address = address
        self._topic = topic
        self._retain = retain
        self._name = name or f"mqtt {address.shown} {topic}"
        self._link: Optional[MqttLink] = None
        self._connecting = Connecting(self._connect, lambda: self._link is not None and not self._link.gone.done())

    @property
    def name(self) -> str:
        """`mqtt`, the broker and the topic."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        needed("paho.mqtt", "mqtt", "hw.to_mqtt(...)")
        check_url(self._address)

    async def open(self) -> None:
        """Look whether the library is there; a connection is made when it is needed."""
        self.check()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Publish one trigger, and wait until the broker has acknowledged it."""
        [delivery] = batch
        try:
            await self._connecting.made()
            assert self._link is not None
            # Brokers end the connection for a control character in a property: keys may hold any.
            named = [(name, percent_encoded(value)) for name, value in attributes(delivery).items()]
            refused = await self._link.publish(
                self._topic, delivery.data, named, "application/json", retain=self._retain
            )
        except (InputError, OSError, asyncio.TimeoutError) as error:
            reason = wording(error)
            return [Answer(Outcome.RETRY, self._address.without_secrets(reason))]
        if not refused:
            return [DONE]
        outcome = Outcome.NEVER if refused in _OF_A_MESSAGE else Outcome.RETRY
        return [Answer(outcome, f"the broker refuses it: {refused}")]

    async def look(self) -> str:
        """Ask whether the broker lets us in."""
        try:
            await self._connecting.made()
        except (InputError, OSError, asyncio.TimeoutError) as error:
            reason = wording(error)
            raise OutputError(self._address.without_secrets(reason)) from error
        return "the broker lets us in"

    async def close(self) -> None:
        """End the connection."""
        await self._connecting.ended()
        await self._disconnect()

    async def _connect(self) -> None:
        await self._disconnect()
        try:
            self._link = await MqttLink.open(self._address, self._name)
        except UsageError as error:
            raise InputError(str(error)) from error

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
