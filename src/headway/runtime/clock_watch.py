"""Noticing that the machine's clock has been set back, by which the engine times epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headway.errors import ClockError

__all__ = ["ClockWatch"]

_SET_BACK_MS: Final = 1_000
"""By how much the clock may be set back without notice: epochs last so much longer."""


class ClockWatch:
    """Compares the machine's clock with one that never goes back. Both are in milliseconds."""

    def __init__(self, wall_ms: Callable[[], int], clock_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._clock_ms = clock_ms
        self._ahead_ms = wall_ms() - clock_ms()

    def check(self) -> None:
        """Raise `ClockError` when the machine's clock has been set back since the call before."""
        ahead_ms = self._wall_ms() - self._clock_ms()
        if ahead_ms < self._ahead_ms - _SET_BACK_MS:
            msg = (
                f"the machine's clock was set back by {(self._ahead_ms - ahead_ms) / 1000:.1f} s, and epochs would not "
                "end before it has caught up: the run starts again from the last durable epoch"
            )
            raise ClockError(msg)
        self._ahead_ms = ahead_ms
