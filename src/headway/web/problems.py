"""How a server says no: RFC 9457 problem details, as `application/problem+json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Optional

import orjson

if TYPE_CHECKING:
    from starlette.responses import Response

__all__ = ["PROBLEM_TYPE", "App", "ProblemError", "Receive", "Scope", "Send", "answer", "body_of", "problem"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

PROBLEM_TYPE: Final = b"application/problem+json"


class ProblemError(Exception):
    """Ends a request with a problem. `guarded` answers it; code below it need not.

    `more` are further members of the problem, `headers` those of the answer, such as `{"retry-after": "1"}`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: Optional[str] = None,
        headers: Optional[dict[str, str]] = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title
        self.headers = headers or {}
        self.more = more

    @property
    def body(self) -> bytes:
        """The problem as JSON."""
        return body_of(self.status, self.title, self.detail, self.more)

    async def answer(self, send: Send) -> None:
        """Send it."""
        await answer(send, self.status, self.body, PROBLEM_TYPE, self.headers)


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    r"""A problem as a response for an application of Starlette's.

    >>> problem(404, "no such view", "there is no view 'carts'").body
    b'{"title":"no such view","status":404,"detail":"there is no view \'carts\'"}'
    """
    from starlette.responses import Response

    return Response(body_of(status, title, detail, more), status, media_type=PROBLEM_TYPE.decode())


def body_of(status: int, title: Optional[str], detail: str, more: Optional[dict[str, Any]] = None) -> bytes:
    """The members of a problem as JSON; the title is that of the status where none is given."""
    named = {"title": title or HTTPStatus(status).phrase, "status": status, "detail": detail, **(more or {})}
    return orjson.dumps(named, default=repr)


async def answer(
    send: Send, status: int, body: bytes, content_type: bytes, headers: Optional[dict[str, str]] = None
) -> None:
    """Send a whole response."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    fields += [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
