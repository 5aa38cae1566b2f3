"""Stories of visitors: sessions in which a funnel is followed for a while, and left."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from headway.generate.tale import HOUR_MS, MINUTE_MS, Tale, trigger

__all__ = ["click_stories"]

_FUNNEL: Final = ("view", "cart", "checkout", "pay")
_GAP_MS: Final = 30 * MINUTE_MS
"""How long nothing happens before a session is over: that of `flows/session_funnel.py`."""


def click_stories(random: Random, start_ms: int) -> Iterator[Tale]:
    """One visitor after the other, about every 30 seconds, with one to three sessions each."""
    number = 0
    while True:
        start_ms += random.randrange(60_000)
        visitor, time_ms, tale = f"v{number:07d}", start_ms, Tale([], [])
        for _ in range(random.randint(1, 3)):
            time_ms = _session(random, visitor, time_ms, tale) + _GAP_MS
            # A session ends a gap after its last click: a click at that very time begins another one.
            time_ms += random.choice((0, random.randrange(5 * HOUR_MS)))
        yield tale
        number += 1


def _session(random: Random, visitor: str, time_ms: int, tale: Tale) -> int:
    """Tell one session, and when its last click was."""
    begun_ms, ended_ms, reached = time_ms, time_ms, random.randint(0, len(_FUNNEL))
    pages = [page for step in _FUNNEL[:reached] for page in (step, *_detour(random, reached))]
    # What comes after a step that is left out does not count, wherever it leads.
    pages += random.choice(([], _FUNNEL[reached + 1 :], ["other"])) if reached else ["other", *_FUNNEL[1:]]
    for page in pages:
        tale.events.append((time_ms, {"visitor": visitor, "page": page, "at": time_ms}))
        ended_ms = time_ms
        time_ms += random.choice((_GAP_MS - 1, random.randrange(1, _GAP_MS), random.randrange(1, 2 * MINUTE_MS)))
    data = {
        "start": begun_ms,
        "clicks": len(pages),
        "duration_ms": ended_ms - begun_ms,
        "reached": _FUNNEL[reached - 1] if reached else "none",
        "left_before": _FUNNEL[reached] if reached < len(_FUNNEL) else "",
        "paid": reached == len(_FUNNEL),
    }
    tale.expected.append(trigger("session.ended", visitor, ended_ms + _GAP_MS - 1, data))
    return ended_ms


def _detour(random: Random, reached: int) -> list[str]:
    """Pages that lead no further: something else, or the first step once more."""
    return random.choice([[], [], ["other"], ["view"] if reached else []])
