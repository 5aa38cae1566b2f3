"""The URL of a Redis, which may hold a password."""

from __future__ import annotations

from headway.basics.secret import Secret, hide
from headway.errors import UsageError

__all__ = ["RedisAddress"]


class RedisAddress:
    """A URL, which may hold a password: it is shown without."""

    def __init__(self, url: str, who: str) -> None:
        self._who = who
        self._url = Secret(url, "redis URL")
        if self._url.reference is None:
            self.read()

    def read(self) -> str:
        """The URL. Raises `UsageError` for what is none."""
        url = self._url.one()
        if not url.startswith(("redis://", "rediss://", "unix://")):
            msg = f"{self._who}: expected a URL that begins with redis://, rediss:// or unix://"
            raise UsageError(msg)
        return url

    @property
    def shown(self) -> str:
        """Host and port, or where the URL stands."""
        return self._url.reference or self.read().partition("://")[2].rpartition("@")[2].partition("?")[0]

    def without_secrets(self, text: str) -> str:
        """A text without the password."""
        before = self.read().partition("://")[2].rpartition("@")[0]
        return hide(text, [part for part in (before, before.partition(":")[2]) if part])

    def __repr__(self) -> str:
        return f"<Redis at {self.shown}>"
