"""A connection to a broker of MQTT 5, with `paho-mqtt`, for one event loop.

The client has a thread of its own, which calls back. Here its calls become futures and callbacks on the loop, and a
connection that has ended stays so: whoever uses it makes another one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Optional
from urllib.parse import unquote, urlsplit

from headway.connectors.answered import answered
from headway.connectors.server_url import ServerUrl
from headway.errors import InputError, UsageError

__all__ = ["MqttLink", "check_url"]

_CONNECT_S: Final = 5.0
_KEEP_ALIVE_S: Final = 15
_NO_REASON: Final = "Unspecified error"
_REFUSED: Final = ("Bad user name or password", "Not authorized", "Client identifier not valid", "Banned")


def check_url(url: ServerUrl) -> tuple[str, int, Optional[str], Optional[str], bool]:
    """Host, port, user, password and whether by TLS. Raises `UsageError`."""
    try:
        found = urlsplit(url.read())
        port = found.port
    except ValueError as error:
        msg = f"{url!r}: {url.without_secrets(str(error))}"
        raise UsageError(msg) from None
    is_tls = found.scheme == "mqtts"
    user = None if found.username is None else unquote(found.username)
    password = None if found.password is None else unquote(found.password)
    return found.hostname or "localhost", port or (8883 if is_tls else 1883), user, password, is_tls


def _subscription(qos: int) -> Any:
    """That retained messages come with a new subscription only, and not with each connection of a session."""
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)


class MqttLink:
    """One connection; made by `MqttLink.open`. `gone` is done when it has ended."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[str]] = {}
        """Those to what was published, by the numbers of packets."""

    @classmethod
    async def open(
        cls,
        url: ServerUrl,
        described: str,
        *,
        client_id: str = "",
        session_s: int = 0,
        receive_most: Optional[int] = None,
        on_message: Optional[Callable[[Any], None]] = None,
        subscriptions: tuple[tuple[str, int], ...] = (),
    ) -> MqttLink:
        """Connect and subscribe. With a `session_s` the broker keeps what comes for so long, in seconds.

        `on_message` is called on the loop; its messages have to be acknowledged by `ack`. Raises `InputError` for what
        does not end by itself, `OSError` or `asyncio.TimeoutError`.
        """
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        loop = asyncio.get_running_loop()
        host, port, user, password, is_tls = check_url(url)
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        if user is not None:
            client.username_pw_set(user, password)
        if is_tls:
            client.tls_set_context(ssl.create_default_context())
        link = cls(client)
        connected: asyncio.Future[str] = loop.create_future()
        subscribed: asyncio.Future[str] = loop.create_future()
        link._hear(connected, subscribed, on_message)
        about: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        about.SessionExpiryInterval = session_s
        if receive_most is not None:
            about.ReceiveMaximum = receive_most
        try:
            await loop.run_in_executor(
                None,
                lambda: client.connect(host, port, _KEEP_ALIVE_S, clean_start=session_s == 0, properties=about),
            )
            client.loop_start()
            reason = await link._first(connected)
            if reason in _REFUSED:
                msg = f"{described} refuses to let us in ({reason}): check user, password and client_id"
                raise InputError(msg)
            if reason:
                raise ConnectionError(reason)
            if subscriptions:
                client.subscribe([(topic, _subscription(qos)) for topic, qos in subscriptions])
                reason = await link._first(subscribed)
                if reason:
                    msg = f"{described} does not let us subscribe: {reason}"
                    raise InputError(msg)
        except ssl.SSLError as error:
            await link.close()
            msg = f"{described}: TLS fails: {error.reason or error}"
            raise InputError(msg) from error
        except BaseException:
            await link.close()
            raise
        return link

    async def publish(
        self, topic: str, value: bytes, properties: Sequence[tuple[str, str]], content_type: str, *, retain: bool
    ) -> str:
        """Publish at quality of service 1; returns when the broker has acknowledged it, empty, or why it refuses it.

        Raises `ConnectionError` when the connection ends before that.
        """
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        about: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        about.UserProperty = list(properties)
        about.ContentType = content_type
        sent = self.client.publish(topic, value, 1, retain, about)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # The answer is handed to this loop, so that it cannot be before what waits for it.
        self._answers[sent.mid] = answer
        try:
            return await answered(answer, self.gone)
        finally:
            self._answers.pop(sent.mid, None)

    async def close(self) -> None:
        """End the connection; the session stays with the broker, if it has an expiry."""
        client = self.client
        client.on_disconnect = client.on_message = None

        def end() -> None:
            with suppress(Exception):
                client.disconnect()
            client.loop_stop()

        await asyncio.get_running_loop().run_in_executor(None, end)

    async def _first(self, answer: asyncio.Future[str]) -> str:
        """The answer; a `ConnectionError` when the connection ends before it."""
        await asyncio.wait([answer, self.gone], timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if self.gone.done():
            raise ConnectionError(self.gone.result())
        raise asyncio.TimeoutError

    def _hear(
        self,
        connected: asyncio.Future[str],
        subscribed: asyncio.Future[str],
        on_message: Optional[Callable[[Any], None]],
    ) -> None:
        """Have the client's thread call back on the loop. An empty text says that all is well."""
        loop, client = asyncio.get_running_loop(), self.client

        def settle(future: asyncio.Future[str], reason: str) -> None:
            if not future.done():
                future.set_result(reason)

        def later(what: Callable[..., Any], *arguments: Any) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(what, *arguments)

        def on_subscribe(client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
            failed = [str(reason) for reason in reasons if reason.is_failure]
            later(settle, subscribed, ", ".join(failed))

        client.on_connect = lambda client, userdata, flags, reason, properties: later(
            settle, connected, str(reason) if reason.is_failure else ""
        )
        client.on_disconnect = lambda client, userdata, flags, reason, properties: later(
            settle, self.gone, "the connection has ended" + (f": {reason}" if str(reason) != _NO_REASON else "")
        )
        client.on_subscribe = on_subscribe

        def published(mid: int, reason: str) -> None:
            if (answer := self._answers.get(mid)) is not None:
                settle(answer, reason)

        client.on_publish = lambda client, userdata, mid, reason, properties: later(
            published, mid, str(reason) if reason.is_failure else ""
        )
        if on_message is not None:
            client.on_message = lambda client, userdata, message: later(on_message, message)
