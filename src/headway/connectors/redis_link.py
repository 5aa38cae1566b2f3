"""A client of Redis that does each thing once, or says that it does not know whether it did."""

from __future__ import annotations

from typing import Any, Final

from headway.connectors.server_url import ServerUrl

__all__ = ["redis_client"]

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 10.0
"""Longer than any command of a source or a queue waits."""


def redis_client(address: ServerUrl, *, answer_s: float = _ANSWER_S) -> Any:
    """A `redis.asyncio.Redis`, which waits `answer_s` for an answer.

    Raises `UsageError` where the address cannot be read.

    It never sends a command again by itself: what was moved, removed or added, and whose answer was lost, would be so
    twice. Whoever uses it looks what is there instead, over a new connection.
    """
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis.from_url(
        address.read(),
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        protocol=2,
    )
