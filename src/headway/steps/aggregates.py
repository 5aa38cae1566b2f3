"""Steps of keyed streams: aggregates as running decision state."""

from __future__ import annotations

from typing import TypeVar

from headway.steps.base import KeyedSteps

__all__ = ["AggregateSteps"]

T = TypeVar("T")


class AggregateSteps(KeyedSteps[T]):
    """Steps of keyed streams: aggregates as running decision state."""
