"""Errors as they are kept in a history, and as a function's code sees them again.

What is kept must read the same in each replay: class, message, and the frames of the user's own code. Addresses of
objects are cut out of texts, as they differ each time.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final, Optional

from headway.basics.tracebacks import user_frames
from headway.functions.history import Failure

__all__ = ["ReadOnly", "StepError", "StepTimeout", "TimeoutExpired", "error_of", "failure_of"]

_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_MESSAGE_MAX: Final = 2_000
_TRACEBACK_MAX: Final = 4_000
_CAUSES_MAX: Final = 8
_OTHERS_MAX: Final = 100

if sys.version_info >= (3, 11):
    _TimeoutBase = TimeoutError
else:

    class _TimeoutBase(TimeoutError, asyncio.TimeoutError):
        """What `except TimeoutError` catches and `except asyncio.TimeoutError` as well, as they are one later on."""


class TimeoutExpired(_TimeoutBase):
    """What a function waited for has not come in time; caught by `except TimeoutError`."""


class StepError(Exception):
    """A call has failed for good: its retries are used up, or it is not to be retried.

    `type` is the name of the error's class, `message` its text, `traceback` the frames of the step's own code, and
    `cause` the failure behind it. All are the same in each replay.

    >>> error = error_of(Failure("ValueError", "no funds"), "step 'charge'")
    >>> error.type, error.message, str(error)
    ('ValueError', 'no funds', "step 'charge' has failed: ValueError: no funds")
    """

    def __init__(self, text: str, failure: Failure) -> None:
        super().__init__(text)
        self.failure = failure

    def __reduce__(self) -> tuple[type[StepError], tuple[str, Failure]]:
        return type(self), (str(self), self.failure)

    @property
    def type(self) -> str:
        """The name of the error's class."""
        return self.failure.type

    @property
    def message(self) -> str:
        """The error's own text."""
        return self.failure.message

    @property
    def traceback(self) -> str:
        """The frames of the step's own code, for people."""
        return self.failure.traceback

    @property
    def cause(self) -> Optional[Failure]:
        """What was behind it."""
        return self.failure.cause

    @property
    def non_retryable(self) -> bool:
        """Whether it was final at once."""
        return self.failure.non_retryable


class StepTimeout(StepError, _TimeoutBase):
    """A call has not been answered in the time that it had; also caught by `except TimeoutError`."""


class ReadOnly(RuntimeError):
    """A query, a condition or the check of an update wants to do something: they only look."""


def error_of(failure: Failure, what: str) -> StepError:
    """The error that the code which awaits a call sees."""
    kind = StepTimeout if failure.type in ("TimeoutError", "StepTimeout", "TimeoutExpired") else StepError
    return kind(f"{what} has failed: {failure}", failure)


def failure_of(error: BaseException, *, causes: int = _CAUSES_MAX) -> Failure:
    """An error as it is kept. Never raises: of an error that cannot tell its text only the class is kept.

    >>> failure_of(ValueError("no funds on <Account at 0x7f2b3c4d5e6f>")).message
    'no funds on <Account at 0x...>'
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    members = getattr(error, "exceptions", ())
    others = members if isinstance(members, (tuple, list)) else ()
    kept: Optional[Failure] = None
    if isinstance(error, StepError):
        kept = error.failure
    elif cause is not None and causes > 0:
        kept = failure_of(cause, causes=causes - 1)
    return Failure(
        type=type(error).__name__,
        message=_text(error),
        traceback=_frames(error),
        non_retryable=getattr(error, "non_retryable", False) is True,
        cause=kept,
        others=tuple(
            failure_of(other, causes=causes - 1)
            for other in others[:_OTHERS_MAX]
            if causes > 0 and isinstance(other, BaseException)
        ),
    )


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as unreadable:
        text = f"(its text cannot be told: {type(unreadable).__name__})"
    return _clean(text, _MESSAGE_MAX)


def _frames(error: BaseException) -> str:
    try:
        return _clean(user_frames(error), _TRACEBACK_MAX)
    except BaseException:
        return ""


def _clean(text: str, longest: int) -> str:
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return _ADDRESS.sub("0x...", text).encode(errors="backslashreplace").decode()
