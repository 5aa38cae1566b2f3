"""Which key groups have records that wait for nothing but the news that time has gone on.

With ingestion time a record happens when its log takes it, and is handled when all sources of its stage have said that
nothing earlier comes: each does so within a millisecond when it is asked, and at its leisure when it is not. So the
workers of one machine tell each other which groups wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Optional

from headway.runtime.board import Board
from headway.runtime.stage import StageTask

__all__ = ["Waiters"]


class Waiters:
    """Asked a thousand times a second by each slot whose source goes by the clock; some microseconds.

    `shared` is the board that the workers of one machine share, None where there is none.
    """

    def __init__(
        self,
        tasks: Mapping[tuple[str, int], StageTask],
        wall_ms: Callable[[], int],
        shared: Optional[Board],
        worker: int,
    ) -> None:
        self._tasks = tasks
        self._wall_ms = wall_ms
        self._shared = shared
        self._worker = worker
        self._told = 0

    def __call__(self) -> list[int]:
        """The numbers of the groups."""
        now_ms = self._wall_ms()
        own = {task.group for task in list(self._tasks.values()) if task.waits(now_ms)}
        if self._shared is None:
            return sorted(own)
        bits = sum(1 << group for group in own)
        if bits != self._told:
            self._told = bits
            self._shared.report_waiting(self._worker, bits)
        found = bits | self._shared.waiting()
        return [group for group in range(found.bit_length()) if found >> group & 1]
