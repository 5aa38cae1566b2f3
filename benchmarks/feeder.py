"""`python -m benchmarks.feeder LOG RATE EVENTS USERS`: append events to a file at a fixed rate, a few each 5 ms.

Each event has a number of microseconds of its own: when it was written, never twice the same. Users come in turn.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

__all__ = ["feed"]

_BEAT_S: Final = 0.005


def feed(log: Path, rate: int, events: int, users: int) -> None:
    """Write `events`, `rate` of them a second, as if no time were lost in between."""
    started_s, last_us, written = time.monotonic(), 0, 0
    with log.open("ab", buffering=0) as out:
        while written < events:
            due = min(events, int((time.monotonic() - started_s) * rate))
            lines = []
            for number in range(written, due):
                last_us = max(last_us + 1, time.time_ns() // 1_000)
                lines.append(b'{"user":"u%d","number":%d,"sent_us":%d}\n' % (number % users, number, last_us))
            out.write(b"".join(lines))
            written = due
            time.sleep(_BEAT_S)


if __name__ == "__main__":
    feed(Path(sys.argv[1]), *map(int, sys.argv[2:]))
