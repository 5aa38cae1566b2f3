"""What deliveries say about themselves."""

from __future__ import annotations

from typing import Optional

import msgspec

from headway.delivery.breaker import BreakerState
from headway.targets.figures import QueueFigures

__all__ = ["DeliveryStats"]


class DeliveryStats(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with the deliveries of one output in one process."""

    target: str
    edge: str
    waiting: int
    """Triggers that wait, also those under way."""
    delivered: int
    """Over the state directory's life, as are the two that follow."""
    dead: int
    """Given up, and not put back or dropped since."""
    dropped: int
    attempts: dict[str, int] = {}
    """In this run, by what came of them: done, retry, never."""
    breaker: str = BreakerState.CLOSED.value
    reason: str = ""
    """Why the last attempt failed of those that did in this run; empty where none has."""
    stopped: str = ""
    """Why the receiver wants nothing more; empty where it does."""
    oldest_ms: int = 0
    """For how long the trigger that has waited longest has waited, as far as this run has seen, in milliseconds."""
    waiting_max: int = 0
    """How many may wait, in all processes together."""
    is_pressing: bool = False
    """Whether the flow reads nothing more until some are delivered: as many wait on a direct edge as may."""
    is_ending: bool = False
    """Whether the end of the run waits for what can be delivered now."""
    queue: Optional[QueueFigures] = None
    """Of a target that lets triggers wait: how it stands with them."""

    @property
    def made(self) -> int:
        """Triggers that the flow has made for it."""
        return self.waiting + self.delivered + self.dead + self.dropped

    def plus(self, other: DeliveryStats) -> DeliveryStats:
        """Both together: those of two processes."""
        worse = max(self.breaker, other.breaker, key=[state.value for state in BreakerState].index)
        return msgspec.structs.replace(
            self,
            waiting=self.waiting + other.waiting,
            delivered=self.delivered + other.delivered,
            dead=self.dead + other.dead,
            dropped=self.dropped + other.dropped,
            attempts={name: count + other.attempts.get(name, 0) for name, count in self.attempts.items()},
            breaker=worse,
            reason=self.reason or other.reason,
            stopped=self.stopped or other.stopped,
            oldest_ms=max(self.oldest_ms, other.oldest_ms),
            waiting_max=self.waiting_max + other.waiting_max,
            is_pressing=self.is_pressing or other.is_pressing,
            is_ending=self.is_ending or other.is_ending,
            queue=self.queue.plus(other.queue) if self.queue and other.queue else self.queue or other.queue,
        )
