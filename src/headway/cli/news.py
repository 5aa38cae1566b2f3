"""What workers want to be told while a run goes on, such as that a link is not read."""

from __future__ import annotations

from headway.runtime.stats import RunStats

__all__ = ["News"]


class News:
    """The notices of all workers, each given once: a flow that follows its input may have no end to tell them at."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, stats: RunStats) -> list[str]:
        """Those that have not been given yet, in their order."""
        notices = dict.fromkeys(notice for worker in stats.workers for notice in worker.notices)
        new = [notice for notice in notices if notice not in self._given]
        self._given.update(new)
        return new
