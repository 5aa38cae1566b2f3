"""How it stands with durable functions, in words: for the panel of a run and its lines."""

from __future__ import annotations

from collections.abc import Iterator

from headway.basics.function_figures import FunctionFigures, figures_of
from headway.cli.texts import count_text
from headway.runtime.stats import RunStats

__all__ = ["FunctionAlerts", "figures_in", "function_parts", "functions_left", "functions_text"]

_WRONG = ("blocked", "failed")


def figures_in(stats: RunStats) -> dict[str, FunctionFigures]:
    """By function; nothing for a flow without any."""
    return figures_of(stats.tallies.get("functions", {}))


def functions_left(stats: RunStats) -> int:
    """How many functions have not ended."""
    phases = [one.phases for one in figures_in(stats).values()]
    return sum(one.get(phase, 0) for one in phases for phase in ("working", "asleep", "blocked"))


def function_parts(figures: dict[str, FunctionFigures]) -> list[tuple[str, bool]]:
    """What is told of all functions together, each with whether something is wrong there.

    >>> function_parts({"ship": FunctionFigures(phases={"working": 2, "blocked": 1})})
    [('2 working', False), ('0 asleep', False), ('1 blocked', True)]
    """
    phases = {phase: sum(one.phases.get(phase, 0) for one in figures.values()) for phase in _phases(figures)}
    told = [
        (f"{count:,} {phase}", phase in _WRONG)
        for phase, count in phases.items()
        if count or phase in ("working", "asleep")
    ]
    stray = sum(one.stray for one in figures.values())
    return [*told, (count_text(stray, "reply", "replies") + " for nobody", True)] if stray else told


def functions_text(stats: RunStats) -> str:
    """The same as one text; empty for a flow without functions."""
    figures = figures_in(stats)
    return ", ".join(text for text, _ in function_parts(figures)) if figures else ""


def _phases(figures: dict[str, FunctionFigures]) -> list[str]:
    known = {phase: None for one in figures.values() for phase in one.phases}
    return [*("working", "asleep", *_WRONG), *(phase for phase in known if phase not in ("working", "asleep", *_WRONG))]


class FunctionAlerts:
    """What one should hear of functions when it begins: that instances are blocked, and that one fails in this run."""

    def __init__(self) -> None:
        self._blocked: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def of(self, stats: RunStats) -> Iterator[str]:
        """What has begun since the last time."""
        for name, one in figures_in(stats).items():
            blocked, failed = one.phases["blocked"], one.ended.get("failed", 0)
            if blocked > self._blocked.get(name, 0):
                yield (
                    f"function {name!r}: {count_text(blocked, 'instance')} blocked; `headway functions ls FLOW "
                    f"--name {name} --status blocked` says why"
                )
            self._blocked[name] = blocked
            if name in self._failed and failed > self._failed[name] and self._failed[name] >= 0:
                yield f"function {name!r} fails; `headway functions ls FLOW --name {name} --status failed` says why"
                self._failed[name] = -1  # Once in a run: the panel has the number.
            self._failed.setdefault(name, failed)
