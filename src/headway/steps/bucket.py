"""How many may begin in a time: a token bucket on a clock that is given."""

from __future__ import annotations

import math

__all__ = ["Bucket"]


class Bucket:
    """Holds up to `burst` tokens, and gets `per_second` of them; who begins takes one. It begins full.

    In any length of time at most `burst` plus what it gets in that time can begin.

    >>> bucket = Bucket(10.0, burst=2, now_ms=0)
    >>> [bucket.take(0), bucket.take(0), bucket.take(0), bucket.wait_ms(0)]
    [True, True, False, 100]
    >>> bucket.take(100)
    True
    """

    def __init__(self, per_second: float, burst: int, now_ms: int) -> None:
        self._per_ms = per_second / 1_000
        self._burst = float(burst)
        self._tokens = float(burst)
        self._counted_ms = now_ms

    def take(self, now_ms: int) -> bool:
        """Take a token; whether there was one."""
        self._count(now_ms)
        # Sums of fractions may miss a whole by a little.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """What was to begin has not begun."""
        self._tokens = min(self._burst, self._tokens + 1)

    def wait_ms(self, now_ms: int) -> int:
        """In how many milliseconds there is a token; 0 for now."""
        self._count(now_ms)
        return max(0, math.ceil((1 - self._tokens - 1e-9) / self._per_ms))

    def _count(self, now_ms: int) -> None:
        if now_ms > self._counted_ms:
            self._tokens = min(self._burst, self._tokens + (now_ms - self._counted_ms) * self._per_ms)
            self._counted_ms = now_ms
