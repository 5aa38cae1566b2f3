"""How far the run of a durable function has come."""

from __future__ import annotations

import enum
from typing import Final

from headway.functions.history import Cancelled, Continued, Finished, FinishedBadly, Terminated

__all__ = ["ENDED", "Cancellation", "Status"]


class Status(str, enum.Enum):
    """How far a run has come."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CONTINUED = "continued"
    TERMINATED = "terminated"


class Cancellation(str, enum.Enum):
    """What has become of the request to cancel."""

    NOT_ASKED = "not asked"
    ASKED = "asked"
    """The code was told and goes on, perhaps to tidy up."""
    FOLLOWED = "followed"
    SWALLOWED = "swallowed"
    """The code was told, and returned or failed as if it had not been."""


ENDED: Final[dict[type, Status]] = {
    Finished: Status.COMPLETED,
    FinishedBadly: Status.FAILED,
    Cancelled: Status.CANCELLED,
    Continued: Status.CONTINUED,
    Terminated: Status.TERMINATED,
}
"""The status that each last command of a history means."""
