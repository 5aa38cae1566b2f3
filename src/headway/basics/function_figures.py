"""How many durable functions there are of each kind, and how long they took: read from what their operator counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["ASLEEP", "DURATION_BOUNDS_S", "ENDED", "PHASES", "WORKING", "FunctionFigures", "figures_of"]

WORKING: Final = "working"
"""A call of it is under way: a step, a question to a view, another function."""
ASLEEP: Final = "asleep"
"""It waits for time, a signal, a token or a condition."""
ENDED: Final = ("completed", "failed", "cancelled", "terminated")
"""Statuses of an instance of which nothing more comes."""
PHASES: Final = (WORKING, ASLEEP, "blocked", *ENDED)
"""What an instance counts as: under way in one of three ways, or how it has ended, as long as it is known."""
DURATION_BOUNDS_S: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0),
    *(60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0),
)
"""Upper bounds of the buckets of how long functions took, in seconds; one more has what took longer."""


class FunctionFigures(msgspec.Struct):
    """What is known of one function."""

    phases: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    """How many instances there are of each phase."""
    started: int = 0
    """Starts, over the life of the state directory; so are the others."""
    stray: int = 0
    """Replies of topic steps that nobody waited for: they came twice, or too late."""
    ended: dict[str, int] = {}
    """Runs that have ended, by status."""
    took: list[int] = msgspec.field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    """Runs that have ended, by how long they took."""
    took_s: float = 0.0
    """How long all took together, in seconds."""


def figures_of(tallies: Mapping[str, int]) -> dict[str, FunctionFigures]:
    """By function, from the tallies of the operator that runs them.

    >>> figures_of({"ship/asleep": 3, "ship/ended failed": 2, "ship/took 3": 2})["ship"].ended
    {'failed': 2}
    """
    found: dict[str, FunctionFigures] = {}
    for name, count in sorted(tallies.items()):
        function, _, what = name.partition("/")
        figures = found.setdefault(function, FunctionFigures())
        kind, _, detail = what.partition(" ")
        if what in figures.phases:
            figures.phases[what] = count
        elif what == "started":
            figures.started = count
        elif what == "stray":
            figures.stray = count
        elif kind == "ended":
            figures.ended[detail] = count
        elif what == "took ms":
            figures.took_s = count / 1_000
        elif kind == "took":
            figures.took[int(detail)] = count
    return found
