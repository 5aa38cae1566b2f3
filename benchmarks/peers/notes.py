"""What steps have noted: a line for each beginning of a step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.processes import BenchmarkError

__all__ = ["ACCEPTED", "SECOND", "THIRD", "Notes"]

ACCEPTED: Final = 0
"""Noted by applications that start functions themselves: the engine has it."""
SECOND: Final = 2
THIRD: Final = 3
_BEAT_S: Final = 0.001


class Notes:
    """Reads a file of notes as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: dict[tuple[int, int], float] = {}
        """When each step began first, in epoch seconds, by the number of its function and its own."""
        self.counts: Counter[int] = Counter()
        """How many functions have begun each step."""
        self.begun = 0
        """Beginnings of steps, also of those that were begun again."""
        self.last_s = 0.0
        self._read = 0

    def look(self) -> None:
        """Read what is new."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        for line in data.splitlines():
            number, step, time_ns = map(int, line.split())
            self.last_s = time_ns / 1e9
            if step != ACCEPTED:
                self.begun += 1
            if (number, step) not in self.times:
                self.times[number, step] = time_ns / 1e9
                self.counts[step] += 1

    def await_true(self, condition: Callable[[], bool], what: str, within_s: float) -> None:
        """Look until a condition holds. Raises `BenchmarkError` where it does not in time."""
        until_s = time.monotonic() + within_s
        self.look()
        while not condition():
            if time.monotonic() > until_s:
                msg = f"waited {within_s:.0f} s in vain for {what}: {dict(sorted(self.counts.items()))}"
                raise BenchmarkError(msg)
            time.sleep(_BEAT_S)
            self.look()
