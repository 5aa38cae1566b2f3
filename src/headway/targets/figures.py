"""What a target that lets triggers wait by itself says of its queue."""

from __future__ import annotations

import msgspec

from headway.basics.histogram import Histogram

__all__ = ["QueueFigures"]


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with one queue of steps in one process."""

    queue: str
    waiting: int
    """Calls whose turn has not come, of those that were handed over."""
    running: int
    """Attempts that run."""
    to_start: Histogram
    """From when an attempt could begin until it did."""
    to_end: Histogram
    """From when an attempt began until its outcome was known."""

    def plus(self, other: QueueFigures) -> QueueFigures:
        """Both together: those of two processes."""
        return QueueFigures(
            queue=self.queue,
            waiting=self.waiting + other.waiting,
            running=self.running + other.running,
            to_start=self.to_start.plus(other.to_start),
            to_end=self.to_end.plus(other.to_end),
        )
