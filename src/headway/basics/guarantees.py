"""What whoever receives the records of a flow can rely on."""

from __future__ import annotations

from enum import Enum

__all__ = ["Guarantee"]


class Guarantee(Enum):
    """What a receiver can rely on, as `headway explain` prints it."""

    EXACT = "exact"
    """Each trigger has its effect once, with no help of the receiver."""
    BY_ID = "effectively once by id"
    """A trigger may come again, always with the same id and the same bytes."""
    AT_LEAST_ONCE = "at least once"
    """A trigger may come again, and its receiver does not get to see the id."""
