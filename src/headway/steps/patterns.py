"""Steps of keyed streams: patterns over one key."""

from __future__ import annotations

from typing import TypeVar

from headway.steps.base import KeyedSteps

__all__ = ["PatternSteps"]

T = TypeVar("T")


class PatternSteps(KeyedSteps[T]):
    """Steps of keyed streams: patterns over one key."""
