"""A pattern compiled into tables: positions, and the edges between them.

A position is one occurrence of an event of the pattern (loops are unrolled up to their least number). A partial
match stands at the position of its last event; each edge leads to a position that its next event may have, and says
what ends the wait for it. So a partial match is one path of events, and the edges that are still open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from headway.errors import FlowError
from headway.operators.patterns.condition import Test, ready
from headway.operators.patterns.pattern import Contiguity, Pattern, Step

__all__ = ["END", "START", "Automaton", "Edge", "compile_pattern"]

START = -1
"""The source of the edges that begin a match."""
END = -2
"""The target of edges that are completed by what does not come."""
_EDGES_MAX = 62
_POSITIONS_MAX = 10_000


@dataclass(frozen=True)
class _Exclusion:
    """A greedy loop that was left: what it would take ends the wait, unless its `until` came."""

    test: Test
    until: Optional[Test]


@dataclass(frozen=True)
class Edge:
    """One way on from a position."""

    target: int
    contiguity: Contiguity
    test: Optional[Test]
    """What the event must meet; None for the end."""
    stops: tuple[Test, ...] = ()
    """An event that meets one of these closes the edge."""
    stops_first: tuple[Test, ...] = ()
    """The same, for the event directly after the last one."""
    exclusions: tuple[_Exclusion, ...] = ()
    until: tuple[Test, ...] = ()
    """Of loops that the edge stays in: an event that meets one of these closes it."""
    refuses: tuple[Test, ...] = ()
    """Of loops that the edge enters: an event that meets one of these is not taken."""
    gap_ms: Optional[int] = None
    head: bool = False
    """Whether it leads to the first step of the group that is being built."""
    then: int = 0
    """The edge that it becomes when an event has passed."""
    released: tuple[tuple[Test, int], ...] = ()
    """The edges that it becomes at an event that ends a greedy loop."""

    simple: bool = False
    """Whether nothing but the test counts, and that is of the event alone."""


@dataclass(frozen=True)
class _Exit:
    """A position that a fragment can be left from, and what holds for the edges that leave it."""

    source: int
    stops: tuple[Test, ...] = ()
    stops_first: tuple[Test, ...] = ()
    exclusions: tuple[_Exclusion, ...] = ()

    def edge(self, entry: Edge) -> Edge:
        return replace(
            entry,
            stops=self.stops + entry.stops,
            stops_first=self.stops_first + entry.stops_first,
            exclusions=self.exclusions + entry.exclusions,
        )

    def past(self, fragment_pass: _Exit) -> _Exit:
        return replace(self, exclusions=self.exclusions + fragment_pass.exclusions)


_HOLE = -3
"""The source of a fragment's entries, before it is known what stands before it."""


@dataclass
class _Fragment:
    entries: list[Edge]
    exits: list[_Exit]
    passes: list[_Exit] = field(default_factory=list)
    """How the fragment can be left out."""


@dataclass
class Automaton:
    """The tables."""

    names: list[str]
    """Names of the steps, in the order of the pattern."""
    position_names: list[int]
    """For each position the number of its name."""
    edges: list[list[Edge]]
    """For each position the edges that leave it; the last list is of those that begin a match."""
    open: list[int]
    """For each position which of its edges are open at first, as bits."""
    complete: list[bool]
    """For each position whether a match is complete there."""
    ruled: bool
    """Whether some condition asks for the rules."""


def compile_pattern(pattern: Pattern, event_type: Any) -> Automaton:
    """The tables of a pattern for events of one type. Raises `FlowError` for one that cannot be."""
    return _Compiler(event_type).compile(pattern)


