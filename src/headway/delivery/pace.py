"""How many triggers, and batches of them, may begin in a second."""

from __future__ import annotations

from typing import Final, Optional

from headway.targets.base import Limits

__all__ = ["Pace", "Rates"]

_ENDLESS: Final = 1 << 62
"""More than is ever taken."""


class Pace:
    """A bucket that fills with `per_second`, and holds what one second brings, or 1. None: as many as come.

    >>> pace = Pace(2.0, now_ms=0)
    >>> pace.allowed(now_ms=0), pace.begin(2), pace.allowed(now_ms=0), pace.allowed(now_ms=500), pace.wait_ms()
    (2, None, 0, 1, 0)
    """

    def __init__(self, per_second: Optional[float], now_ms: int) -> None:
        self._per_second = per_second
        self._left = per_second or 0.0
        self._counted_ms = now_ms

    def change(self, per_second: Optional[float], now_ms: int) -> None:
        """Another limit from now on. A first limit begins with nothing: what has begun before was not counted."""
        if per_second != self._per_second:
            self._left = 0.0 if self._per_second is None or per_second is None else min(self._left, per_second)
            self._per_second = per_second
            self._counted_ms = now_ms

    def allowed(self, now_ms: int) -> int:
        """How many may begin now."""
        if self._per_second is None:
            return _ENDLESS
        passed_ms = max(0, now_ms - self._counted_ms)
        self._counted_ms = now_ms
        self._left = min(max(1.0, self._per_second), self._left + passed_ms * self._per_second / 1_000)
        return int(self._left)

    def begin(self, count: int) -> None:
        """So many have begun."""
        if self._per_second is not None:
            self._left -= count

    def wait_ms(self) -> int:
        """How long after the last look the next one may begin; 0 where one might have begun then."""
        if self._per_second is None or self._left >= 1:
            return 0
        return int((1 - self._left) / self._per_second * 1_000) + 1


class Rates:
    """The share that one process of several has of the rates of a target."""

    def __init__(self, limits: Limits, workers: int, now_ms: int) -> None:
        self._workers = workers
        self._triggers = Pace(self._share(limits.per_second), now_ms)
        self._batches = Pace(self._share(limits.batches_per_second), now_ms)

    def allowed(self, limits: Limits, now_ms: int) -> int:
        """How many triggers may begin now, in one batch; `limits` are those of this moment."""
        self._batches.change(self._share(limits.batches_per_second), now_ms)
        triggers = self._triggers.allowed(now_ms)
        return triggers if self._batches.allowed(now_ms) >= 1 else 0

    def begin(self, count: int) -> None:
        """A batch of so many triggers has begun."""
        self._triggers.begin(count)
        self._batches.begin(1)

    def wait_ms(self) -> int:
        """How long after the last look the next batch may begin; 0 where one might have begun then."""
        return max(self._triggers.wait_ms(), self._batches.wait_ms())

    def _share(self, per_second: Optional[float]) -> Optional[float]:
        return None if per_second is None else per_second / self._workers
