"""Stories of visitors: sessions in which a funnel is followed for a while, and left."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from headway.generate.tale import HOUR_MS, MINUTE_MS, Tale

__all__ = ["click_stories"]

_FUNNEL: Final = ("view", "cart", "checkout", "pay")


def click_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One visitor after the other, about every 30 seconds, with one to three sessions each."""
    number = 0
    while True:
        start_ms += random.randrange(60_000)
        visitor, time_ms = f"v{number:07d}", start_ms
        tale = Tale([], [])
        for _ in range(random.randint(1, 3)):
            begun_ms, reached = time_ms, 0
            # A detour repeats a step that was taken before, or looks at something else: it leads no further.
            pages = [page for step in _FUNNEL[: random.randint(0, 4)] for page in (step, *_detour(random, step))] or [
                "other"
            ]
            for page in pages:
                tale.events.append((time_ms, {"visitor": visitor, "page": page, "at": time_ms}))
                reached += reached < len(_FUNNEL) and page == _FUNNEL[reached]
                ended_ms = time_ms
                time_ms += random.randrange(1, 29 * MINUTE_MS)
            session = {"start": begun_ms, "clicks": len(pages), "duration_ms": ended_ms - begun_ms}
            furthest = _FUNNEL[reached - 1] if reached else "none"
            tale.expected.append({"visitor": visitor, **session, "reached": furthest, "paid": reached == len(_FUNNEL)})
            time_ms = ended_ms + 30 * MINUTE_MS + random.randrange(5 * HOUR_MS)
        yield tale
        number += 1


def _detour(random: Random, step: str) -> list[str]:
    return random.choice([[], [], ["other"], [step]])
