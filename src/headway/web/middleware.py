"""What stands before the application of a server: who may ask, how much at once, and how large.

`guarded` wraps any ASGI application, in this order, each before a byte of the body is read:

1. 503 while the server drains, so that a proxy or a client turns to another one.
2. 421 for a `Host` that is none of its own. A page in a browser can make a name of its own lead to 127.0.0.1 ("DNS
   rebinding") and then ask as if it were of the same origin; but the name stays in the header.
3. 401 without a bearer token, where tokens are asked for.
4. 429 with `Retry-After` when as many requests are under way as may be.
5. 413 for a declared size above the limit; and, while the body is read, for an actual one.

Whoever comes by a socket in the file system was let in by its rights: neither the host nor a token is asked for.
`/healthz` and `/readyz` are answered here, without a token: 200 as long as the process lives, and 503 where it should
get no requests. Slow and idle connections are the business of `headway.web.connections`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Optional

from headway.web.addresses import Address
from headway.web.problems import App, ProblemError, Receive, Scope, Send, answer
from headway.web.tokens import Tokens

__all__ = ["Gate", "guarded", "header", "host_names", "read_body"]

log = logging.getLogger("headway")

RETRY_AFTER_S: Final = 1
_JSON: Final = b"application/json"


@dataclass
class Gate:
    """What a server's process and its application share: whether it takes requests, and how many are under way."""

    is_draining: bool = False
    under_way: int = 0
    refused: int = 0
    """Requests that were answered 429."""
    not_ready: Callable[[], Optional[str]] = field(default=lambda: None)
    """Why it should get no requests now; None when it may."""

    def drain(self) -> None:
        """Take no more requests; those that are under way go on."""
        self.is_draining = True


def host_names(address: Address, names: Collection[str] = ()) -> frozenset[str]:
    """The values of `Host`, without port, that a server at an address answers; empty for any.

    On loopback they are the names of loopback, besides `names`. Elsewhere `names`, or any where none are given: what
    a browser is made to ask from there has no token.

    >>> sorted(host_names(Address("127.0.0.1", 80)))
    ['127.0.0.1', '::1', 'localhost']
    """
    if not address.is_loopback:
        return frozenset(name.lower() for name in names)
    return frozenset({"localhost", "127.0.0.1", "::1", address.host, *(name.lower() for name in names)})


def guarded(
    app: App,
    *,
    gate: Optional[Gate] = None,
    tokens: Optional[Tokens] = None,
    hosts: Collection[str] = (),
    max_body: int = 8 << 20,
    max_concurrency: int = 1_024,
) -> App:
    """An application behind its guards. `hosts` as from `host_names`; `max_body` in bytes."""
    gate = gate or Gate()
    tokens = tokens or Tokens()
    names = frozenset(hosts)

    async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = False

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if await _health(scope, send, gate):
                return
            _check(scope, gate, tokens, names)
            if gate.under_way >= max_concurrency:
                gate.refused += 1
                detail = f"{max_concurrency} requests are under way already"
                raise busy(detail)
            gate.under_way += 1
            try:
                await app(scope, _limited(scope, receive, max_body), note)
            finally:
                gate.under_way -= 1
        except ProblemError as error:
            await _tell(error, send, started)
        except ConnectionResetError:
            pass  # The client has gone, and nobody waits for an answer.
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            await _tell(ProblemError(500, "an error of Headway itself: please report it"), send, started)

    return entrance


def busy(detail: str) -> ProblemError:
    """The answer to a request that comes at a bad time."""
    return ProblemError(429, f"{detail}: come again in a moment", headers={"retry-after": str(RETRY_AFTER_S)})


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header, the last one where there are several; empty where there is none."""
    found = b""
    for key, value in scope["headers"]:
        if key == name:
            found = value
    return found


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises `ConnectionResetError` when the client has gone before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _check(scope: Scope, gate: Gate, tokens: Tokens, names: frozenset[str]) -> None:
    if gate.is_draining:
        headers = {"retry-after": str(RETRY_AFTER_S)}
        raise ProblemError(503, "the server is about to stop: come again in a moment", headers=headers)
    if scope["server"] is not None and scope["server"][1] is None:
        return
    if names and (name := _host_of(scope)) not in names:
        detail = f"this server is not {name!r}: it answers to {', '.join(sorted(names))}"
        raise ProblemError(421, detail)
    if tokens and not tokens.admit(header(scope, b"authorization")):
        raise ProblemError(
            401, "a bearer token is needed: Authorization: Bearer ...", headers={"www-authenticate": "Bearer"}
        )


def _host_of(scope: Scope) -> str:
    """What `Host` names, without the port and the brackets of IPv6."""
    text = header(scope, b"host").decode("latin-1").lower().strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _limited(scope: Scope, receive: Receive, max_body: int) -> Receive:
    """`receive` that raises once there is more than may be. Raises at once for a declared size above it."""
    declared = header(scope, b"content-length")
    if declared:
        # The parser has checked that it is a number.
        if int(declared) > max_body:
            raise _too_large(int(declared), max_body)
        return receive
    taken = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > max_body:
            raise _too_large(taken, max_body)
        return message

    return limited


def _too_large(size: int, most: int) -> ProblemError:
    detail = f"the body has {size:,} bytes or more, {most:,} may be: send it in parts"
    return ProblemError(413, detail, closes=True, limit=most)


async def _health(scope: Scope, send: Send, gate: Gate) -> bool:
    """Answer a question about the server itself."""
    path = scope["path"]
    if path not in ("/healthz", "/readyz") or scope["method"] not in ("GET", "HEAD"):
        return False
    reason = None
    if path == "/readyz":
        reason = "draining" if gate.is_draining else gate.not_ready()
    if reason is None:
        await answer(send, 200, b'{"status":"ok"}', _JSON)
    else:
        await ProblemError(503, reason, title="not ready").answer(send)
    return True


async def _tell(error: ProblemError, send: Send, started: bool) -> None:
    if not started:
        await error.answer(send)
