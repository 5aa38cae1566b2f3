"""The general matcher: what an event or time does to the partial matches of a key."""

from collections.abc import Callable
from typing import Any, Optional

from headway.operators.base import Context, Timer
from headway.operators.patterns.automaton import END, Automaton, Edge
from headway.operators.patterns.buffer import LAST, NEVER, NEXT, NO_NODE, Complete, Node, Run, chain, last_of, release
from headway.operators.patterns.condition import Moment, Test
from headway.operators.patterns.interest import Interest
from headway.operators.patterns.pattern import Contiguity
from headway.operators.patterns.results import Match, MatcherOptions, PartialMatch

__all__ = ["Matcher"]


class Matcher:
    """Moves the partial matches of one state along the edges of an automaton; one object serves all keys.

    Partial matches are kept in the order in which they began, and those that share events in the order of their
    next events: so matches come out in the same order whatever else is open.
    """

    def __init__(self, automaton: Automaton, entry_type: Any, options: MatcherOptions) -> None:
        self._names = automaton.names
        self._position_names = [automaton.names[number] for number in automaton.position_names]
        self._complete = automaton.complete
        self._open = automaton.open
        self._starts = automaton.edges[-1]
        self._gaps = [_least_gap(edges, count) for edges, count in zip(automaton.edges, automaton.open)]
        self._gapped = any(gap is not None for gap in self._gaps)
        self._timed = self._gapped or options.within_ms is not None
        self._ways = [[(1 << number, edge) for number, edge in enumerate(edges)] for edges in automaton.edges[:-1]]
        self._waits = [_only_test(edges) for edges in automaton.edges[:-1]]
        self._interest = Interest(automaton)
        self._ruled = automaton.ruled
        self._entry_type = entry_type
        self._keep = options.keep.of
        self._within_ms = options.within_ms
        self._after = options.after
        self._skips = options.after.kind != "no_skip"
        self._max = options.bound
        self._select = options.select

    def on_event(self, state: Any, event: Any, ctx: Context[Any]) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin new ones."""
        runs = state.runs
        is_due = bool(runs) and state.due <= ctx.time
        if is_due:
            self._expire(state, ctx)
            runs = state.runs
        if runs and self._interest.concerns([run.position for run in runs], event):
            self._all(state, event, ctx)
        elif self._interest.begins(event):
            self._begin(runs, self._moment(state, event, ctx), ctx)
            self._settle(state, ctx)
        elif is_due:
            self._settle(state, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any]) -> None:
        """End what time ends."""
        if timer.name == LAST:
            state.last = NEVER
        else:
            state.due = NEVER
        self._expire(state, ctx)
        self._settle(state, ctx)

    def _all(self, state: Any, event: Any, ctx: Context[Any]) -> None:
        """One event, after the time before it."""
        moment = self._moment(state, event, ctx)
        runs = state.runs
        after: list[Run] = []
        state.runs = after
        waits = self._waits
        for run in runs:
            test = waits[run.position]
            if test is not None and not moment.holds(test):
                after.append(run)
            else:
                self._advance(run, after, moment, ctx)
        self._begin(after, moment, ctx)
        self._settle(state, ctx)

    def _moment(self, state: Any, event: Any, ctx: Context[Any]) -> Moment:
        return Moment(state, event, ctx.shared if self._ruled else None)

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
                moment.view = {name: found.get(name, []) for name in self._names}
            if test.ruled:
                return bool(test.holds(moment.event, moment.view, moment.rules))
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
            self._emit_with(position, run, state, self._keep(moment.event), ctx)
            if not self._open[position]:
                return 0
        entry_id = moment.entry
        if entry_id is None:
            entry_id = moment.entry = state.next_entry
            state.next_entry = entry_id + 1
            entry = state.entries[entry_id] = self._entry_type(self._keep(moment.event), now, 1)
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
        """When time first ends something for a partial match that comes to a position."""
        due = NEVER if self._within_ms is None else start_at + self._within_ms
        gap = self._gaps[position]
        return due if gap is None else min(due, at + gap)

    # -- Time ---------------------------------------------------------------------------------------------

    def _expire(self, state: Any, ctx: Context[Any]) -> None:
        """End what may not go on at this time: its edges, and those who have no other."""
        now = ctx.time
        if self._gapped:
            runs, state.runs = state.runs, []
            for run in runs:
                if run.due > now or self._wait_on(state, run, ctx):
                    state.runs.append(run)
                else:
                    release(state, run.node)
        elif self._within_ms is not None:
            # Those that began first end first, so the others are not looked at.
            runs, count, latest = state.runs, 0, now - self._within_ms
            while count < len(runs) and runs[count].start_at <= latest:
                self._wait_on(state, runs[count], ctx)
                release(state, runs[count].node)
                count += 1
            del runs[:count]

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
        elif not run.open and ctx.is_read("timed_out"):
            ctx.emit_to("timed_out", self._partial(state, run))
        return run.open != 0

    # -- After an event or a timer ------------------------------------------------------------------------

    def _settle(self, state: Any, ctx: Context[Any]) -> None:
        """Tell the matches whose turn it is, keep the bound, set the timer."""
        if state.completed or len(state.runs) > self._max:
            self._take_turns(state, ctx)
        if not state.runs:
            ctx.forget()
        elif self._timed:
            self._set_timers(state, ctx)

    def _take_turns(self, state: Any, ctx: Context[Any]) -> None:
        """Emit the complete matches that no open one began before, and give up the oldest while there are too many.

        Both lists are in the order in which matches began, and so whatever leaves them is at their beginning.
        """
        runs, completed = state.runs, state.completed
        completed.sort(key=_start_of)
        gone = told = given_up = 0
        is_read = ctx.is_read("overflow")
        while True:
            if told < len(completed) and not (gone < len(runs) and runs[gone].start < completed[told].start):
                match = completed[told]
                self._emit(self._matched(state, match.node), match.start_at, match.end, ctx)
                last_skipped = self._last_skipped(state, match)
                gone = _skip(state, runs, gone, last_skipped)
                told = _skip(state, completed, told + 1, last_skipped)
                release(state, match.node)
            elif len(runs) - gone + len(completed) - told > self._max:
                if is_read:
                    ctx.emit_to("overflow", self._partial(state, runs[gone]))
                release(state, runs[gone].node)
                gone += 1
                given_up += 1
            else:
                break
        if given_up:
            ctx.lose("overflow", given_up)
        del runs[:gone]
        del completed[:told]

    def _set_timers(self, state: Any, ctx: Context[Any]) -> None:
        """One for the partial match that ends next, one for the last: draining goes as far as timers are set."""
        runs = state.runs
        if self._gapped:
            due = min([run.due for run in runs])
            last = max([self._end_of(run) for run in runs])
        else:
            due, last = self._end_of(runs[0]), self._end_of(runs[-1])
        if due != state.due:
            state.due = due
            if due != NEVER:
                ctx.timer(NEXT, due)
        if last > due and last != state.last:
            state.last = last
            ctx.timer(LAST, last)

    def _end_of(self, run: Run) -> int:
        """When a partial match has ended, if no event comes; what never ends counts as ended by its last time."""
        if self._within_ms is not None:
            return run.start_at + self._within_ms
        gaps = [edge.gap_ms for bit, edge in self._ways[run.position] if run.open & bit and edge.gap_ms is not None]
        return run.at + max(gaps, default=0)

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

    def _emit_with(self, position: int, run: Optional[Run], state: Any, event: Any, ctx: Context[Any]) -> None:
        """Emit a match of a partial one with one more event."""
        found = {} if run is None else self._matched(state, run.node)
        name = self._position_names[position]
        if name in found:
            found[name].append(event)
        else:
            found[name] = [event]
        self._emit(self._ordered(found), ctx.time if run is None else run.start_at, ctx.time, ctx)

    def _emit(self, matched: dict[str, list[Any]], start: int, end: int, ctx: Context[Any]) -> None:
        """Emit a match."""
        match = Match(matched=matched, start=start, end=end)
        ctx.emit(match if self._select is None else self._select(match))

    def _partial(self, state: Any, run: Run) -> PartialMatch[Any]:
        return PartialMatch(matched=self._matched(state, run.node), start=run.start_at, end=run.at)

    def _matched(self, state: Any, node: int) -> dict[str, list[Any]]:
        """The events up to a node, by the names of their steps."""
        found: dict[str, list[Any]] = {}
        names, entries = self._position_names, state.entries
        for link in chain(state, node):
            found.setdefault(names[link.position], []).append(entries[link.entry].event)
        return self._ordered(found)

    def _ordered(self, found: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The same in the order of the pattern; events come in another where groups repeat."""
        return found if len(found) == 1 else {name: found[name] for name in self._names if name in found}


def _start_of(match: Complete) -> int:
    return match.start


def _skip(state: Any, matches: list[Any], number: int, last_skipped: int) -> int:
    """Give up matches, open or complete, from a place in their list on, that a match skips; returns the next place."""
    while number < len(matches) and matches[number].start <= last_skipped:
        release(state, matches[number].node)
        number += 1
    return number


def _only_test(edges: list[Edge]) -> Optional[Test]:
    """The test of the only edge, where a partial match just goes on waiting as long as no event meets it."""
    if len(edges) == 1 and edges[0].simple and edges[0].contiguity is not Contiguity.STRICT:
        return edges[0].test
    return None


def _least_gap(edges: list[Edge], open_bits: int) -> Optional[int]:
    gaps = [edge.gap_ms for number, edge in enumerate(edges) if open_bits >> number & 1 and edge.gap_ms is not None]
    return min(gaps, default=None)
