"""What a pattern gives: matches, and what had matched of those that did not become complete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Optional, TypeVar

from headway.operators.patterns.keep import Keep
from headway.operators.patterns.skip import AfterMatch
from headway.types.schema import Event

__all__ = ["Match", "MatcherOptions", "PartialMatch"]

E = TypeVar("E")


class Match(Event, Generic[E]):
    """A match of a pattern."""

    matched: dict[str, list[E]]
    """The events by the names of their steps, in the order of the pattern; a step without events is not there."""
    start: int
    """Event time of the first event, in epoch milliseconds."""
    end: int
    """Event time at which the match was complete: of its last event, or of the end of what must not follow."""


class PartialMatch(Event, Generic[E]):
    """A match that did not become complete: what it had matched."""

    matched: dict[str, list[E]]
    """The events by the names of their steps, in the order of the pattern; a step without events is not there."""
    start: int
    """Event time of the first event, in epoch milliseconds."""
    end: int
    """Event time of the last event, in epoch milliseconds."""


@dataclass(frozen=True)
class MatcherOptions:
    """What matchers are told besides the pattern's shape."""

    within_ms: Optional[int]
    after: AfterMatch
    bound: int
    """How many partial matches a key may have."""
    select: Optional[Callable[[Match[Any]], Any]]
    keep: Keep
    """What is kept and told of an event."""
