"""Key groups: which one a key belongs to, and the name under which the engine routes it."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_GROUPS", "group_of", "routing_name"]

MAX_GROUPS: Final = 256


def group_of(key: str, groups: int) -> int:
    """The key group of `key`, in `range(groups)`."""
    raise NotImplementedError


def routing_name(group: int) -> str:
    """The name by which the engine routes `group` (0 to 255); any worker count to 10 is evenly loaded."""
    raise NotImplementedError
