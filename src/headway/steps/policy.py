"""What follows from one attempt: an answer to the function, or another attempt after a pause. Pure."""

from __future__ import annotations

from typing import Final, Optional

from headway.basics.times import format_duration
from headway.functions.history import Failure
from headway.functions.options import CallOptions, RetryPolicy
from headway.steps.attempt import Outcome, Ran
from headway.targets.base import Answer
from headway.targets.base import Outcome as Delivered

__all__ = ["late", "left_ms", "never_started", "ran_of"]

_DEFAULT: Final = RetryPolicy()


def left_ms(at_ms: int, options: CallOptions, now_ms: int) -> Optional[int]:
    """What is left of the time that all attempts of a call have together; None without a limit."""
    return None if options.timeout_ms is None else at_ms + options.timeout_ms - now_ms


def late(options: CallOptions) -> Failure:
    """The call has used up the time that all its attempts have together."""
    return Failure("TimeoutError", f"not done in {format_duration(options.timeout_ms or 0)}")


def never_started(options: CallOptions, queue: str) -> Failure:
    """Its time to be started has passed. Final: tried again, it would stand in the same queue."""
    waited = format_duration(options.start_timeout_ms or 0)
    return Failure(
        "TimeoutError", f"not started in {waited} (start_timeout), in the queue {queue!r}", non_retryable=True
    )


def ran_of(outcome: Outcome, options: CallOptions, attempt: int, left: Optional[int], details: str = "") -> Ran:
    """What follows from an outcome of an attempt, counted from 1. `details` is what its last heartbeat has said."""
    failure = outcome.failure
    if failure is None:
        return Ran(outcome.value)
    if left is not None and left <= 0:
        return Ran(failure=late(options))
    policy = options.retry or _DEFAULT
    if failure.non_retryable or policy.gives_up(attempt, outcome.types):
        return Ran(failure=failure)
    pause_ms = policy.pause_ms(attempt) if outcome.after_ms is None else outcome.after_ms
    after_ms = pause_ms if left is None else min(pause_ms, left)
    return Ran(retry=Answer(Delivered.RETRY, str(failure), head=details, retry_after_s=after_ms / 1_000))
