"""Patterns that are chains: after each event one thing is waited for, so that no partial match ever becomes two.

Then those that began earlier are never behind those that began later: whatever takes one that waits for a step takes
all that wait for it. So what is kept are not partial matches but, for each step, the events that were taken there,
each with the number of the last partial match that took it; an event moves any number of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from headway.operators.conditions import field_equality, field_getter
from headway.operators.patterns.automaton import END, Automaton, Edge
from headway.operators.patterns.condition import Test
from headway.operators.patterns.pattern import Contiguity
from headway.operators.patterns.skip import AfterMatch

__all__ = ["Chain", "Link", "Reaction", "chain_of", "reactions_of"]

_SAME_TEST_MAX = 3
"""An event is kept once for each step that takes it: more steps of one condition would keep too many copies."""

Reaction = tuple[bool, tuple[tuple[int, bool], ...]]
"""What an event does: whether it begins a match; then, last step first, the steps whose partial matches it concerns,
and whether it ends these, rather than taking them on."""


@dataclass(frozen=True)
class Link:
    """What the partial matches wait for that have come to a step."""

    test: Optional[Test]
    """What the next event must meet; None where only its absence is waited for."""
    stops: tuple[Test, ...]
    """An event that meets one of these ends the partial match."""
    strict: bool
    """Whether any other event ends it too."""
    gap_ms: Optional[int]


@dataclass(frozen=True)
class Chain:
    """A pattern as a chain of steps, each an event."""

    names: list[str]
    """The name of each step; loops of a fixed length have the same name several times."""
    first: Test
    links: list[Link]
    """Between the steps; one more where the pattern ends with what must not come."""

    @property
    def absent(self) -> bool:
        """Whether the pattern ends with what must not come."""
        return len(self.links) == len(self.names)

    @property
    def gapped(self) -> bool:
        """Whether some link has a time of its own."""
        return any(link.gap_ms is not None for link in self.links)

    @property
    def concerns(self) -> Optional[list[Callable[[Any], bool]]]:
        """The tests of which an event must meet one to change anything; None where every event does."""
        if any(link.strict for link in self.links):
            return None
        return [test.holds for test in _tests_of(self)]


def chain_of(automaton: Automaton, after: AfterMatch) -> Optional[Chain]:
    """The pattern as a chain; None if it is none, or if what a match skips cannot be told from a chain."""
    starts = automaton.edges[-1]
    if len(starts) != 1 or not starts[0].simple or starts[0].test is None:
        return None
    first = starts[0].test
    names, links = [], []
    position = starts[0].target
    while True:
        names.append(automaton.names[automaton.position_names[position]])
        edges = automaton.edges[position]
        if automaton.complete[position] and not edges:
            break
        if automaton.complete[position] or len(edges) != 1 or not _is_link(edges[0]):
            return None
        [edge] = edges
        links.append(Link(edge.test, edge.stops, edge.contiguity is Contiguity.STRICT, edge.gap_ms))
        if edge.target == END:
            break
        if edge.target <= position:
            return None
        position = edge.target
    chain = Chain(names, first, links)
    return chain if _can_skip(chain, after) and not _repeats(chain) else None


def _is_link(edge: Edge) -> bool:
    special = edge.stops_first or edge.exclusions or edge.until or edge.refuses
    if special or any(test.iterative for test in edge.stops):
        return False
    if edge.target == END:
        return edge.contiguity is Contiguity.ANY
    return edge.contiguity is not Contiguity.ANY and edge.test is not None and not edge.test.iterative


def _can_skip(chain: Chain, after: AfterMatch) -> bool:
    # An event that completes a match is the last there is, so that all others began before it; an absence is
    # complete at a time at which others may have begun since.
    return after.kind == "no_skip" or (after.kind in ("skip_to_next", "skip_past_last") and not chain.absent)


def _repeats(chain: Chain) -> bool:
    numbers = [chain.first.number, *(link.test.number for link in chain.links if link.test is not None)]
    return any(numbers.count(number) > _SAME_TEST_MAX for number in numbers)


def reactions_of(chain: Chain, event_type: Any) -> Callable[[Any, int], Reaction]:
    """What an event does where partial matches have come to so many steps: `(event, depth)`; may tell of more steps.

    Looked up by a field where all conditions are about that, else the conditions are asked.
    """
    links = list(enumerate(chain.links))[::-1]

    def asked(event: Any, depth: int) -> Reaction:
        known: dict[int, bool] = {}

        def holds(test: Test) -> bool:
            number = test.number
            if number not in known:
                known[number] = bool(test.holds(event))
            return known[number]

        moves = [(step, kills) for step, link in links if step < depth for kills in _moves(link, holds)]
        return holds(chain.first), tuple(moves)

    field, values = _field_of(_tests_of(chain))
    if field is None:
        return asked

    def reaction(value: Any) -> Reaction:
        def holds(test: Test) -> bool:
            equality = field_equality(test.holds)
            return equality is not None and value in equality[1]

        return holds(chain.first), tuple((step, kills) for step, link in links for kills in _moves(link, holds))

    read = field_getter(field, event_type)
    find, nothing = {value: reaction(value) for value in values}.get, reaction(object())

    def looked_up(event: Any, depth: int) -> Reaction:
        try:
            return find(read(event), nothing)
        except TypeError:  # A value such as a list, which cannot be looked up.
            return asked(event, depth)

    return looked_up


def _moves(link: Link, holds: Any) -> list[bool]:
    """`[True]` if an event ends what waits here, `[False]` if it takes it on, `[]` if it passes."""
    if any(map(holds, link.stops)):
        return [True]
    if link.test is not None and holds(link.test):
        return [False]
    return [True] if link.strict else []


def _tests_of(chain: Chain) -> list[Test]:
    tests = [chain.first]
    for link in chain.links:
        tests += link.stops
        if link.test is not None:
            tests.append(link.test)
    return tests


def _field_of(tests: list[Test]) -> tuple[Optional[str], dict[Any, None]]:
    """The field that all tests ask for, and its values that they ask for; no field where some ask for more."""
    equalities = [equality for test in tests if (equality := field_equality(test.holds)) is not None]
    if len(equalities) != len(tests) or len({field for field, _ in equalities}) != 1:
        return None, {}
    try:
        return equalities[0][0], dict.fromkeys(value for _, values in equalities for value in values)
    except TypeError:  # A value such as a dict, which may be equal to others but cannot be looked up.
        return None, {}
