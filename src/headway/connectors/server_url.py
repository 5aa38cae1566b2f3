"""The URL of a server, which may hold a user and a password."""

from __future__ import annotations

from typing import Final, Optional

from headway.basics.secret import Secret, hide
from headway.errors import UsageError

__all__ = ["AMQP", "MQTT", "REDIS", "STREAMS", "ServerUrl"]

AMQP: Final = ("amqp", "amqps")
MQTT: Final = ("mqtt", "mqtts")
REDIS: Final = ("redis", "rediss", "unix")
STREAMS: Final = ("rabbitmq-stream", "rabbitmq-stream+tls")
"""What URLs of a kind of server begin with."""


class ServerUrl:
    """A URL, or where it stands (`env:NAME`, `file:/path`). It may hold a password, and is shown without.

    Raises `UsageError`, beginning with `who`, for what is none of these schemes.

    >>> ServerUrl("redis://ann:swordfish@localhost:6379", "hw.redis_stream(...)", REDIS)
    <redis at localhost:6379>
    """

    def __init__(self, url: str, who: str, schemes: tuple[str, ...]) -> None:
        self._who = who
        self._schemes = schemes
        self._url = Secret(url, f"{schemes[0]} URL")
        if self._url.reference is None:
            self.read()

    @property
    def reference(self) -> Optional[str]:
        """Where it stands; None for one that was written down as it is."""
        return self._url.reference

    def read(self) -> str:
        """The URL. Raises `UsageError` for what is none."""
        url = self._url.one()
        begins = [f"{scheme}://" for scheme in self._schemes]
        if not url.startswith(tuple(begins)):
            *others, last = begins
            msg = f"{self._who}: expected a URL that begins with {', '.join(others)} or {last}"
            raise UsageError(msg)
        return url

    @property
    def shown(self) -> str:
        """Host and port, or where the URL stands."""
        return self._url.reference or self.read().partition("://")[2].rpartition("@")[2].partition("?")[0]

    def without_secrets(self, text: str) -> str:
        """A text without the password, by the URLs that were read so far. Never raises."""
        given = [url.partition("://")[2].rpartition("@")[0] for url in self._url.known()]
        return hide(text, [part for before in given for part in (before, before.partition(":")[2]) if part])

    def __repr__(self) -> str:
        return f"<{self._schemes[0]} at {self.shown}>"
