"""How targets write to Redis: a script, which the server runs as a whole, over a client that never asks twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.basics.needed import needed
from headway.connectors.redis_link import redis_client
from headway.connectors.server_url import ServerUrl
from headway.errors import UsageError

__all__ = ["RedisScript"]


class RedisScript:
    """A script of a server, which may take `timeout_s`.

    `who` is the call of the user by which it was made, such as `hw.to_redis_hash(...)`.
    """

    def __init__(self, address: ServerUrl, text: str, who: str, timeout_s: float) -> None:
        self.address = address
        self.client: Any = None
        """A `redis.asyncio.Redis`, once it is open."""
        self._text = text
        self._who = who
        self._timeout_s = timeout_s
        self._script: Any = None
        self._url = ""

    def check(self) -> None:
        """Look whether the library and the URL are there. Raises `UsageError`."""
        needed("redis", "redis", self._who)
        self.address.read()

    def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        self.check()
        self._connect()

    def _connect(self) -> None:
        self._url = self.address.read()
        self.client = redis_client(self.address, answer_s=self._timeout_s)
        self._script = self.client.register_script(self._text)

    async def _renew(self) -> None:
        """Take another client where the URL is another one by now, such as one with a new password."""
        try:
            is_same = self.address.read() == self._url
        except UsageError:  # A file may be gone for a moment: the server may still let us in as before.
            return
        if not is_same:
            before = self.client
            self._connect()
            await before.aclose()

    async def run(self, keys: Sequence[str], given: Sequence[Any]) -> Any:
        """What the script answers. Raises `redis.exceptions.RedisError`."""
        await self._renew()
        return await self._script(keys=keys, args=given)

    async def close(self) -> None:
        """End the client."""
        client, self.client = self.client, None
        if client is not None:
            await client.aclose()

    def reason(self, error: Exception) -> str:
        """What an error says, in one line and without the password."""
        import redis.exceptions

        if isinstance(error, redis.exceptions.AuthenticationError):
            return "it refuses to let us in: check user and password in the URL"
        return self.address.without_secrets(" ".join(str(error).split())) or type(error).__name__
