"""The time of a hub: that of the event loop it runs on, or of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock"]


class Clock(Protocol):
    """Two clocks and a timer."""

    def wall_ms(self) -> int:
        """The wall clock, in epoch milliseconds: when a call was made and until when it has time."""

    def now_ms(self) -> int:
        """A clock that never goes back, in milliseconds: how long things take."""

    def at(self, at_ms: int, call: Callable[[], None]) -> Callable[[], None]:
        """Have something called at a time of `now_ms`; returns what cancels it."""


class LoopClock:
    """The clock of the event loop that runs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def wall_ms(self) -> int:
        """The wall clock."""
        return time.time_ns() // 1_000_000

    def now_ms(self) -> int:
        """The loop's."""
        return int(self._loop.time() * 1_000)

    def at(self, at_ms: int, call: Callable[[], None]) -> Callable[[], None]:
        """A timer of the loop, which is late rather than early."""
        return self._loop.call_at((at_ms + 1) / 1_000, call).cancel