class _Compiler:
    def __init__(self, event_type: Any) -> None:
        self._event_type = event_type
        self._names: list[str] = []
        self._position_names: list[int] = []
        self._edges: dict[int, list[Edge]] = {START: []}
        self._tests: dict[int, Test] = {}
        self._alive: list[Any] = []

    def compile(self, pattern: Pattern) -> Automaton:
        pattern = self._named(pattern)
        self._check_end(pattern)
        whole = self._sequence(pattern.steps)
        self._connect([_Exit(START)], whole.entries)
        complete = [False] * len(self._position_names)
        for way_out in whole.exits:
            if pattern.steps[-1].negated:
                self._edges[way_out.source].append(self._end(pattern, way_out))
            else:
                complete[way_out.source] = True
        finished = [_with_variants(self._edges[p]) for p in range(len(complete))]
        start = [replace(edge, simple=_is_simple(edge)) for edge in dict.fromkeys(self._edges[START])]
        start.sort(key=lambda edge: edge.target)
        return Automaton(
            self._names,
            self._position_names,
            [edges for edges, _ in finished] + [start],
            [(1 << count) - 1 for _, count in finished],
            complete,
            any(test.ruled for test in self._tests.values()),
        )

    # -- Names and checks ---------------------------------------------------------------------------------

    def _named(self, pattern: Pattern) -> Pattern:
        """The pattern with a name for each step, and with steps that are objects of their own."""
        return replace(pattern, steps=tuple(self._named_step(step) for step in pattern.steps))

    def _named_step(self, step: Step) -> Step:
        if step.group:
            return replace(step, group=tuple(self._named(option) for option in step.group))
        name = step.name or f"step{len(self._names) + 1}"
        if name in self._names:
            msg = f"two steps of the pattern are called {name!r}: give each a name of its own"
            raise FlowError(msg)
        self._names.append(name)
        return replace(step, name=name)

    def _check_end(self, pattern: Pattern) -> None:
        for step in pattern.steps[:-1]:
            if step.negated and step.gap_ms is not None:
                msg = f"{step.label} has a time of its own (then_absent, within since='previous'): it must come last"
                raise FlowError(msg)
        last = pattern.steps[-1]
        trailing = []
        for step in reversed(pattern.steps):
            if not step.negated:
                break
            trailing.append(step)
        waits = [step for step in trailing if step.contiguity is not Contiguity.STRICT]
        if waits and pattern.within_ms is None and last.gap_ms is None:
            msg = (
                f"the pattern ends with what must not follow ({last.label}), but does not say for how long: "
                'add .within("1h"), or end it with .then_absent(..., within="1h")'
            )
            raise FlowError(msg)

    # -- Conditions ---------------------------------------------------------------------------------------

    # Tests are known by the object that they are for, which `_alive` keeps: an id is used again once it is free.
    def _test(self, key: Any, conditions: Sequence[Any]) -> Test:
        """The test of a step or an `until`, the same for each of its positions."""
        known = self._tests.get(id(key))
        if known is None:
            holds, takes = ready(conditions, self._event_type)
            known = self._tests[id(key)] = Test(len(self._tests), holds, takes)
            self._alive.append(key)
        return known

    def _until(self, step: Step) -> Optional[Test]:
        condition = step.quantifier.until
        return None if condition is None else self._test(condition, (condition,))

    # -- Fragments ----------------------------------------------------------------------------------------

    def _sequence(self, steps: Sequence[Step]) -> _Fragment:
        frontier = [_Exit(_HOLE)]
        entries: list[Edge] = []
        for number, step in enumerate(steps):
            if step.negated:
                frontier = [self._forbid(way_out, step) for way_out in frontier]
                continue
            fragment = self._step(step, _negated_after(steps, number))
            entries += [
                edge if number == 0 else replace(edge, head=False) for edge in self._connect(frontier, fragment.entries)
            ]
            passed = [way_out.past(p) for p in fragment.passes for way_out in frontier]
            frontier = list(dict.fromkeys(fragment.exits + passed))
        return _Fragment(
            entries,
            [way_out for way_out in frontier if way_out.source != _HOLE],
            [way_out for way_out in frontier if way_out.source == _HOLE],
        )

    def _forbid(self, way_out: _Exit, step: Step) -> _Exit:
        test = self._test(step, step.conditions)
        if step.contiguity is Contiguity.STRICT:
            return replace(way_out, stops_first=(*way_out.stops_first, test))
        return replace(way_out, stops=(*way_out.stops, test))

    def _connect(self, exits: Iterable[_Exit], entries: Iterable[Edge]) -> list[Edge]:
        """Add the edges from each exit to each entry; those from what is not known yet are returned."""
        unknown = []
        for way_out in exits:
            for entry in entries:
                edge = way_out.edge(entry)
                if way_out.source == _HOLE:
                    unknown.append(edge)
                else:
                    self._edges[way_out.source].append(edge)
        return unknown

    def _step(self, step: Step, forbidden: Sequence[Step]) -> _Fragment:
        quantifier = step.quantifier
        until = self._until(step)
        bodies = [self._body(step, until)]
        optional = quantifier.optional or bool(bodies[0].passes)
        least = 1 if bodies[0].passes else quantifier.at_least
        for _ in range(1, quantifier.at_most or quantifier.at_least):
            bodies.append(self._body(step, until))
        for number, body in enumerate(bodies[:-1], 1):
            self._repeat(step, body, bodies[number], until, forbidden, leaves=number >= least)
        if quantifier.at_most is None:
            self._repeat(step, bodies[-1], bodies[-1], until, forbidden, leaves=True)
        exits = [way_out for body in bodies[least - 1 :] for way_out in body.exits]
        passes = [_Exit(_HOLE)] if optional else []
        if quantifier.greedy and quantifier.at_least != quantifier.at_most:
            excluded = (_Exclusion(self._test(step, step.conditions), until),)
            exits = [replace(way_out, exclusions=way_out.exclusions + excluded) for way_out in exits]
            passes = [replace(way_out, exclusions=excluded) for way_out in passes]
        entries = [replace(edge, contiguity=step.contiguity) if edge.head else edge for edge in bodies[0].entries]
        if until is not None:
            entries = [replace(edge, refuses=(*edge.refuses, until)) for edge in entries]
        return _Fragment(entries, exits, passes)

    def _body(self, step: Step, until: Optional[Test]) -> _Fragment:
        """One occurrence of a step."""
        first = len(self._position_names)
        if step.group:
            options = [self._sequence(option.steps) for option in step.group]
            fragment = _Fragment(
                [edge for option in options for edge in option.entries],
                [way_out for option in options for way_out in option.exits],
                list(dict.fromkeys(way_out for option in options for way_out in option.passes)),
            )
        else:
            fragment = _Fragment([self._enter(step)], [_Exit(first)])
        if until is not None:
            for position in range(first, len(self._position_names)):
                self._edges[position] = [replace(e, until=(*e.until, until)) for e in self._edges[position]]
        if step.gap_ms is not None:
            fragment.entries = [replace(e, gap_ms=_least(e.gap_ms, step.gap_ms)) for e in fragment.entries]
        return fragment

    def _enter(self, step: Step) -> Edge:
        position = len(self._position_names)
        if position == _POSITIONS_MAX:
            msg = f"the pattern is too large: its loops make more than {_POSITIONS_MAX} events"
            raise FlowError(msg)
        self._position_names.append(self._names.index(str(step.name)))
        self._edges[position] = []
        return Edge(position, step.contiguity, self._test(step, step.conditions), head=True)

    def _repeat(
        self,
        step: Step,
        body: _Fragment,
        following: _Fragment,
        until: Optional[Test],
        forbidden: Sequence[Step],
        *,
        leaves: bool,
    ) -> None:
        """The edges from one occurrence of a loop to the next."""
        exits = body.exits
        for other in forbidden:
            if leaves or other.contiguity is not Contiguity.STRICT:
                exits = [self._forbid(way_out, other) for way_out in exits]
        entries = [
            replace(
                edge,
                contiguity=step.quantifier.contiguity if edge.head else edge.contiguity,
                until=edge.until if until is None else (*edge.until, until),
            )
            for edge in following.entries
        ]
        self._connect(exits, entries)

    def _end(self, pattern: Pattern, way_out: _Exit) -> Edge:
        """The edge to the end: a greedy loop keeps its events from what must not follow as from any other step."""
        contiguity = Contiguity.ANY if way_out.stops else Contiguity.STRICT
        return way_out.edge(Edge(END, contiguity, None, gap_ms=pattern.steps[-1].gap_ms))


