"""Which events may change anything: most change nothing, and should cost no more than the conditions that say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Optional

from headway.operators.patterns.automaton import Automaton, Edge
from headway.operators.patterns.condition import Test
from headway.operators.patterns.pattern import Contiguity

__all__ = ["Interest"]


class Interest:
    """Asks the conditions that matter at some positions of an automaton, as far as they are about the event alone."""

    def __init__(self, automaton: Automaton) -> None:
        self._tests = [_tests_of(edges) for edges in automaton.edges[:-1]]
        self._starts = [_start_test(edge) for edge in automaton.edges[-1]]

    def concerns(self, positions: Iterable[int], event: Any) -> bool:
        """Whether an event may change a partial match at one of these positions."""
        for position in dict.fromkeys(positions):
            tests = self._tests[position]
            if tests is None:
                return True
            for holds in tests:
                if holds(event):
                    return True
        return False

    def begins(self, event: Any) -> bool:
        """Whether an event may begin a match."""
        for holds in self._starts:  # noqa: SIM110 - a generator costs as much as all the rest
            if holds(event):
                return True
        return False


def _tests_of(edges: list[Edge]) -> Optional[list[Callable[[Any], Any]]]:
    """The tests of which an event must meet one to change a partial match; None: every event may."""
    tests: dict[int, Test] = {}
    for edge in edges:
        if edge.stops_first or (edge.contiguity is Contiguity.STRICT):
            return None
        used = [*edge.stops, *edge.until, *edge.refuses, *(until for until, _ in edge.released)]
        used += [exclusion.test for exclusion in edge.exclusions]
        for test in used if edge.test is None else [*used, edge.test]:
            if test.iterative:
                return None
            tests[test.number] = test
    return [test.holds for test in tests.values()]


def _start_test(edge: Edge) -> Callable[[Any], Any]:
    assert edge.test is not None
    return _anything if edge.test.iterative else edge.test.holds


def _anything(event: Any) -> bool:
    return True
