"""Connections to a receiver that are kept for the next request.

One that has something unread in it is not used again. A receiver may say more than it was asked: a second answer, or
the `408` and `400` with which many servers take leave of a connection that is idle. The client would take that for the
answer to its next request, and a trigger would count as taken, or as refused, that nobody has seen. aiohttp looks when
a connection is put back, and not when it is taken; what comes in between is found here. It costs one system call a
request.

What comes at the very moment at which a request is sent cannot be told from its answer: HTTP/1.1 has no numbers.
"""

from __future__ import annotations

import select
from typing import Any, Optional

import aiohttp
from aiohttp.connector import Connection
from typing_extensions import override

__all__ = ["Pool"]


class Pool(aiohttp.TCPConnector):
    """A pool of connections. Use it as `aiohttp.ClientSession(connector=...)`."""

    @override
    async def _get(self, key: Any, traces: Any) -> Optional[Connection]:
        while (connection := await super()._get(key, traces)) is not None:
            if not _is_saying_something(connection):
                return connection
            connection.close()
        return None


def _is_saying_something(connection: Connection) -> bool:
    """Whether something is there to be read, in memory or on the wire; also the end of what there will ever be."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return True
    wire = select.poll()
    wire.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(wire.poll(0))
