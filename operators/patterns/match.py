"""The operator that finds a pattern in the events of each key."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Optional, TypeVar

from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.patterns.automaton import END, Automaton, Edge, compile_pattern
from headway.operators.patterns.buffer import NEVER, NO_NODE, Node, Run, state_of
from headway.operators.patterns.condition import Test
from headway.operators.patterns.matcher import LAST, NEXT, Matcher
from headway.operators.patterns.pattern import Contiguity, Pattern
from headway.operators.patterns.results import Match, PartialMatch
from headway.operators.patterns.skip import AfterMatch, no_skip
from headway.schema import returned_type

__all__ = ["MatchPattern"]

E = TypeVar("E")


class MatchPattern(Operator[E, Any, Any]):
    """Emits a `Match` for each match of a pattern in the events of a key.

    `timed_out` has the partial matches that `within` ended, `overflow` those that were given up, oldest first,
    because a key had more than `max_partial_matches`; both are of `PartialMatch`. `after` says which partial matches
    a match ends. `select` turns a match into what is emitted, of the type `into`.

    Costs a call of the conditions that open partial matches wait for, and of the one that begins a match; an event
    that neither fits leaves no state. Keeps one row for a key with open partial matches: the events in them, each
    once, and some 30 bytes for each partial match and for each of its events. `within` bounds it in time,
    `max_partial_matches` in number; without `within` a partial match may stay open for ever.

    >>> from headway.operators.patterns.pattern import once
    >>> MatchPattern(dict, once(kind="add").then_absent(kind="checkout", within="1h")).names
    ['step1', 'step2']
    """

    def __init__(
        self,
        event_type: Any,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        select: Optional[Callable[[Match[E]], Any]] = None,
        into: Any = None,
    ) -> None:
        _check_options(pattern, after, max_partial_matches, select)
        automaton = compile_pattern(pattern, event_type)
        self.names = automaton.names
        self.event_type = event_type
        self.output_type = Match[event_type] if select is None else into or returned_type(select)
        self.sides = {"timed_out": PartialMatch[event_type], "overflow": PartialMatch[event_type]}
        self.state_type, self._entry_type = state_of(event_type, _fingerprint(automaton))
        after = after or no_skip()
        if after.name is not None and after.name not in _positive_names(automaton):
            msg = f"{after.kind}({after.name!r}): the pattern has no such step, it has: {automaton.names}"
            raise FlowError(msg)
        self._matcher = Matcher(automaton, self._entry_type, pattern.within_ms, after, max_partial_matches, select)
        self._tests = [_tests_of(edges) for edges in automaton.edges[:-1]]
        self._start_tests = [_start_test(edge) for edge in automaton.edges[-1]]
        self._lone = [self._lone_edge(edges) for edges in automaton.edges[:-1]]
        self._first = self._lone_start(automaton)

    def on_event(self, state: Any, event: E, ctx: Context[Any], /) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin new ones."""
        runs = state.runs
        if not runs:
            if self._begins(event):
                self._start(state, event, ctx)
            return
        matcher = self._matcher
        if state.due <= ctx.time:
            matcher.expire(state, ctx)
            matcher.event(state, event, ctx)
        elif len(runs) == 1 and not state.completed and self._lone[runs[0].position] is not None:
            self._follow(state, event, ctx)
        elif self._concerns(runs, event):
            matcher.event(state, event, ctx)
        elif self._begins(event):
            matcher.begin(state, event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """End what `within` ends."""
        if timer.name == LAST:
            state.last = NEVER
        else:
            state.due = NEVER
        self._matcher.expire(state, ctx)
        self._matcher.settle(state, ctx)

    # -- Short ways for what is common; everything could go through the matcher -----------------------------

    def _concerns(self, runs: list[Run], event: E) -> bool:
        """Whether an event may change a partial match; most change none, and cost no more than this."""
        for position in dict.fromkeys([run.position for run in runs]):
            tests = self._tests[position]
            if tests is None:
                return True
            for holds in tests:
                if holds(event):
                    return True
        return False

    def _begins(self, event: E) -> bool:
        """Whether an event may begin a match."""
        for holds in self._start_tests:  # noqa: SIM110 - a generator costs as much as all the rest
            if holds(event):
                return True
        return False

    def _start(self, state: Any, event: E, ctx: Context[Any]) -> None:
        """The event begins the only partial match."""
        position = self._first
        if position is None:
            self._matcher.event(state, event, ctx)
            return
        now = ctx.time
        matcher = self._matcher
        state.entries[0] = self._entry_type(event, now, 1)
        state.nodes[0] = Node(position, 0, NO_NODE, 1)
        state.next_node = state.next_entry = 1
        due = matcher.due(position, now, now)
        state.runs.append(Run(position, matcher.open[position], 0, 0, now, now, due))
        if matcher.gapped:
            matcher.settle(state, ctx)
        elif due != NEVER:
            state.due = due
            ctx.timer(NEXT, due)

    def _follow(self, state: Any, event: E, ctx: Context[Any]) -> None:
        """There is one partial match, and one thing that it waits for."""
        lone = self._lone[state.runs[0].position]
        assert lone is not None
        begins = self._begins(event)
        if not lone.holds(event):
            if begins:
                self._matcher.begin(state, event, ctx)
            return
        if lone.ends:
            if begins:
                state.runs.clear()
                state.nodes.clear()
                state.entries.clear()
                self._start(state, event, ctx)
            else:
                ctx.forget()
            return
        if begins:
            self._matcher.event(state, event, ctx)
            return
        run, position, now = state.runs[0], lone.target, ctx.time
        matcher = self._matcher
        if lone.completes:
            matcher.emit_with(position, run, state, event, ctx)
            ctx.forget()
            return
        number, entry = state.next_node, state.next_entry
        state.entries[entry] = self._entry_type(event, now, 1)
        state.nodes[number] = Node(position, entry, run.node, 1)
        state.next_node, state.next_entry = number + 1, entry + 1
        run.position, run.open, run.node, run.at = position, matcher.open[position], number, now
        if matcher.gapped:
            run.due = matcher.due(position, run.start_at, now)
            matcher.settle(state, ctx)

    def _lone_edge(self, edges: list[Edge]) -> Optional["_Lone"]:
        if len(edges) != 1:
            return None
        [edge] = edges
        if edge.target == END:
            simple = not (edge.stops_first or edge.exclusions or any(test.iterative for test in edge.stops))
            if edge.contiguity is Contiguity.STRICT or not simple or len(edge.stops) != 1:
                return None
            return _Lone(edge.stops[0].holds, END, ends=True, completes=False)
        if not edge.simple or edge.contiguity is not Contiguity.RELAXED or edge.test is None:
            return None
        complete, goes_on = self._matcher.complete[edge.target], self._matcher.open[edge.target] != 0
        if complete and goes_on:
            return None
        return _Lone(edge.test.holds, edge.target, ends=False, completes=complete)

    def _lone_start(self, automaton: Automaton) -> Optional[int]:
        [*edges] = automaton.edges[-1]
        if len(edges) != 1 or not edges[0].simple or automaton.complete[edges[0].target]:
            return None
        return edges[0].target


class _Lone:
    """The only way on from a position: what the event must meet, and what it does then."""

    __slots__ = ("completes", "ends", "holds", "target")

    def __init__(self, holds: Callable[[Any], Any], target: int, *, ends: bool, completes: bool) -> None:
        self.holds = holds
        self.target = target
        self.ends = ends
        self.completes = completes


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


def _positive_names(automaton: Automaton) -> list[str]:
    return [automaton.names[number] for number in automaton.position_names]


def _fingerprint(automaton: Automaton) -> str:
    """A name for the shape of a pattern: partial matches of another shape cannot be gone on with."""
    shape = [automaton.names, automaton.position_names, automaton.complete]
    shape += [[(e.target, int(e.contiguity), e.then) for e in edges] for edges in automaton.edges]
    return blake2b(repr(shape).encode(), digest_size=4).hexdigest()


def _check_options(pattern: Any, after: Any, max_partial_matches: Any, select: Any) -> None:
    if not isinstance(pattern, Pattern):
        msg = f"{pattern!r} is not a pattern: begin one with once(kind='add') or pattern('name', ...)"
        raise FlowError(msg)
    if after is not None and not isinstance(after, AfterMatch):
        msg = f"after={after!r} is not an after-match strategy: use one such as skip_past_last()"
        raise FlowError(msg)
    if type(max_partial_matches) is not int or max_partial_matches < 1:
        msg = f"max_partial_matches={max_partial_matches!r}: expected a whole number of at least 1"
        raise FlowError(msg)
    if select is not None and not callable(select):
        msg = f"select={select!r} is not a function of a match"
        raise FlowError(msg)
