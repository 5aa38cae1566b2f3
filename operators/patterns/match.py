"""The operator that finds a pattern in the events of each key."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Optional, TypeVar, Union

from headway.errors import FlowError
from headway.operators.base import BroadcastContext, Context, Operator, Timer
from headway.operators.patterns.automaton import Automaton, compile_pattern
from headway.operators.patterns.buffer import state_of
from headway.operators.patterns.chain import Chain, chain_of
from headway.operators.patterns.chain_matcher import ChainMatcher
from headway.operators.patterns.keep import keep_fields
from headway.operators.patterns.links import state_of_chain
from headway.operators.patterns.matcher import Matcher
from headway.operators.patterns.pattern import Pattern
from headway.operators.patterns.results import Match, MatcherOptions, PartialMatch
from headway.operators.patterns.rules import Rules
from headway.operators.patterns.skip import AfterMatch, no_skip
from headway.schema import returned_type

__all__ = ["MatchPattern"]

E = TypeVar("E")

_OVERFLOW_ADVICE = (
    "partial matches were given up, and what they would have become is missing: give the pattern a shorter within(), "
    "or let match(...) keep more with max_partial_matches=; the side output 'overflow' has them"
)


class MatchPattern(Operator[E, Any, Any]):
    """Emits a `Match` for each match of a pattern in the events of a key.

    The side output `timed_out` has the partial matches that `within` ended, `overflow` those that were given up,
    oldest first, because a key had more than `max_partial_matches`; both are of `PartialMatch`. `after` says which
    partial matches a match ends. `select` turns a match into what is emitted, of the type `into`. `keep` names the
    fields of the events that are kept and told; conditions on events alone see them all. With `timed_out=False`
    nothing goes to that side output, and a key needs one timer instead of two. `rules` says what the broadcast input
    `rules` maintains, which conditions of three arguments are given as the last.

    Costs a call of the conditions that open partial matches wait for, and of the one that begins a match; none where
    all are `field=value` of one field and the pattern is a chain (see the guide). An event that fits nothing leaves
    no state. Keeps one row for a key with open partial matches: the events in them, each once (in a chain: once for
    each step that it is in), and some 10 to 30 bytes for each partial match and for each of its events. `within`
    bounds it in time, `max_partial_matches` in number; without `within` a partial match may stay open for ever.

    >>> from headway.operators.patterns.pattern import once
    >>> MatchPattern(dict, once(kind="add").then_absent(kind="checkout", within="1h")).names
    ['step1', 'step2']
    """

    shares_values = True

    def __init__(
        self,
        event_type: Any,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        select: Optional[Callable[[Match[E]], Any]] = None,
        into: Any = None,
        keep: Optional[Sequence[str]] = None,
        timed_out: bool = True,
        rules: Optional[Rules] = None,
    ) -> None:
        _check_options(pattern, after, max_partial_matches, select)
        automaton = compile_pattern(pattern, event_type)
        _check_rules(automaton, rules)
        after = after or no_skip()
        if after.name is not None and after.name not in _positive_names(automaton):
            msg = f"{after.kind}({after.name!r}): the pattern has no such step, it has: {automaton.names}"
            raise FlowError(msg)
        kept = keep_fields(event_type, keep)
        partial: Any = PartialMatch[kept.type]  # type: ignore[name-defined]
        self.names = automaton.names
        self.event_type = event_type
        self.output_type = Match[kept.type] if select is None else into or returned_type(select)  # type: ignore[name-defined]
        self.sides = {"timed_out": partial, "overflow": partial}
        self.losses = {"overflow": _OVERFLOW_ADVICE}
        if rules is not None:
            self.broadcasts = {"rules": rules.event_type}
            self.shared_type = rules.shared_type
        self._rules = rules
        self._automaton = automaton
        self._options = MatcherOptions(pattern.within_ms, after, max_partial_matches, select, kept, timed_out)
        self._prepare()

    def _prepare(self) -> None:
        self._matcher: Union[Matcher, ChainMatcher]
        fingerprint = _fingerprint(self._automaton)
        chain = self._chain()
        if chain is None:
            self.state_type, entry_type = state_of(self._options.keep.type, fingerprint)
            self._matcher = Matcher(self._automaton, entry_type, self._options)
        else:
            # Whether time is waited for decides which timers a row has.
            shape = f"{fingerprint}_timed" if self._options.timed_out else fingerprint
            self.state_type, taken_type = state_of_chain(self._options.keep.type, shape)
            self._matcher = ChainMatcher(chain, self.event_type, taken_type, self._options)

    def _chain(self) -> Optional[Chain]:
        return chain_of(self._automaton, self._options.after)

    def side_is_read(self, side: str, /) -> None:
        """Tell what `within` ends, from now on: it is waited for."""
        if side == "timed_out" and not self._options.timed_out:
            self._options = replace(self._options, timed_out=True)
            self._prepare()

    def on_event(self, state: Any, event: E, ctx: Context[Any], /) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin new ones."""
        self._matcher.on_event(state, event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """End what `within` ends."""
        self._matcher.on_timer(state, timer, ctx)

    def on_rules(self, shared: Any, rule: Any, ctx: BroadcastContext, /) -> None:
        """Change what conditions are given as rules; from the time of the rule on."""
        assert self._rules is not None
        self._rules.change(shared, rule)


def _positive_names(automaton: Automaton) -> list[str]:
    return [automaton.names[number] for number in automaton.position_names]


def _fingerprint(automaton: Automaton) -> str:
    """A name for the shape of a pattern: partial matches of another shape cannot be gone on with."""
    shape = [automaton.names, automaton.position_names, automaton.complete]
    shape += [[(e.target, int(e.contiguity), e.then) for e in edges] for edges in automaton.edges]
    return blake2b(repr(shape).encode(), digest_size=4).hexdigest()


def _check_rules(automaton: Automaton, rules: Optional[Rules]) -> None:
    if rules is not None and not isinstance(rules, Rules):
        msg = f"rules={rules!r}: pass what a broadcast stream maintains, stream.broadcast_state(Class, change)"
        raise FlowError(msg)
    if automaton.ruled and rules is None:
        msg = (
            "a condition takes three arguments, the event, what matched so far, and the rules, but there are no rules: "
            "add rules=stream.broadcast_state(Class, change), or let it take two"
        )
        raise FlowError(msg)
    if rules is not None and not automaton.ruled:
        msg = "no condition asks for the rules: it takes three arguments, (event, matched, rules)"
        raise FlowError(msg)


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
