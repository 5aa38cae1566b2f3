"""What is in memory of the rows that wait: a window on each queue, lane by lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, Optional

from headway.state.delivery_queue import DeliveryQueue
from headway.state.delivery_rows import Lane, Undelivered
from headway.targets.base import Answer

__all__ = ["FRESH", "ActiveLane", "QueueWindow"]

FRESH: Final = Lane()
"""How it stands with a lane in which nothing has failed."""


class ActiveLane:
    """A lane with rows in memory: the first of them is under way, or ready to go."""

    __slots__ = ("began_ms", "drops", "is_log", "is_queued", "name", "rows", "state", "under_way", "window")

    def __init__(self, window: QueueWindow, name: str, state: Optional[Lane], *, is_log: bool = False) -> None:
        self.window = window
        self.name = name
        self.is_log = is_log
        """Whether it stands for the whole log, of which a receiver takes one batch after the other."""
        self.is_queued = False
        """Whether it is under way, or among those that are ready."""
        self.rows: deque[Undelivered] = deque()
        self.under_way = 0
        """How many of its first rows have been handed over and not been answered."""
        self.began_ms = 0
        """When these were handed over, by the wall clock in epoch milliseconds."""
        self.drops: set[int] = set()
        """The numbers of those among them that nobody wants any more, unless they are taken."""
        self.state = state
        """How it stands with the lane where it is parked: then more of its rows may be parked. None where it is not."""

    def begin(self, rows: int, now_ms: int) -> None:
        """So many of its first rows are handed over."""
        self.under_way = rows
        self.began_ms = now_ms


class QueueWindow:
    """One queue, how far its log has been read into memory, and its lanes that are there."""

    __slots__ = ("after", "deferred", "early", "lanes", "log", "next_due_ms", "queue")

    def __init__(self, queue: DeliveryQueue, *, in_order: bool) -> None:
        self.queue = queue
        self.log = ActiveLane(self, "", queue.totals.log, is_log=True) if in_order else None
        """The whole log as one lane, for a receiver that takes it strictly in order."""
        self.after = -1
        """The number of the last row of the log that was read."""
        self.lanes: dict[str, ActiveLane] = {}
        self.early: set[int] = set()
        """The numbers of rows that came before their epoch was durable, and that the log has not been read up to."""
        self.deferred: list[tuple[ActiveLane, Undelivered, Answer]] = []
        """What came of such rows while their epoch was not durable."""
        self.next_due_ms = queue.next_due_ms()
        """When the next lane that is parked is due, as of the last look; None where none is."""

    def held(self) -> set[int]:
        """The numbers of all rows that are in memory."""
        lanes = [*self.lanes.values(), *([] if self.log is None else [self.log])]
        return {row.number for lane in lanes for row in lane.rows}

    @property
    def is_read(self) -> bool:
        """Whether all of the log has been read."""
        return self.after + 1 >= self.queue.next

    def floor(self) -> int:
        """No row of the log that waits has a number below it."""
        lanes = [*self.lanes.values(), *([] if self.log is None else [self.log])]
        numbers = [row.number for lane in lanes for row in lane.rows if not row.is_parked]
        return min(numbers, default=self.after + 1)

    def not_in_memory(self, most: int) -> Iterator[Undelivered]:
        """Of the first rows that wait, `most` at most, those that have not been read, the oldest first."""
        for row in islice(self.queue.rows(), most):
            is_read = row.row.lane in self.lanes if row.is_parked else row.number <= self.after
            if not is_read:
                yield row
