"""The input `redis_list`: a list of Redis as a queue, whose elements go through the inbox.

An element is moved to a second list, the *processing list*, in one step, and removed there once it is durable. Elements
have no ids. So they are numbered: a hash beside the list counts those that were removed, in the step that removes them,
and the n-th element of the processing list has the number of removed ones and n more. After a crash the processing list
is read first; what of it is durable already has the same number, and the inbox passes it over.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.basics.times import Duration
from headway.connectors.base import Input
from headway.connectors.redis_link import redis_client
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import InputError, UsageError
from headway.formats.named import JSON, FormatLike
from headway.inbox.queues.base import BATCH, QUIET_S, Consumer, Message
from headway.inbox.queues.source import MOST_WAITING, log_name, queue_source

__all__ = ["redis_list"]

_NUMBERS: Final = "removed"
_IDENTITY: Final = "identity"


def redis_list(
    url: str,
    key: str,
    *,
    processing: Optional[str] = None,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    window: Duration = "24h",
    window_keys: int = 500_000,
    most_waiting: int = MOST_WAITING,
    log: Optional[str] = None,
) -> Input:
    """Read a list of Redis as a queue, by way of the inbox: elements that are pushed by LPUSH, the oldest one first.

    An element is moved (BLMOVE) to the list `processing`, `{key}:headway` by default, and removed there once it is
    durable in a log of the state. What a crash leaves in that list is read again, and what of it was durable is known
    by its number and passed over, within `window`. One flow reads a list, as the only one with this processing list;
    the count of elements is in the hash `{key}:headway:count`. A flow that begins with a new state directory reads what
    is left in the processing list as well. The other options are those of `queue_source`. `url` is as for
    `redis_stream`. Needs the extra `redis`, and Redis 6.2. Raises `UsageError` for an option that cannot be.

    >>> redis_list("redis://localhost:6379", "orders").describe()
    'redis list orders at localhost:6379'
    """
    for what, name in (("key", key), ("processing", processing)):
        if name is not None and (not isinstance(name, str) or not name):
            msg = f"redis_list(..., {what}={name!r}): expected the key of a list"
            raise UsageError(msg)
    if processing == key:
        msg = f"redis_list(..., processing={processing!r}): expected another list than that which is read"
        raise UsageError(msg)
    address = ServerUrl(url, "redis_list(...)", REDIS)
    described = f"redis list {key} at {address.shown}"
    return queue_source(
        log or log_name("redis", key),
        lambda: RedisListConsumer(address, key, processing or f"{{{key}}}:headway", described),
        format=format,
        window=window,
        window_keys=window_keys,
        most_waiting=most_waiting,
        described=described,
    )


class RedisListConsumer(Consumer):
    """Moves elements to the processing list, and removes them there."""

    def __init__(self, address: ServerUrl, key: str, processing: str, described: str) -> None:
        needed("redis", "redis", "hw.redis_list(...)")
        import redis.exceptions

        self.transient = (
            *Consumer.transient,
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.BusyLoadingError,
        )
        self._address = address
        self._key = key
        self._processing = processing
        self._count = f"{{{key}}}:headway:count"
        self._described = described
        self._client: Any = None
        self._identity = ""
        self._next = 0
        """The number of the element that is moved next."""
        self._left: list[bytes] = []
        """What an earlier run, or connection, has moved and not removed."""

    async def connect(self) -> None:
        """Connect, and look what is in the processing list."""
        import redis.exceptions

        try:
            self._client = redis_client(self._address)
            client: Any = self._client
            await client.hsetnx(self._count, _IDENTITY, uuid.uuid4().hex)
            found = await client.hmget(self._count, [_IDENTITY, _NUMBERS])
            self._identity, self._next = found[0].decode(), int(found[1] or 0)
            # The oldest one is at the right end.
            self._left = (await client.lrange(self._processing, 0, -1))[::-1]
        except redis.exceptions.AuthenticationError as error:
            raise self._refused() from error
        except redis.exceptions.ResponseError as error:
            raise self._wrong(error) from error
        except UsageError as error:
            raise InputError(str(error)) from error

    async def take(self) -> Sequence[Message]:
        """What was left first; then what can be moved, waiting for the first one."""
        import redis.exceptions

        if self._left:
            taken, self._left = self._left[:BATCH], self._left[BATCH:]
            return self._numbered(taken)
        try:
            first = await self._client.blmove(self._key, self._processing, QUIET_S, "RIGHT", "LEFT")
            if first is None:
                return []
            pipeline = self._client.pipeline(transaction=False)
            waiting = min(BATCH - 1, await self._client.llen(self._key))
            for _ in range(waiting):
                pipeline.lmove(self._key, self._processing, "RIGHT", "LEFT")
            rest = await pipeline.execute() if waiting else []
        except redis.exceptions.ResponseError as error:
            raise self._wrong(error) from error
        return self._numbered([first, *(element for element in rest if element is not None)])

    async def done(self, messages: Sequence[Message]) -> None:
        """Remove them from the processing list, and count them, in one step."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.rpop(self._processing, len(messages))
        pipeline.hincrby(self._count, _NUMBERS, len(messages))
        await pipeline.execute()

    async def disconnect(self) -> None:
        """End the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def look(self) -> str:
        """How many elements are in both lists."""
        import redis.exceptions

        try:
            client = redis_client(self._address)
            try:
                waiting, left = await client.llen(self._key), await client.llen(self._processing)
            finally:
                await client.aclose()
        except redis.exceptions.AuthenticationError as error:
            raise self._refused() from error
        except redis.exceptions.ResponseError as error:
            raise self._wrong(error) from error
        except UsageError as error:
            raise InputError(str(error)) from error
        return f"{waiting:,} elements wait in the list" + (f", {left:,} in the processing list" if left else "")

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._address.without_secrets(super().words(error))

    def _numbered(self, elements: Sequence[bytes]) -> list[Message]:
        first, self._next = self._next, self._next + len(elements)
        return [Message(element, f"{self._identity}/{number}") for number, element in enumerate(elements, start=first)]

    def _refused(self) -> InputError:
        return InputError(f"{self._described} refuses to let us in: check user and password in the URL")

    def _wrong(self, error: Exception) -> InputError:
        return InputError(
            f"{self._described}: {self.words(error)}; {self._key} and {self._processing} have to be lists, and "
            f"{self._count} belongs to Headway"
        )
