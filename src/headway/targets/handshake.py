"""Whether a receiver wants events at all: the handshake of CloudEvents' webhook rules, before the first delivery.

A sender that posts wherever it is told to can be made to flood somebody who has asked for nothing. So it asks first, by
OPTIONS, in the name of an *origin*, a DNS name that stands for all senders of one system; and sends nothing until the
receiver has named that origin in its answer. The answer may also say how many requests a minute are welcome.

A status alone permits nothing: many servers answer OPTIONS with 200 whatever they are asked. Permission by callback is
not asked for: who agrees later says so when he is asked again, which happens with each retry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Optional, Union

from headway.errors import UsageError
from headway.targets.answers import BUSY, HEAD_MAX, answer_for, retry_after_s, status_text
from headway.targets.base import Answer, Outcome

__all__ = ["ORIGIN", "Permission", "asking_headers", "checked_origin", "permission_in"]

ORIGIN: Final = "webhook-request-origin"
"""The header that also each delivery has, once they are permitted."""
_NAME: Final = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*"
)
_DIGITS_MAX: Final = 9
_SHOWN: Final = 100
_REFUSALS: Final = {
    **dict.fromkeys((401, 403), "the receiver does not let {!r} send events"),
    **dict.fromkeys((405, 501), "the receiver does not know the handshake that origin={!r} asks for; leave it out"),
    429: "the receiver wants to be asked later whether {!r} may send events",
}


@dataclass(frozen=True)
class Permission:
    """A receiver's word that it takes events."""

    per_minute: Optional[int] = None
    """How many requests; None where it names no limit."""


def checked_origin(origin: str) -> str:
    """An origin that can be asked for. Raises `UsageError` for one that is no DNS name.

    >>> checked_origin("eventemitter.example.com")
    'eventemitter.example.com'
    """
    if not isinstance(origin, str) or not _NAME.fullmatch(origin):
        msg = f'origin={origin!r} is no DNS name: write the name of the system that sends, such as "events.example.com"'
        raise UsageError(msg)
    return origin


def asking_headers(origin: str, per_second: Optional[float]) -> dict[str, str]:
    """The headers of the question. `per_second` is how many requests are wanted; None for as many as come.

    >>> asking_headers("events.example.com", 2.5)
    {'webhook-request-origin': 'events.example.com', 'webhook-request-rate': '150'}
    """
    found = {ORIGIN: origin}
    if per_second is not None:
        found["webhook-request-rate"] = str(max(1, math.ceil(per_second * 60)))
    return found


def permission_in(
    origin: str, status: int, headers: Mapping[bytes, bytes], said: str, now_s: float
) -> Union[Permission, Answer]:
    """The permission in an answer to OPTIONS; or, where there is none, what that means for the trigger that waits.

    `headers` have names in small letters, `said` is the beginning of the body. Nothing but 410 is final: anything else
    is about the receiver's configuration, and people change that.

    >>> permission_in("a.example", 200, {b"webhook-allowed-origin": b"*", b"webhook-allowed-rate": b"120"}, "", 0.0)
    Permission(per_minute=120)
    >>> permission_in("a.example", 200, {}, "", 0.0).reason
    "200 OK to OPTIONS, but no WebHook-Allowed-Origin: the receiver has not agreed to events from 'a.example'"
    """
    if status == HTTPStatus.GONE:
        return answer_for(status, said)
    reason = _why_not(origin, status, headers)
    if reason is None:
        rate = _shown(headers, b"webhook-allowed-rate")
        if rate is None or rate == "*":
            return Permission()
        if rate.isascii() and rate.isdigit() and len(rate) <= _DIGITS_MAX and int(rate) > 0:
            return Permission(int(rate))
        reason = f"WebHook-Allowed-Rate is {rate!r} in the answer to OPTIONS: expected requests a minute, or *"
    pause_s = retry_after_s(_shown(headers, b"retry-after"), now_s)
    return Answer(Outcome.RETRY, reason, said[:HEAD_MAX], retry_after_s=pause_s, is_busy=status in BUSY)


def _why_not(origin: str, status: int, headers: Mapping[bytes, bytes]) -> Optional[str]:
    """Why an answer is no permission; None where it is one."""
    asked = f"{status_text(status)} to OPTIONS"
    if not 200 <= status < 300:
        return f"{asked}: {_REFUSALS.get(status, 'the receiver has not agreed to events from {!r}').format(origin)}"
    allowed = _shown(headers, b"webhook-allowed-origin")
    if allowed is None:
        return f"{asked}, but no WebHook-Allowed-Origin: the receiver has not agreed to events from {origin!r}"
    if allowed != "*" and allowed.lower() != origin.lower():
        return f"the receiver has agreed to events from {allowed!r} (WebHook-Allowed-Origin), not from {origin!r}"
    return None


def _shown(headers: Mapping[bytes, bytes], name: bytes) -> Optional[str]:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").strip()[:_SHOWN]
