"""How quiet the machine is: a fixed loop of pure Python, timed again and again.

`python -m benchmarks.noise` runs the loop and tells the seconds of the quickest one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.processes import ROOT

__all__ = ["Noise", "cores_free", "loop_s", "probe"]

_ROUNDS: Final = 200_000
_PROBES: Final = 3


@dataclass(frozen=True)
class Noise:
    """Times of the loop around one case, in seconds."""

    before_s: list[float]
    after_s: list[float]

    @property
    def spread(self) -> float:
        """How much longer the slowest loop took than the quickest, as a share."""
        times = [*self.before_s, *self.after_s]
        return max(times) / min(times) - 1


def loop_s(rounds: int = _ROUNDS) -> float:
    """Seconds that the loop takes: dicts, texts and numbers, as in a stream job."""
    started = time.perf_counter()
    counts: dict[str, int] = {}
    for number in range(rounds):
        key = f"u{number % 5_000:06d}"
        counts[key] = counts.get(key, 0) + number % 7
    return time.perf_counter() - started


def probe() -> list[float]:
    """Some loops one after the other."""
    return [loop_s() for _ in range(_PROBES)]


def cores_free(processes: int = 2) -> float:
    """How many cores as many processes really get: their loops side by side, against one alone."""
    alone_s = min(_loops(1))
    return sum(alone_s / together_s for together_s in _loops(processes))


def _loops(processes: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.noise"]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(processes)]
    return [float(process.communicate()[0]) for process in started]


if __name__ == "__main__":
    print(min(probe()))
