"""How a call is to be made: its retries, its time limits, and where it waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Optional

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError

__all__ = ["CHILD_OPTIONS", "STEP_OPTIONS", "CallOptions", "ParentClose", "RetryPolicy"]

ParentClose = Literal["terminate", "cancel", "abandon"]
"""What becomes of a child when its parent ends before it."""

STEP_OPTIONS: Final = (
    *("retry", "attempt_timeout", "timeout", "heartbeat_timeout", "start_timeout"),
    *("queue", "priority", "fairness"),
)
"""What can be said of a call of a step that is Python code."""
CHILD_OPTIONS: Final = ("parent_close",)
"""What can be said of a call of another function."""


if TYPE_CHECKING:
    _Given = Duration
else:
    # What is given may be text; what is kept and stored is milliseconds, and msgspec need know only that.
    _Given = int


class RetryPolicy(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """When a step that has failed is tried again.

    `initial` is the pause before the second attempt, and each further pause is `coefficient` times as long, up to
    `maximum_interval`, without it up to a hundred times the first one. Durations are text such as `"10s"`, or
    milliseconds, and are kept as milliseconds. There are at most `maximum_attempts` attempts, the first one counted; 0
    means without an end. An error whose class, or a base of it, is named in `non_retryable` is final at once. The
    defaults are those of Temporal.

    >>> policy = RetryPolicy(initial="1s", maximum_interval="10s", maximum_attempts=6)
    >>> [policy.pause_ms(attempt) for attempt in (1, 2, 3, 4, 5)]
    [1000, 2000, 4000, 8000, 10000]
    """

    initial: _Given = 1_000
    coefficient: float = 2.0
    maximum_interval: Optional[_Given] = None
    maximum_attempts: int = 0
    non_retryable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _settle(self, "initial", "maximum_interval")
        if not self.coefficient >= 1:
            _refuse(f"coefficient {self.coefficient!r} makes pauses shorter: give 1 or more")
        if self.initial_ms > self.maximum_interval_ms:
            _refuse(f"initial is {self.initial_ms} ms, longer than maximum_interval, {self.maximum_interval_ms} ms")
        if self.maximum_attempts < 0:
            _refuse(f"maximum_attempts {self.maximum_attempts!r} is negative: give 1 or more, or 0 for no end")

    def pause_ms(self, attempt: int) -> int:
        """The pause after an attempt that failed, counted from 1, in milliseconds and without jitter."""
        try:
            pause = float(self.initial_ms * self.coefficient ** (attempt - 1))
        except OverflowError:
            return self.maximum_interval_ms
        return round(min(pause, self.maximum_interval_ms))

    def gives_up(self, attempt: int, error_types: tuple[str, ...] = ()) -> bool:
        """Whether no further attempt follows: it was the last one, or none of these errors is to be retried.

        `error_types` are the names of the error's class and its bases.
        """
        if self.maximum_attempts and attempt >= self.maximum_attempts:
            return True
        return any(name in self.non_retryable for name in error_types)

    @property
    def initial_ms(self) -> int:
        """The first pause, in milliseconds."""
        return duration_ms(self.initial)

    @property
    def maximum_interval_ms(self) -> int:
        """The longest pause, in milliseconds."""
        return 100 * self.initial_ms if self.maximum_interval is None else duration_ms(self.maximum_interval)


class CallOptions(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """How one call is made. What is None is left to whoever runs the step.

    `attempt_timeout` bounds one attempt (start to close), `timeout` all of them with their pauses (schedule to close),
    `start_timeout` the time until a worker takes it (schedule to start), `heartbeat_timeout` the silence of a step that
    tells of its progress. `queue` names where it waits, `priority` who goes first there (smaller is earlier), and
    `fairness` whose turn it is: those with one key share one turn. `parent_close` says what becomes of
    a child that is under way when its parent ends: it is cancelled, or left alone if it was only started.

    >>> CallOptions(timeout="5m", queue="slow").timeout_ms
    300000
    """

    retry: Optional[RetryPolicy] = None
    attempt_timeout: Optional[_Given] = None
    timeout: Optional[_Given] = None
    heartbeat_timeout: Optional[_Given] = None
    start_timeout: Optional[_Given] = None
    queue: str = ""
    priority: int = 0
    fairness: str = ""
    parent_close: Optional[ParentClose] = None

    def __post_init__(self) -> None:
        _settle(self, "attempt_timeout", "timeout", "heartbeat_timeout", "start_timeout")

    @property
    def attempt_timeout_ms(self) -> Optional[int]:
        """How long one attempt may take, in milliseconds."""
        return _ms(self.attempt_timeout)

    @property
    def timeout_ms(self) -> Optional[int]:
        """How long all attempts together may take, in milliseconds."""
        return _ms(self.timeout)

    @property
    def heartbeat_timeout_ms(self) -> Optional[int]:
        """How long a step may be silent, in milliseconds."""
        return _ms(self.heartbeat_timeout)

    @property
    def start_timeout_ms(self) -> Optional[int]:
        """How long a call may wait for a worker, in milliseconds."""
        return _ms(self.start_timeout)

    def over(self, below: Optional[CallOptions]) -> CallOptions:
        """These options, with those of `below` where they say nothing.

        >>> CallOptions(queue="slow").over(CallOptions(timeout="1s", queue="quick"))
        CallOptions(retry=None, attempt_timeout=None, timeout=1000, heartbeat_timeout=None, start_timeout=None, \
queue='slow', priority=0, fairness='', parent_close=None)
        """
        if below is None:
            return self
        return msgspec.structs.replace(below, **self._said())

    def check_taken(self, taken: Sequence[str], what: str) -> None:
        """Raise `UsageError` where these say something that `what` takes no heed of; `taken` is what it does.

        >>> CallOptions(queue="slow").check_taken(CHILD_OPTIONS, "function 'ship'")
        Traceback (most recent call last):
        headway.errors.UsageError: function 'ship' takes no option queue='slow': its calls take parent_close
        """
        for name, value in self._said().items():
            if name not in taken:
                msg = f"{what} takes no option {name}={value!r}: its calls take {', '.join(taken)}"
                raise UsageError(msg)

    def _said(self) -> dict[str, Any]:
        """The options that are not as they are without being given."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value != _DEFAULTS[name]}


def _settle(options: msgspec.Struct, *names: str) -> None:
    """Makes durations milliseconds, also in a frozen struct that is being made."""
    for name in names:
        value: Optional[Duration] = getattr(options, name)
        if value is not None:
            msgspec.structs.force_setattr(options, name, duration_ms(value, what=name))


def _ms(value: Optional[Duration]) -> Optional[int]:
    return None if value is None else duration_ms(value)


def _refuse(message: str) -> None:
    raise UsageError(message)


_DEFAULTS: Final = msgspec.structs.asdict(CallOptions())
