"""The operator that finds a pattern in the events of each key."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Optional, TypeVar, get_type_hints

from headway.errors import FlowError
from headway.operators.base import Context, Operator, Timer
from headway.operators.patterns.automaton import END, Automaton, Edge, compile_pattern
from headway.operators.patterns.buffer import NEVER, NO_NODE, Complete, Node, Run, chain, last_of, release, state_of
from headway.operators.patterns.condition import Moment, Test
from headway.operators.patterns.pattern import Contiguity, Pattern
from headway.operators.patterns.results import Match, PartialMatch
from headway.operators.patterns.skip import AfterMatch, no_skip

__all__ = ["MatchPattern"]

E = TypeVar("E")

_NEXT = "next"
_LAST = "last"


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
        self.output_type = Match[event_type] if select is None else into or _result_of(select)
        self.sides = {"timed_out": PartialMatch[event_type], "overflow": PartialMatch[event_type]}
        self.state_type, self._entry_type = state_of(event_type, _fingerprint(automaton))
        self._after = after or no_skip()
        self._skips = self._after.kind != "no_skip"
        if self._after.name is not None and self._after.name not in _positive_names(automaton):
            msg = f"{self._after.kind}({self._after.name!r}): the pattern has no such step, it has: {automaton.names}"
            raise FlowError(msg)
        self._max = max_partial_matches
        self._select = select
        self._within_ms = pattern.within_ms
        self._position_names = [automaton.names[number] for number in automaton.position_names]
        self._complete = automaton.complete
        self._open = automaton.open
        self._ways = [[(1 << number, edge) for number, edge in enumerate(edges)] for edges in automaton.edges[:-1]]
        self._starts = automaton.edges[-1]
        self._gaps = [_least_gap(edges, count) for edges, count in zip(automaton.edges, automaton.open)]
        self._gapped = any(gap is not None for gap in self._gaps)
        self._timed = self._gapped or self._within_ms is not None

    # -- Handlers -----------------------------------------------------------------------------------------

    def on_event(self, state: Any, event: E, ctx: Context[Any], /) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin new ones."""
        moment = Moment(state, event)
        runs = state.runs
        if runs:
            if state.due <= ctx.time:
                self._expire(state, ctx)
                runs = state.runs
            after: list[Run] = []
            state.runs = after
            for run in runs:
                self._advance(run, after, moment, ctx)
            self._begin(after, moment, ctx)
        else:
            self._begin(runs, moment, ctx)
            if not runs and not state.completed:
                return
        self._settle(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """End what `within` ends."""
        if timer.name == _LAST:
            state.last = NEVER
        else:
            state.due = NEVER
        self._expire(state, ctx)
        self._settle(state, ctx)

    # -- One event ----------------------------------------------------------------------------------------

    def _advance(self, run: Run, after: list[Run], moment: Moment, ctx: Context[Any]) -> None:
        """What becomes of one partial match: first those with the event, then itself if it goes on waiting."""
        moment.view = None
        still = children = 0
        open_edges = run.open
        for bit, edge in self._ways[run.position]:
            if open_edges & bit:
                takes, next_bit = self._cross(edge, bit, run, moment)
                still |= next_bit
                if takes:
                    children += self._take(edge, run, after, moment, ctx)
        state = moment.state
        if still:
            run.open = still
            after.append(run)
            if children:
                state.nodes[run.node].refs += children
        elif children:
            state.nodes[run.node].refs += children - 1
        else:
            release(state, run.node)

    def _cross(self, edge: Edge, bit: int, run: Run, moment: Moment) -> tuple[bool, int]:
        """Whether the event is taken along an edge, and the bit of the edge that stays open."""
        test = edge.test
        if edge.simple:
            assert test is not None
            takes = moment.holds(test)
            contiguity = edge.contiguity
            if contiguity is Contiguity.RELAXED:
                return takes, 0 if takes else bit
            return takes, bit if contiguity is Contiguity.ANY else 0
        ask = self._asking(run, moment)
        edges = self._ways[run.position]
        number = edge.then
        released = True
        while released:
            released = False
            for until, other in edge.released:
                if ask(until):
                    edge, number, released = edges[other][1], edges[other][1].then, True
                    break
        if any(map(ask, edge.stops)) or any(map(ask, edge.stops_first)):
            return False, 0
        if any(ask(exclusion.test) for exclusion in edge.exclusions) or any(map(ask, edge.until)):
            return False, 0
        if test is None:
            return (True, 0) if edge.contiguity is Contiguity.STRICT else (False, 1 << number)
        fits = ask(test)
        takes = fits and not any(map(ask, edge.refuses))
        stays = edge.contiguity is Contiguity.ANY or (edge.contiguity is Contiguity.RELAXED and not fits)
        return takes, 1 << number if stays else 0

    def _asking(self, run: Optional[Run], moment: Moment) -> Callable[[Test], bool]:
        def ask(test: Test) -> bool:
            if not test.iterative:
                return moment.holds(test)
            if moment.view is None:
                found = {} if run is None else self._matched(moment.state, run.node)
                moment.view = {name: found.get(name, []) for name in self.names}
            return bool(test.holds(moment.event, moment.view))

        return ask

    def _begin(self, after: list[Run], moment: Moment, ctx: Context[Any]) -> None:
        """Begin matches with the event."""
        moment.view = None
        for edge in self._starts:
            if edge.simple:
                assert edge.test is not None
                if moment.holds(edge.test):
                    self._take(edge, None, after, moment, ctx)
                continue
            ask = self._asking(None, moment)
            assert edge.test is not None
            freed = {e.until for e in edge.exclusions if e.until is not None and ask(e.until)}
            if any(ask(e.test) for e in edge.exclusions if e.until not in freed):
                continue
            if ask(edge.test) and not any(map(ask, edge.refuses)):
                self._take(edge, None, after, moment, ctx)

    def _take(self, edge: Edge, run: Optional[Run], after: list[Run], moment: Moment, ctx: Context[Any]) -> int:
        """Follow an edge with the event; returns the number of new nodes behind the one of `run`."""
        state, now = moment.state, ctx.time
        position = edge.target
        if position == END:
            assert run is not None
            self._completed(state, run.node, run.start, run.start_at, ctx)
            return 0
        if self._complete[position] and not self._skips:
            self._emit_now(position, run, moment, ctx)
            if not self._open[position]:
                return 0
        entry_id = moment.entry
        if entry_id is None:
            entry_id = moment.entry = state.next_entry
            state.next_entry = entry_id + 1
            entry = state.entries[entry_id] = self._entry_type(moment.event, now, 1)
        else:
            entry = state.entries[entry_id]
            entry.refs += 1
        node_id = state.next_node
        state.next_node = node_id + 1
        if run is None:
            node = Node(position, entry_id, NO_NODE, 1)
            start, start_at = entry_id, now
        else:
            node = Node(position, entry_id, run.node, 1)
            start, start_at = run.start, run.start_at
        state.nodes[node_id] = node
        if self._open[position]:
            due = self._due(position, start_at, now)
            after.append(Run(position, self._open[position], node_id, start, start_at, now, due))
        else:
            node.refs = 0
        if self._skips and self._complete[position]:
            self._completed(state, node_id, start, start_at, ctx)
        return 1

    def _due(self, position: int, start_at: int, at: int) -> int:
        due = NEVER if self._within_ms is None else start_at + self._within_ms
        gap = self._gaps[position]
        return due if gap is None else min(due, at + gap)

    # -- Time ---------------------------------------------------------------------------------------------

    def _expire(self, state: Any, ctx: Context[Any]) -> None:
        """End what may not go on at this time: its edges, and those who have no other."""
        now = ctx.time
        runs, state.runs = state.runs, []
        for run in runs:
            if run.due > now or self._wait_on(state, run, ctx):
                state.runs.append(run)
                continue
            release(state, run.node)

    def _wait_on(self, state: Any, run: Run, ctx: Context[Any]) -> bool:
        limit = NEVER if self._within_ms is None else run.start_at + self._within_ms
        due = limit
        ended = False
        for bit, edge in self._ways[run.position]:
            if run.open & bit:
                edge_due = limit if edge.gap_ms is None else min(limit, run.at + edge.gap_ms)
                if edge_due > ctx.time:
                    due = min(due, edge_due)
                    continue
                run.open ^= bit
                ended = ended or (edge.target == END and edge.contiguity is Contiguity.ANY)
        run.due = due
        if ended:
            self._completed(state, run.node, run.start, run.start_at, ctx)
        elif not run.open and not self._complete[run.position]:
            ctx.emit_to("timed_out", self._partial(state, run))
        return run.open != 0

    # -- After an event or a timer ------------------------------------------------------------------------

    def _settle(self, state: Any, ctx: Context[Any]) -> None:
        """Tell the matches whose turn it is, keep the bound, set the timer."""
        if state.completed:
            self._tell(state, ctx)
        while len(state.runs) + len(state.completed) > self._max:
            oldest = state.runs.pop(0)
            ctx.emit_to("overflow", self._partial(state, oldest))
            release(state, oldest.node)
            self._tell(state, ctx)
        runs = state.runs
        if not runs:
            ctx.forget()
        elif self._timed:
            self._set_timers(state, ctx)

    def _set_timers(self, state: Any, ctx: Context[Any]) -> None:
        """One for the partial match that ends next, one for the last: draining goes as far as timers are set."""
        runs = state.runs
        if self._gapped:
            due = min([run.due for run in runs])
            last = max([self._end_of(run) for run in runs])
        else:
            due, last = runs[0].due, runs[-1].due
        if due != state.due:
            state.due = due
            if due != NEVER:
                ctx.timer(_NEXT, due)
        if last > due and last != state.last:
            state.last = last
            ctx.timer(_LAST, last)

    def _end_of(self, run: Run) -> int:
        """When a partial match has ended, if no event comes; what never ends counts as ended by its last time."""
        if self._within_ms is not None:
            return run.start_at + self._within_ms
        gaps = [edge.gap_ms for bit, edge in self._ways[run.position] if run.open & bit and edge.gap_ms is not None]
        return run.at + max(gaps, default=0)

    def _tell(self, state: Any, ctx: Context[Any]) -> None:
        """Emit the completed matches that no open one began before, and drop what each of them skips."""
        completed = state.completed
        completed.sort(key=_start_of)
        while completed and not (state.runs and state.runs[0].start < completed[0].start):
            match = completed.pop(0)
            self._emit(self._matched(state, match.node), match.start_at, match.end, ctx)
            last_skipped = self._last_skipped(state, match)
            for others in (state.runs, completed):
                for other in others:
                    if other.start <= last_skipped:
                        release(state, other.node)
                others[:] = [other for other in others if other.start > last_skipped]
            release(state, match.node)

    def _last_skipped(self, state: Any, match: Complete) -> int:
        """Matches that began with this event, by number, or before it, are skipped."""
        kind = self._after.kind
        if kind == "skip_to_next":
            return match.start
        if kind == "skip_past_last":
            return last_of(state, match.node)
        named = [n.entry for n in chain(state, match.node) if self._position_names[n.position] == self._after.name]
        if not named:
            return -1
        return (named[0] if kind == "skip_to_first" else named[-1]) - 1

    # -- Results ------------------------------------------------------------------------------------------

    def _completed(self, state: Any, node: int, start: int, start_at: int, ctx: Context[Any]) -> None:
        if self._skips:
            state.nodes[node].refs += 1
            state.completed.append(Complete(start, node, start_at, ctx.time))
        else:
            self._emit(self._matched(state, node), start_at, ctx.time, ctx)

    def _emit_now(self, position: int, run: Optional[Run], moment: Moment, ctx: Context[Any]) -> None:
        """Emit a match with the event as its last one."""
        found = {} if run is None else self._matched(moment.state, run.node)
        name = self._position_names[position]
        if name in found:
            found[name].append(moment.event)
        else:
            found[name] = [moment.event]
        self._emit(self._ordered(found), ctx.time if run is None else run.start_at, ctx.time, ctx)

    def _emit(self, matched: dict[str, list[E]], start: int, end: int, ctx: Context[Any]) -> None:
        match = Match(matched=matched, start=start, end=end)
        ctx.emit(match if self._select is None else self._select(match))

    def _partial(self, state: Any, run: Run) -> PartialMatch[E]:
        return PartialMatch(matched=self._matched(state, run.node), start=run.start_at, end=run.at)

    def _matched(self, state: Any, node: int) -> dict[str, list[E]]:
        found: dict[str, list[E]] = {}
        names, entries = self._position_names, state.entries
        for link in chain(state, node):
            found.setdefault(names[link.position], []).append(entries[link.entry].event)
        return self._ordered(found)

    def _ordered(self, found: dict[str, list[E]]) -> dict[str, list[E]]:
        return found if len(found) == 1 else {name: found[name] for name in self.names if name in found}


def _start_of(match: Complete) -> int:
    return match.start


def _least_gap(edges: list[Edge], open_bits: int) -> Optional[int]:
    gaps = [edge.gap_ms for number, edge in enumerate(edges) if open_bits >> number & 1 and edge.gap_ms is not None]
    return min(gaps, default=None)


def _positive_names(automaton: Automaton) -> list[str]:
    return [automaton.names[number] for number in automaton.position_names]


def _fingerprint(automaton: Automaton) -> str:
    """A name for the shape of a pattern: partial matches of another shape cannot be gone on with."""
    shape = [automaton.names, automaton.position_names, automaton.complete]
    shape += [[(e.target, int(e.contiguity), e.then) for e in edges] for edges in automaton.edges]
    return blake2b(repr(shape).encode(), digest_size=4).hexdigest()


def _result_of(select: Any) -> Any:
    try:
        return get_type_hints(select).get("return", Any)
    except (NameError, TypeError):
        return Any


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
