"""A circuit breaker: a receiver that fails is left alone for a while, and then asked by one attempt at a time.

Pure: time is given. Prior art is in most clients of services: closed, open, half open. Two things are ours. While it is
open nothing is attempted, so a trigger's own attempts are not used up by a receiver that is gone. And when it closes,
the number of attempts at a time begins with one and doubles: ten thousand keys that have waited do not come at once.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, Optional

__all__ = ["Breaker", "BreakerState"]

_SAMPLE: Final = 20
"""Attempts that are looked back on."""
_LEAST: Final = 5
"""Fewer attempts than that say nothing."""
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 60_000


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

    One that `never_opens` does neither.

    >>> breaker = Breaker(width=16)
    >>> for _ in range(5):
    ...     breaker.record(False, now_ms=0)
    >>> breaker.state(now_ms=10), breaker.state(now_ms=1_000)
    (<BreakerState.OPEN: 'open'>, <BreakerState.HALF_OPEN: 'half open'>)
    """

    def __init__(self, width: int, *, never_opens: bool = False) -> None:
        self._never_opens = never_opens
        self._width_max = width
        self._width = width
        self._outcomes: deque[bool] = deque(maxlen=_SAMPLE)
        self._open_until_ms: Optional[int] = None
        self._pause_ms = _FIRST_PAUSE_MS

    def state(self, now_ms: int) -> BreakerState:
        """What may be attempted now."""
        if self._open_until_ms is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_ms < self._open_until_ms else BreakerState.HALF_OPEN

    def width(self, now_ms: int) -> int:
        """How many attempts may be under way at a time."""
        if self._open_until_ms is None:
            return self._width
        return 0 if now_ms < self._open_until_ms else 1

    @property
    def opens_at_ms(self) -> Optional[int]:
        """When it is asked again; None while it is closed."""
        return self._open_until_ms

    def record(self, took: bool, now_ms: int) -> None:
        """Note an attempt: whether the receiver was there to answer."""
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
        self._outcomes.clear()
        self._open_until_ms = None
        self._pause_ms = _FIRST_PAUSE_MS
        self._width = self._width_max

    def _after_probe(self, took: bool, now_ms: int) -> None:
        assert self._open_until_ms is not None
        if took:
            self._outcomes.clear()
            self._open_until_ms = None
            self._pause_ms = _FIRST_PAUSE_MS
            self._width = 1
        elif now_ms >= self._open_until_ms:
            self._pause_ms = min(self._pause_ms * 2, _LONGEST_PAUSE_MS)
            self._open(now_ms, self._pause_ms)

    def _open(self, now_ms: int, pause_ms: int) -> None:
        if self._never_opens:
            return
        until_ms = now_ms + pause_ms
        self._open_until_ms = until_ms if self._open_until_ms is None else max(until_ms, self._open_until_ms)
