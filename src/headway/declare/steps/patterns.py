"""Steps of keyed streams: patterns over one key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, TypeVar, overload

from headway.basics.declaring import Was
from headway.declare.steps.base import KeyedSteps
from headway.operators.patterns.match import MatchPattern
from headway.operators.patterns.pattern import Pattern
from headway.operators.patterns.results import Match
from headway.operators.patterns.skip import AfterMatch

if TYPE_CHECKING:
    from headway.declare.streams import BroadcastState, Processed

__all__ = ["PatternSteps"]

T = TypeVar("T")
U = TypeVar("U")


class PatternSteps(KeyedSteps[T]):
    """Steps of keyed streams: patterns over one key."""

    @overload
    def match(
        self,
        name: str,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        rules: Optional[BroadcastState[Any]] = None,
        was: Was = (),
    ) -> Processed[Match[T]]: ...

    @overload
    def match(
        self,
        name: str,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        keep: Sequence[str],
        rules: Optional[BroadcastState[Any]] = None,
        was: Was = (),
    ) -> Processed[Match[Any]]: ...

    @overload
    def match(
        self,
        name: str,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        select: Callable[[Match[T]], U],
        into: Any = None,
        keep: Optional[Sequence[str]] = None,
        rules: Optional[BroadcastState[Any]] = None,
        was: Was = (),
    ) -> Processed[U]: ...

    def match(
        self,
        name: str,
        pattern: Pattern,
        *,
        after: Optional[AfterMatch] = None,
        max_partial_matches: int = 1000,
        select: Optional[Callable[[Match[T]], Any]] = None,
        into: Any = None,
        keep: Optional[Sequence[str]] = None,
        rules: Optional[BroadcastState[Any]] = None,
        was: Was = (),
    ) -> Processed[Any]:
        """A `Match` for each match of `pattern` in the events of a key, or what `select` makes of it (type `into`).

        `after` says which partial matches a match ends, such as `skip_past_last()`; without it none. Side outputs
        are `timed_out`, what `within` ended, and `overflow`, what was given up because a key had more than
        `max_partial_matches`. `keep` names the fields of the events that are kept and told: rows are smaller then.
        `rules` is what a broadcast stream maintains, `stream.broadcast_state(Class, change)`, for conditions of three
        arguments: thresholds and switches that change while the flow runs. See `MatchPattern`.
        """
        options: dict[str, Any] = {
            "after": after,
            "max_partial_matches": max_partial_matches,
            "select": select,
            "into": into,
            "keep": keep,
        }
        if rules is None:
            return self._process(name, was, lambda: MatchPattern(pattern, **options))
        told: Any = getattr(rules, "rules", rules)
        return self._process(name, was, lambda: MatchPattern(pattern, rules=told, **options), rules=rules)
