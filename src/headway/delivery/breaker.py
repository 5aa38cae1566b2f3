"""A circuit breaker: a receiver that fails is left alone for a while, and then asked by one attempt at a time.

Pure: time is given, by the wall clock in epoch milliseconds. Prior art is in most clients of services: closed, open,
half open. Two things are ours. While it is open nothing is attempted, so a trigger's own attempts are not used up by a
receiver that is gone. And when it closes, the number of attempts at a time begins with one and doubles: ten thousand
keys that have waited do not come at once.

While it is not closed, only a *probe* says anything: an attempt that began once the pause was over. What began before
and comes to its end later tells of the time before the pause.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, Optional

__all__ = ["Breaker", "BreakerState"]

_SAMPLE: Final = 20
"""Attempts that are looked back on."""
_LEAST: Final = 5
"""Fewer attempts than that say nothing."""
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 60_000
"""The longest pause behind a probe that failed."""


class BreakerState(Enum):
    """What may be attempted."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing."""
    HALF_OPEN = "half open"
    """One at a time, to find out."""


class Breaker:
    """Opens when at least half of the last attempts failed, and at once where a receiver asks to be left alone.

    At most `width` attempts are under way at a time. The pause doubles with each probe that fails, up to a minute, or
    to `pause_longest_ms` where that is less. `never` makes one that does not open.

    >>> breaker = Breaker(width=16)
    >>> for _ in range(5):
    ...     breaker.record(False, began_ms=0, now_ms=0)
    >>> breaker.state(now_ms=10), breaker.state(now_ms=1_000)
    (<BreakerState.OPEN: 'open'>, <BreakerState.HALF_OPEN: 'half open'>)
    """

    def __init__(self, width: int, pause_longest_ms: int = _LONGEST_PAUSE_MS, *, never: bool = False) -> None:
        self._never = never
        self._width_max = width
        self._width = width
        self._outcomes: deque[bool] = deque(maxlen=_SAMPLE)
        self._opened_ms = 0
        self._open_until_ms: Optional[int] = None
        self._pause_longest_ms = min(pause_longest_ms, _LONGEST_PAUSE_MS)
        self._pause_ms = self._pause_first_ms = min(_FIRST_PAUSE_MS, self._pause_longest_ms)

    def state(self, now_ms: int) -> BreakerState:
        """What may be attempted now."""
        if self._open_until_ms is None:
            return BreakerState.CLOSED
        # Before it was opened it cannot be: then the clock was set back, and the pause is over.
        is_open = self._opened_ms <= now_ms < self._open_until_ms
        return BreakerState.OPEN if is_open else BreakerState.HALF_OPEN

    def has_room(self, began_ms: Sequence[int], now_ms: int) -> bool:
        """Whether one more attempt may begin beside those that are under way and began at these times."""
        state = self.state(now_ms)
        if state is BreakerState.CLOSED:
            return len(began_ms) < self._width
        if state is BreakerState.OPEN or len(began_ms) >= self._width_max:
            return False
        return not any(self._is_probe(one_ms, now_ms) for one_ms in began_ms)

    @property
    def opens_at_ms(self) -> Optional[int]:
        """When it is asked again; None while it is closed."""
        return self._open_until_ms

    def record(self, took: bool, began_ms: int, now_ms: int) -> None:
        """Note an attempt: whether the receiver was there to answer, and when the attempt began."""
        if not self._is_probe(began_ms, now_ms):
            return
        if self._open_until_ms is not None:
            self._after_probe(took, now_ms)
            return
        self._outcomes.append(took)
        if took:
            self._width = min(self._width * 2, self._width_max)
        failed = self._outcomes.count(False)
        if not took and failed >= _LEAST and 2 * failed >= len(self._outcomes):
            self._open(now_ms, self._pause_ms)

    def leave_alone(self, for_ms: int, now_ms: int) -> None:
        """The receiver has asked for a pause."""
        self._open(now_ms, for_ms)

    def reset(self) -> None:
        """Close it: somebody says that the receiver is there again."""
        self._close(width=self._width_max)

    def _is_probe(self, began_ms: int, now_ms: int) -> bool:
        """Whether an attempt that began then says how it stands with the receiver now."""
        if self._open_until_ms is None or began_ms >= self._open_until_ms:
            return True
        return now_ms < self._opened_ms  # The clock was set back: nobody knows.

    def _after_probe(self, took: bool, now_ms: int) -> None:
        if took:
            self._close(width=1)
        else:
            self._pause_ms = min(self._pause_ms * 2, self._pause_longest_ms)
            self._open_until_ms = None
            self._open(now_ms, self._pause_ms)

    def _close(self, *, width: int) -> None:
        self._outcomes.clear()
        self._open_until_ms = None
        self._pause_ms = self._pause_first_ms
        self._width = width

    def _open(self, now_ms: int, pause_ms: int) -> None:
        if self._never:
            return
        until_ms = now_ms + pause_ms
        self._open_until_ms = until_ms if self._open_until_ms is None else max(until_ms, self._open_until_ms)
        self._opened_ms = now_ms
