"""The waiting room of one queue: who waits, who may begin, and what is counted. Pure; time is given."""

from __future__ import annotations

from typing import Generic, Optional, TypeVar

from headway.basics.histogram import Histogram
from headway.steps.bucket import Bucket
from headway.steps.order import Order
from headway.steps.queues import Queue
from headway.steps.shared import SharedLimits
from headway.targets.figures import QueueFigures

__all__ = ["Room"]

T = TypeVar("T")


class Room(Generic[T]):
    """Attempts that wait in one queue of one process, and how many of them run.

    >>> room = Room[str](Queue("payments", concurrency=1), now_ms=0)
    >>> first, second = room.put("first"), room.put("second")
    >>> room.take(0), room.take(0)
    ('first', None)
    >>> room.release(); room.take(0)
    'second'
    """

    def __init__(self, queue: Queue, now_ms: int, shared: Optional[SharedLimits] = None) -> None:
        self.queue = queue
        self.running = 0
        """Attempts that have been taken and whose code has not come to its end."""
        self.to_start = Histogram()
        """From when an attempt could begin until it did."""
        self.to_end = Histogram()
        """From when an attempt began until its outcome was known."""
        self._order = Order[T](queue.weights)
        self._shared = shared
        """Of a flow that has several processes: the limits are those of all together."""
        self._shared_wait_ms = 0
        self._bucket = None if queue.per_second is None else Bucket(queue.per_second, queue.burst, now_ms)

    @property
    def waiting(self) -> int:
        """Attempts that wait."""
        return len(self._order)

    def put(self, attempt: T, priority: int = 0, fairness: str = "") -> int:
        """Let an attempt wait; returns a ticket for `leave`."""
        return self._order.put(attempt, priority, fairness)

    def leave(self, ticket: int) -> None:
        """One that waits does so no longer."""
        self._order.remove(ticket)

    def take(self, now_ms: int) -> Optional[T]:
        """The attempt that may begin now; None where none may. It has a place until `release`."""
        if not self._order or self.running >= self.queue.concurrency:
            return None
        if self._shared is not None:
            self._shared_wait_ms = self._shared.take(now_ms)
            if self._shared_wait_ms:
                return None
        elif self._bucket is not None and not self._bucket.take(now_ms):
            return None
        self.running += 1
        return self._order.take()

    def admit(self) -> None:
        """One that waits no longer has begun already, elsewhere: it has a place, whatever the limits say."""
        self.running += 1
        if self._shared is not None:
            self._shared.admit()

    def release(self) -> None:
        """The place of an attempt is free."""
        assert self.running > 0, "a place is given back twice"
        self.running -= 1
        if self._shared is not None:
            self._shared.release()

    def untake(self) -> None:
        """What was taken has not begun: its place and its token are free again."""
        self.release()
        if self._shared is not None:
            self._shared.give_back_token()
        elif self._bucket is not None:
            self._bucket.give_back()

    def wait_ms(self, now_ms: int) -> Optional[int]:
        """In how many milliseconds one may begin that only the rate holds up, or what other processes have.

        None where nothing waits for that.
        """
        if not self._order or self.running >= self.queue.concurrency:
            return None
        if self._shared is not None:
            return self._shared_wait_ms or None
        return None if self._bucket is None else self._bucket.wait_ms(now_ms)

    def close(self) -> None:
        """Let go of what other processes may have."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def figures(self) -> QueueFigures:
        """How it stands."""
        return QueueFigures(
            queue=self.queue.name,
            waiting=self.waiting,
            running=self.running,
            to_start=self.to_start.copy(),
            to_end=self.to_end.copy(),
        )
