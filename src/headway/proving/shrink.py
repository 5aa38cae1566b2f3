"""Finding the least that shows a difference: fewer events, fewer lives, and simpler ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Optional

from headway.proving.plans import Trial, simpler

if TYPE_CHECKING:
    from headway.proving.outcome import Difference
    from headway.proving.proof import Fault

__all__ = ["shrunk"]

_TRIES: Final = 2
"""How often a plan is carried out before it counts as one that shows nothing: moments are not the same each time."""
_BUDGET_S: Final = 45.0
_LEAST_EVENTS: Final = 2

Try = Callable[[Trial, int], "Optional[Difference]"]
"""Carries out a plan on so many events, and tells what differs."""


def shrunk(fault: Fault, attempt: Try, stop: Callable[[], bool]) -> Fault:
    """The least fault that is found within 45 seconds, and how often it shows itself; perhaps the one that is given."""
    until_s = time.monotonic() + _BUDGET_S

    def shows(trial: Trial, events: int) -> Optional[Difference]:
        for _ in range(_TRIES):
            if stop() or time.monotonic() > until_s:
                return None
            found = attempt(trial, events)
            if found is not None:
                return found
        return None

    best = fault
    best = _fewer_events(best, shows)
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for trial in simpler(best.trial):
            found = shows(trial, best.events)
            if found is not None:
                best, is_smaller = replace(best, trial=trial, difference=found), True
                break
    best = _fewer_events(best, shows)
    results = [] if stop() else [attempt(best.trial, best.events) for _ in range(3)]
    shown = [found for found in results if found is not None]
    return replace(best, difference=shown[0] if shown else best.difference, tried=len(results), shown=len(shown))


def _fewer_events(best: Fault, shows: Try) -> Fault:
    events = best.events
    while events > _LEAST_EVENTS:
        for share in (0.25, 0.5, 0.75):
            fewer = max(_LEAST_EVENTS, int(events * share))
            found = shows(best.trial, fewer) if fewer < events else None
            if found is not None:
                best, events = replace(best, events=fewer, difference=found), fewer
                break
        else:
            break
    return best
