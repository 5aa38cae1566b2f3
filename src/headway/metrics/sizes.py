"""How large a state directory is, by its parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Optional

__all__ = ["StateSizes"]

_KEPT_MS: Final = 10_000
_PARTS: Final = {"groups": "groups", "inbox": "inbox", "dead-letters": "dead-letters", "run": "run"}
"""The folders that are told by themselves; all the rest, such as the engine's log, is `other`."""


class StateSizes:
    """Looks at the sizes of all files, at most once in ten seconds: some milliseconds for a thousand files.

    Files that vanish meanwhile count nothing, and so does what may not be looked at. `clock_ms` never goes back.
    """

    def __init__(self, directory: Path, clock_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._clock_ms = clock_ms
        self._looked_ms: Optional[int] = None
        self._sizes: dict[str, int] = {}

    def look(self) -> dict[str, int]:
        """Bytes by part; empty where there is no state directory yet."""
        now_ms = self._clock_ms()
        if self._looked_ms is None or now_ms - self._looked_ms >= _KEPT_MS:
            self._looked_ms = now_ms
            self._sizes = self._measured()
        return self._sizes

    def _measured(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for folder, _, files in os.walk(self._directory):
            top = Path(folder).relative_to(self._directory).parts[:1]
            part = _PARTS.get(top[0], "other") if top else "other"
            sizes[part] = sizes.get(part, 0) + sum(_size(os.path.join(folder, name)) for name in files)
        return sizes


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