def _negated_after(steps: Sequence[Step], number: int) -> list[Step]:
    found = []
    for step in steps[number + 1 :]:
        if not step.negated:
            break
        found.append(step)
    return found


def _least(one: Optional[int], other: int) -> int:
    return other if one is None else min(one, other)


def _with_variants(edges: list[Edge]) -> tuple[list[Edge], int]:
    """The edges in the order of their targets, with those they turn into behind them; and how many are open first."""
    ordered = sorted(dict.fromkeys(edges), key=lambda edge: (edge.target == END, edge.target))
    count = len(ordered)
    known = {edge: index for index, edge in enumerate(ordered)}
    index = 0

    def number_of(variant: Edge) -> int:
        if variant not in known:
            known[variant] = len(ordered)
            ordered.append(variant)
        return known[variant]

    links = []
    while index < len(ordered):
        edge = ordered[index]
        released = tuple(
            (excluded.until, number_of(replace(edge, exclusions=tuple(e for e in edge.exclusions if e != excluded))))
            for excluded in edge.exclusions
            if excluded.until is not None
        )
        links.append((number_of(replace(edge, stops_first=())) if edge.stops_first else index, released))
        index += 1
    if len(ordered) > _EDGES_MAX:
        msg = f"the pattern is too large: more than {_EDGES_MAX} steps can follow one event; split it into groups"
        raise FlowError(msg)
    finished = [replace(e, then=then, released=released) for e, (then, released) in zip(ordered, links)]
    return [replace(edge, simple=_is_simple(edge)) for edge in finished], count


def _is_simple(edge: Edge) -> bool:
    conditions = edge.stops or edge.stops_first or edge.exclusions or edge.until or edge.refuses
    return not conditions and edge.test is not None and not edge.test.iterative
