"""The operator that finds a pattern in the events of each key."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Optional, Union

from typing_extensions import TypeVar

from headway.errors import FlowError
from headway.operators.base import BroadcastContext, Context, Operator, Timer
from headway.operators.options import told_apart
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
from headway.types.schema import returned_type

__all__ = ["MatchPattern"]

E = TypeVar("E", default=Any)

_OVERFLOW_ADVICE = (
    "partial matches were given up, and what they would have become is missing: give the pattern a shorter within(), "
    "or let match(...) keep more with max_partial_matches=; the side output 'overflow' has them"
)


class MatchPattern(Operator[E, Any, Any]):
    """Emits a `Match` for each match of a pattern in the events of a key.

    The side output `timed_out` has the partial matches that `within` ended, `overflow` those that were given up,
    oldest first, because a key had more than `max_partial_matches`; both are of `PartialMatch`. `after` says which
    partial matches a match ends. `select` turns a match into what is emitted, of the type `into`. `keep` names the
    fields of the events that are kept and told; conditions on events alone see them all. Where nobody reads
    `timed_out`, a key needs one timer instead of two. `rules` says what the broadcast input `rules` maintains, which
    conditions of three arguments are given as the last.

    Costs a call of the conditions that open partial matches wait for, and of the one that begins a match; none where
    all are `field=value` of one field and the pattern is a chain (see the guide). An event that fits nothing leaves
    no state. Keeps one row for a key with open partial matches: the events in them, each once (in a chain: once for
    each step that it is in), and some 10 to 30 bytes for each partial match and for each of its events. `within`
    bounds it in time, `max_partial_matches` in number; without `within` a partial match may stay open for ever.

    >>> from headway.operators.patterns.pattern import once
    >>> MatchPattern(once(kind="add").then_absent(kind="checkout", within="1h")).bind(dict).names
    ['step1', 'step2']
    """

    shares_values = True
    sides = {"timed_out": PartialMatch, "overflow": PartialMatch}
    losses = {"overflow": _OVERFLOW_ADVICE}

    def __init__(
        self,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        select: Optional[Callable[[Match[E]], Any]] = None,
        into: Any = None,
        keep: Optional[Sequence[str]] = None,
        rules: Optional[Rules] = None,
    ) -> None:
        _check_options(pattern, after, max_partial_matches, select, rules)
        self.pattern = pattern
        self.after = after or no_skip()
        self.max_partial_matches = max_partial_matches
        self.select = select
        self.into = into
        self.keep = keep
        self.rules = rules
        if rules is not None:
            self.broadcasts = {"rules": rules.event_type}
            self.shared_type = rules.shared_type

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        automaton = compile_pattern(self.pattern, event_type)
        _check_rules(automaton, self.rules)
        after, select = self.after, self.select
        if after.name is not None and after.name not in _positive_names(automaton):
            msg = f"{after.kind}({after.name!r}): the pattern has no such step, it has: {automaton.names}"
            raise FlowError(msg)
        kept = keep_fields(event_type, self.keep)
        partial: Any = PartialMatch[kept.type]  # type: ignore[name-defined]
        self.names = automaton.names
        self.output_type = Match[kept.type] if select is None else self.into or returned_type(select)  # type: ignore[name-defined]
        self.sides = {"timed_out": partial, "overflow": partial}
        options = MatcherOptions(self.pattern.within_ms, after, self.max_partial_matches, select, kept)
        self._matcher: Union[Matcher, ChainMatcher]
        chain = self._chain(automaton)
        if chain is None:
            self.state_type, entry_type = state_of(kept.type, _fingerprint(automaton))
            self._matcher = Matcher(automaton, entry_type, options)
        else:
            self.state_type, taken_type = state_of_chain(kept.type, _fingerprint(automaton))
            self._matcher = ChainMatcher(chain, event_type, taken_type, options)
            self.concerns = None if chain.concerns is None else told_apart(chain.concerns)

    def _chain(self, automaton: Automaton) -> Optional[Chain]:
        return chain_of(automaton, self.after)

    def on_event(self, state: Any, event: E, ctx: Context[Any], /) -> None:
        """Move the partial matches on that the event fits, end those that it breaks, begin new ones."""
        self._matcher.on_event(state, event, ctx)

    def on_timer(self, state: Any, timer: Timer, ctx: Context[Any], /) -> None:
        """End what `within` ends."""
        self._matcher.on_timer(state, timer, ctx)

    def on_rules(self, shared: Any, rule: Any, ctx: BroadcastContext, /) -> None:
        """Change what conditions are given as rules; from the time of the rule on."""
        assert self.rules is not None
        self.rules.change(shared, rule)


def _positive_names(automaton: Automaton) -> list[str]:
    return [automaton.names[number] for number in automaton.position_names]


def _fingerprint(automaton: Automaton) -> str:
    """A name for the shape of a pattern: partial matches of another shape cannot be gone on with."""
    shape = [automaton.names, automaton.position_names, automaton.complete]
    shape += [[(e.target, int(e.contiguity), e.then) for e in edges] for edges in automaton.edges]
    return blake2b(repr(shape).encode(), digest_size=4).hexdigest()


def _check_rules(automaton: Automaton, rules: Optional[Rules]) -> None:
    if automaton.ruled and rules is None:
        msg = (
            "a condition takes three arguments, the event, what matched so far, and the rules, but there are no rules: "
            "add rules=stream.broadcast_state(Class, change), or let it take two"
        )
        raise FlowError(msg)
    if rules is not None and not automaton.ruled:
        msg = "no condition asks for the rules: it takes three arguments, (event, matched, rules)"
        raise FlowError(msg)


def _check_options(pattern: Any, after: Any, max_partial_matches: Any, select: Any, rules: Any) -> None:
    if rules is not None and not isinstance(rules, Rules):
        msg = f"rules={rules!r}: pass what a broadcast stream maintains, stream.broadcast_state(Class, change)"
        raise FlowError(msg)
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
