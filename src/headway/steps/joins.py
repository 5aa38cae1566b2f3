"""Steps of keyed streams: joins."""

from __future__ import annotations

from typing import TypeVar

from headway.steps.base import KeyedSteps

__all__ = ["JoinSteps"]

T = TypeVar("T")


class JoinSteps(KeyedSteps[T]):
    """Steps of keyed streams: joins."""
