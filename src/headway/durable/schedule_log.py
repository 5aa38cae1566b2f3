"""The log by which a run tells its schedules what the code says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway.durable.messages import Announced, message
from headway.durable.schedules import Schedule
from headway.inbox.commits import Inbox, item_of
from headway.inbox.runlog import RunLogInput

__all__ = ["ScheduleLog"]


@dataclass(frozen=True)
class ScheduleLog(RunLogInput):
    """Has a message to each schedule for each run that has begun: it is written before the run reads anything."""

    schedules: Mapping[str, Schedule] = field(default_factory=dict, compare=False)

    def prepare(self, workers: int) -> None:
        """Write what this run's code says."""
        super().prepare(1)
        inbox = Inbox(self.directory(0), self.settings)
        try:
            inbox.commit([[item_of(message(one.address, Announced()))] for one in self.schedules.values()])
        finally:
            inbox.close()
