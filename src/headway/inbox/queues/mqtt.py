"""The input `mqtt`: topics of MQTT 5, at quality of service 1, whose messages go through the inbox.

The session stays with the broker under the client's id: what comes while no run is connected waits there, and what
was not acknowledged comes again. Messages of MQTT have no id of their own that survives that. So those count twice that
were durable and not acknowledged when the flow was killed, unless the publisher has given them an id as a property.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Optional

from headway.basics.needed import length_ms_in, needed, whole_in
from headway.basics.times import Duration
from headway.connectors.base import Input
from headway.connectors.mqtt_link import MqttLink, check_url
from headway.connectors.server_url import MQTT, ServerUrl
from headway.errors import InputError, UsageError
from headway.formats.named import JSON, FormatLike
from headway.inbox.queues.base import BATCH, Consumer, Losses, Message, gathered
from headway.inbox.queues.source import MOST_WAITING, log_name, queue_source

__all__ = ["mqtt"]

_EXPIRY_MOST_S: Final = 0xFFFF_FFFE
_WAITING_MOST: Final = 100_000
_WAITING_BYTES_MOST: Final = 64 << 20


def mqtt(
    url: str,
    *topics: str,
    client_id: str,
    qos: int = 1,
    prefetch: int = 1_000,
    session: Duration = "7d",
    id_property: str = "id",
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    window: Duration = "24h",
    window_keys: int = 500_000,
    most_waiting: int = MOST_WAITING,
    log: Optional[str] = None,
) -> Input:
    """Read topics of MQTT 5 by way of the inbox: a message is acknowledged once it is durable in a log of the state.

    The broker knows the flow by `client_id`, which no other client may have, and keeps for `session` what comes while
    no run is connected. `prefetch` messages may be under way without an acknowledgement. A message that comes again,
    after a crash, is passed over by its user property `id_property` (with the property `source`, as CloudEvents have
    both) and its payload within `window`; one without the property is then there twice. A publisher that gives equal
    payloads one id means one message by it. `qos=0` asks for no acknowledgements: at most once. Of messages that need
    none, some 64 MiB may wait in memory, or 100,000; what comes then is lost, counted, and told.

    The key of a message is its topic; its user properties are `hw.record_headers`. Topics may have the wildcards `+`
    and `#`. A retained message comes once for each session, when it subscribes first. The other options are those of
    `queue_source`. `url` is `mqtt://user:password@host:1883` or `mqtts://...`, or where it stands: `env:MQTT_URL`,
    `file:/path`. Needs the extra `mqtt`. Raises `UsageError` for an option that cannot be.

    >>> mqtt("mqtt://localhost", "carts/#", client_id="shop-flow").describe()
    'mqtt topic carts/# at localhost'
    """
    if not topics or len(set(topics)) < len(topics) or not all(isinstance(one, str) and one for one in topics):
        msg = f"mqtt(..., {', '.join(map(repr, topics))}): expected topics, each of them once"
        raise UsageError(msg)
    if not isinstance(client_id, str) or not client_id:
        msg = f"mqtt(..., client_id={client_id!r}): expected a name that no other client of the broker has"
        raise UsageError(msg)
    whole_in("qos", qos, 0, 1)
    whole_in("prefetch", prefetch, 1, 65_535)
    session_s = length_ms_in("session", session, 1_000, _EXPIRY_MOST_S * 1_000) // 1_000
    address = ServerUrl(url, "mqtt(...)", MQTT)
    if address.reference is None:
        check_url(address)
    described = f"mqtt topic{'s' if len(topics) > 1 else ''} {', '.join(topics)} at {address.shown}"
    asked = tuple((topic, qos) for topic in topics)
    return queue_source(
        log or log_name("mqtt", client_id),
        lambda: MqttConsumer(address, asked, client_id, prefetch, session_s, id_property, described),
        format=format,
        window=window,
        window_keys=window_keys,
        most_waiting=most_waiting,
        described=described,
    )


class MqttConsumer(Consumer):
    """Takes messages of a session, and acknowledges each."""

    def __init__(
        self,
        address: ServerUrl,
        topics: tuple[tuple[str, int], ...],
        client_id: str,
        prefetch: int,
        session_s: int,
        id_property: str,
        described: str,
    ) -> None:
        needed("paho.mqtt", "mqtt", "hw.mqtt(...)")
        self._address = address
        self._topics = topics
        self._client_id = client_id
        self._prefetch = prefetch
        self._session_s = session_s
        self._id_property = id_property
        self._described = described
        self._link: Optional[MqttLink] = None
        self._come: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting_bytes = 0
        self._lost = Losses(self.tell, "")

    async def connect(self) -> None:
        """Take up the session."""
        come = self.begin()
        try:
            self._link = await MqttLink.open(
                self._address,
                self._described,
                client_id=self._client_id,
                session_s=self._session_s,
                receive_most=self._prefetch,
                on_message=self.came,
                subscriptions=self._topics,
            )
        except UsageError as error:
            raise InputError(str(error)) from error
        self._link.gone.add_done_callback(lambda gone: come.put_nowait(None))

    def begin(self) -> asyncio.Queue[Any]:
        """Nothing has come yet; returns where it will be."""
        self._come, self._waiting_bytes = asyncio.Queue(), 0
        self._lost = Losses(self.tell, "messages at quality of service 0 were lost: they came faster than is durable")
        return self._come

    async def take(self) -> Sequence[Message]:
        """What has come. The client itself asks the broker in silence."""
        found = await gathered(self._come, BATCH)
        if None in found:
            msg = "the connection has ended"
            raise ConnectionError(msg)
        self._waiting_bytes -= sum(len(message.payload) for message in found)
        return list(map(self._message, found))

    async def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge each one."""
        assert self._link is not None
        for message in messages:
            if message.token is not None:
                self._link.client.ack(*message.token)

    async def disconnect(self) -> None:
        """End the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self._lost.end()

    async def look(self) -> str:
        """Whether the broker lets us in; under no name, as a session is taken away from whoever has it."""
        try:
            link = await MqttLink.open(self._address, self._described)
        except UsageError as error:
            raise InputError(str(error)) from error
        await link.close()
        return "the broker lets us in"

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._address.without_secrets(super().words(error))

    def came(self, message: Any) -> None:
        """A message has come. Of those that need an answer no more than `prefetch` come: the broker keeps the rest."""
        is_full = self._come.qsize() >= _WAITING_MOST or self._waiting_bytes >= _WAITING_BYTES_MOST
        if message.qos == 0 and is_full:
            self._lost.add()
            return
        self._waiting_bytes += len(message.payload)
        self._come.put_nowait(message)

    def _message(self, given: Any) -> Message:
        properties = list(getattr(given.properties, "UserProperty", []))
        named = dict(properties)
        identity = named.get(self._id_property)
        if identity is not None:
            identity = f"{named.get('source', '')}|{identity}"
        headers = [(name, value.encode()) for name, value in properties]
        token = (given.mid, given.qos) if given.qos else None
        return Message(given.payload, identity, given.topic, headers, None, token)
