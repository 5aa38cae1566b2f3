"""Calls of steps and their attempts, as all parts of this package know them."""

from __future__ import annotations

from typing import Optional

import msgspec

from headway.functions.failures import failure_of
from headway.functions.history import Failure
from headway.functions.options import CallOptions
from headway.targets.base import Answer

__all__ = ["DETAILS_MOST", "Outcome", "Ran", "StepCall", "Work", "outcome_of"]

DETAILS_MOST = 2_000
"""Bytes of what a heartbeat may say: it is kept beside the row of its call."""


class StepCall(msgspec.Struct, frozen=True):
    """One call of a function, the same in all its attempts."""

    key: str
    """The idempotency key."""
    name: str
    """Of the step."""
    function: str
    id: str
    run: int
    arguments: bytes
    """JSON."""
    options: Optional[CallOptions] = None
    """What the call says, with what its step's declaration said when it was made."""
    at_ms: int = 0
    """When it was made, by the wall clock."""
    traceparent: str = ""
    """The W3C trace context of whoever has started the function; empty for none."""


class Work(msgspec.Struct, frozen=True):
    """One attempt, as it is handed to whoever runs it: a thread, a process, a worker elsewhere."""

    key: str
    name: str
    function: str
    id: str
    run: int
    attempt: int
    queue: str
    arguments: str
    """JSON."""
    deadline_ms: Optional[int] = None
    """When nobody waits for it any more, by the wall clock."""
    heartbeat_timeout_ms: Optional[int] = None
    last_details: str = ""
    """What the last heartbeat of the attempt before has said: JSON; empty for nothing."""
    traceparent: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What running a step once has come to: its value as JSON, or a failure."""

    value: bytes = b"null"
    failure: Optional[Failure] = None
    types: tuple[str, ...] = ()
    """The names of the error's class and its bases, by which retry policies know it."""
    after_ms: Optional[int] = None
    """The pause before the next attempt that the step asks for."""


class Ran(msgspec.Struct, frozen=True):
    """What came of one attempt of a call: its value as JSON, or a failure, or a pause before the next attempt."""

    value: bytes = b"null"
    failure: Optional[Failure] = None
    retry: Optional[Answer] = None


def outcome_of(error: BaseException) -> Outcome:
    """What an error of a step means; one with `after_ms`, as `hw.RetryLater` has it, says when to try again.

    >>> outcome_of(KeyError("o-17")).types[:2]
    ('KeyError', 'LookupError')
    """
    after_ms = getattr(error, "after_ms", None)
    return Outcome(
        failure=failure_of(error),
        types=tuple(one.__name__ for one in type(error).__mro__),
        after_ms=after_ms if isinstance(after_ms, int) else None,
    )
