"""What the answer of an HTTP receiver means for a trigger.

Two questions decide: is it this trigger that the receiver does not want, or would it say so of any? And will it change
its mind? What would be said of any trigger (a wrong token, a wrong path, a redirect, a server in trouble) is retried:
a mistake in the receiver's configuration must not throw everything into the dead letters. What is said of the content
is final. `docs/targets.md` has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Optional

from headway.errors import UsageError
from headway.targets.base import DONE, Answer, Outcome

__all__ = [
    "ABOUT_CONTENT",
    "BUSY",
    "HEAD_MAX",
    "REASON_MAX",
    "RETRY_AFTER_MAX_S",
    "answer_for",
    "checked_answers",
    "retry_after_s",
    "status_text",
]

HEAD_MAX: Final = 2_000
"""Characters that are kept of what a receiver answered."""

REASON_MAX: Final = 300
"""Characters of a reason: an error may quote what the receiver has sent."""

RETRY_AFTER_MAX_S: Final = 86_400.0
"""A day, in seconds: who asks to be left alone for longer is asked again then."""

ABOUT_CONTENT: Final = frozenset({400, 406, 411, 412, 413, 414, 415, 416, 417, 422, 431, 451})
"""What says that this content will not be taken, now or later."""

BUSY: Final = (429, 503)
"""What asks to be left alone by all triggers, not only by this one."""
_GONE: Final = 410
_DIGITS_MAX: Final = 12
_WORDS: Final = {"done": Outcome.DONE, "retry": Outcome.RETRY, "never": Outcome.NEVER}


def checked_answers(answers: Optional[Mapping[int, str]]) -> dict[int, Outcome]:
    """What a user says that statuses mean, such as `{409: "done"}`. Raises `UsageError` for anything else."""
    found = {}
    for status, word in (answers or {}).items():
        if not isinstance(status, int) or not 200 <= status <= 599 or word not in _WORDS:
            msg = (
                f'answers: {status!r}: {word!r} says nothing: write a status from 200 to 599 and "done", "retry" or '
                '"never", such as answers={409: "done"}'
            )
            raise UsageError(msg)
        found[status] = _WORDS[word]
    return found


def answer_for(
    status: int,
    head: str = "",
    retry_after: Optional[str] = None,
    *,
    now_s: float = 0.0,
    own: Optional[Mapping[int, Outcome]] = None,
) -> Answer:
    """The answer to one attempt. `now_s` is the wall clock, which a date in Retry-After is compared with.

    >>> answer_for(204).outcome.value, answer_for(503, retry_after="120").retry_after_s
    ('done', 120.0)
    >>> answer_for(422).outcome.value, answer_for(401).outcome.value, answer_for(410).stops
    ('never', 'retry', True)
    """
    outcome = (own or {}).get(status)
    if outcome is Outcome.DONE or (outcome is None and 200 <= status < 300):
        return DONE
    reason = status_text(status)
    if 300 <= status < 400:
        reason += ": redirects are not followed, give the address that it leads to"
    shown = head[:HEAD_MAX]
    if outcome is None and status == _GONE:
        return Answer(Outcome.NEVER, reason, shown, stops=True)
    if outcome is Outcome.NEVER or (outcome is None and status in ABOUT_CONTENT):
        return Answer(Outcome.NEVER, reason, shown)
    return Answer(
        Outcome.RETRY,
        reason,
        shown,
        retry_after_s=retry_after_s(retry_after, now_s),
        is_busy=status in BUSY,
    )


def retry_after_s(text: Optional[str], now_s: float) -> Optional[float]:
    """Seconds that a header Retry-After asks for, 0 to a day; None where it says nothing that can be understood.

    >>> retry_after_s("7", 0.0), retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 20.0), retry_after_s("-5", 0.0)
    (7.0, 40.0, None)
    """
    stripped = (text or "").strip()
    if stripped.isascii() and stripped.isdigit():
        seconds = float(stripped) if len(stripped) <= _DIGITS_MAX else RETRY_AFTER_MAX_S
    else:
        try:
            moment = parsedate_to_datetime(stripped)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now_s
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def status_text(status: int) -> str:
    """A status with the phrase of the standard: that of the receiver is anybody's text.

    >>> status_text(404), status_text(299)
    ('404 Not Found', '299')
    """
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
