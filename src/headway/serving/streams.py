"""Server-sent events: each new version of a key as an event, for clients that stay.

The id of an event is the version of what it tells, the ETag without quotes. A client that comes back with the last id
that it has got (`Last-Event-ID`, which browsers send by themselves) gets nothing as long as that is the newest, and
else the newest: versions in between are skipped, as they are for a client that is slow. Nothing is queued for a client
but what its connection holds; one that takes nothing for half a minute is cut, and may come back with its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headway.serving.answers import Freshness, KeyAnswer
from headway.serving.watching import Watchers
from headway.web.middleware import header
from headway.web.problems import Receive, Scope, Send

__all__ = ["stream_key"]

_QUIET_S: Final = 15.0
"""After this long without news a comment is sent, so that a connection that is gone is noticed."""
_STUCK_S: Final = 30.0


async def stream_key(
    scope: Scope,
    receive: Receive,
    send: Send,
    look: Callable[[], KeyAnswer],
    watchers: Watchers,
    view: str,
    key: str,
    fresh: Callable[[str], Freshness],
) -> None:
    """Send the versions of a key until the client has gone, or the server is about to end."""
    known = '"' + header(scope, b"last-event-id").decode("latin-1").strip().strip('"') + '"'
    found = look()
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _send(send, b"retry: 1000\n\n")
    gone = asyncio.ensure_future(_gone(receive))
    try:
        while not gone.done():
            if found.etag != known:
                known = found.etag
                await _send(send, _event(found, fresh(view)))
                found = look()  # It may have changed while the client took its time.
                continue
            news = asyncio.ensure_future(watchers.wait(view, key, known, _QUIET_S))
            await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                news.cancel()
                await asyncio.gather(news, return_exceptions=True)
                return
            later = news.result()
            if later is not None:
                found = later
            elif watchers.has_ended:
                break
            else:
                found = look()
                await _send(send, b":\n\n")
    finally:
        gone.cancel()
    await send({"type": "http.response.body", "body": b""})


def _event(found: KeyAnswer, fresh: Freshness) -> bytes:
    """One event; a body is JSON without line ends."""
    head = f"id: {found.etag[1:-1]}\nevent: {found.event}\nepoch: {fresh.epoch}\ndata: "
    return head.encode() + found.body + b"\n\n"


async def _send(send: Send, data: bytes) -> None:
    """Send a part; raises `ConnectionResetError` when the client takes nothing for long."""
    try:
        await asyncio.wait_for(send({"type": "http.response.body", "body": data, "more_body": True}), _STUCK_S)
    except asyncio.TimeoutError:
        raise ConnectionResetError from None


async def _gone(receive: Receive) -> None:
    """Return once the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
