"""Talks with the two servers of a flow, without a network and without a clock.

A talk is a generator: it yields what is to be asked, or for how long to pause, is sent the reply, and returns what came
of it. Where no reply comes, the `ServiceError` that says so is thrown into it. Whoever drives one has a client and a
clock, blocking or not; what is asked again and when is decided here, once for both.

Whatever is posted carries an idempotency key, the same each time that it is asked again. So what was durable although
its answer was lost is not there twice.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from typing import Any, Final, Literal, NamedTuple, Optional, TypeVar, Union

from headway.client.protocol import Reply, Request, error_of, problem_of
from headway.errors import ServiceError

__all__ = ["AGAIN", "Ask", "Pause", "Server", "Talk", "asked"]

T = TypeVar("T")
Server = Literal["listen", "serve"]
"""Who is asked: the server of `headway run --listen`, which takes what is told, or that of `--serve`, which answers."""

AGAIN: Final = (429, 502, 503, 504, 507)
"""Statuses that say nothing of the request itself."""
_GRACE_S: Final = 1.0
"""How much longer than a time limit the answer to a request may take: also what is to come at once needs its time."""
_FIRST_S: Final = 0.1
_LONGEST_S: Final = 2.0


class Ask(NamedTuple):
    """Ask a server, and send me its `Reply`."""

    server: Server
    request: Request


class Pause(NamedTuple):
    """Go on with me after so many seconds."""

    seconds: float


Talk = Generator[Union[Ask, Pause], Any, T]


def asked(
    server: Server,
    request: Union[Request, Callable[[], Request]],
    retry_s: float,
    now_s: Callable[[], float],
    until_s: Optional[float] = None,
) -> Talk[Reply]:
    """The reply to a request, which is asked again while nobody answers or is busy.

    That for `retry_s` seconds from the first failure, and not later than `until_s` on the clock `now_s`; once more when
    that time has come. A request that depends on the time that is left is given as what makes it. Raises the
    `ServiceError` of the last attempt.

    >>> talk = asked("listen", Request("POST", "/v1/functions/greet/1", {}), 30.0, lambda: 0.0)
    >>> next(talk).server
    'listen'
    >>> talk.throw(ServiceError("nobody is there"))
    Pause(seconds=0.1)
    >>> next(talk).request.path
    '/v1/functions/greet/1'
    """
    pause_s = _FIRST_S
    last_s: Optional[float] = None
    while True:
        wait_s = pause_s
        asking = request if isinstance(request, Request) else request()
        if until_s is not None:
            asking = asking._replace(limit_s=max(0.0, until_s - now_s()) + _GRACE_S)
        try:
            reply: Reply = yield Ask(server, asking)
        except ServiceError as error:
            if _is_final(error):
                raise
            failed = error
        else:
            if reply.status not in AGAIN or _has_answered(reply):
                return reply
            failed = error_of(reply)
            wait_s = max(pause_s, _retry_after_s(reply))
        if last_s is None:
            # A long poll may have taken longer than that.
            last_s = now_s() + retry_s if until_s is None else min(now_s() + retry_s, until_s)
        left_s = last_s - now_s()
        if left_s <= 0:
            raise failed
        yield Pause(min(wait_s, left_s))
        pause_s = min(2 * pause_s, _LONGEST_S)


def _is_final(error: ServiceError) -> bool:
    """Whether the next attempt would end the same way: a certificate stays what it is, a connection does not."""
    cause = error.__cause__
    if isinstance(cause, ssl.CertificateError) or getattr(cause, "certificate_error", None) is not None:
        return True
    # The server says what it thinks of the client's certificate by an alert.
    reason = str(getattr(cause, "reason", "")) if isinstance(cause, ssl.SSLError) else ""
    return "CERTIFICATE" in reason or "UNKNOWN_CA" in reason


def _has_answered(reply: Reply) -> bool:
    """Whether a status of a busy server is the answer itself: of a query that was not done in time."""
    return reply.status == 504 and problem_of(reply).reason == "failed"


def _retry_after_s(reply: Reply) -> float:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
