"""Alarms that go off by themselves: one timer of a clock for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Optional, TypeVar

from headway.steps.alarms import Alarms
from headway.steps.clock import Clock

__all__ = ["Wakes"]

K = TypeVar("K")


class Wakes(Generic[K]):
    """Calls `due` with each key whose time has come. A timer that has become needless does no harm."""

    def __init__(self, clock: Clock, due: Callable[[K], None]) -> None:
        self._clock = clock
        self._due = due
        self._alarms = Alarms[K]()
        self._timer_at_ms: Optional[int] = None
        self._cancel: Callable[[], None] = lambda: None

    def set(self, key: K, at_ms: Optional[int]) -> None:
        """Set the alarm of a key, in place of the one that it has; None clears it."""
        self._alarms.set(key, at_ms)
        if at_ms is not None and (self._timer_at_ms is None or at_ms < self._timer_at_ms):
            self._start(at_ms)

    def clear(self, key: K) -> None:
        """A key has no alarm any more."""
        self._alarms.clear(key)

    def stop(self) -> None:
        """Nothing goes off any more."""
        self._cancel()

    def _start(self, at_ms: int) -> None:
        self._cancel()
        self._timer_at_ms = at_ms
        self._cancel = self._clock.at(at_ms, self._look)

    def _look(self) -> None:
        self._timer_at_ms = None
        for key in self._alarms.due(self._clock.now_ms()):
            self._due(key)
        next_at_ms = self._alarms.next_at_ms
        if next_at_ms is not None and (self._timer_at_ms is None or next_at_ms < self._timer_at_ms):
            self._start(next_at_ms)
