"""Steps of keyed streams: windows."""

from __future__ import annotations

from typing import TypeVar

from headway.steps.base import KeyedSteps

__all__ = ["WindowSteps"]

T = TypeVar("T")


class WindowSteps(KeyedSteps[T]):
    """Steps of keyed streams: windows."""
