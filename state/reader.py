"""A read-only view of a state directory, also while a run is using it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["StateReader", "StoredRow"]


@dataclass(frozen=True)
class StoredRow:
    """A committed row: `state` in plain builtins, `timers` as name to due time."""

    key: str
    state: Any
    timers: dict[str, int]
    touched_ms: int
    group: int


class StateReader:
    """Committed rows of all key groups; a context manager."""

    def __init__(self, directory: Path | str) -> None:
        raise NotImplementedError

    def operators(self) -> list[str]:
        """The names of all operators that keep state."""
        raise NotImplementedError

    def rows(self, operator: str, prefix: str = "", limit: int | None = None) -> Iterator[StoredRow]:
        """Rows of `operator` whose key starts with `prefix`, ordered by key."""
        raise NotImplementedError

    def get(self, operator: str, key: str) -> StoredRow | None:
        """The row of `key`, or None."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all databases."""
        raise NotImplementedError
