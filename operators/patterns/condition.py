"""The conditions of patterns, ready to be asked, and one event with what is known about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Optional

from headway.operators.conditions import resolve
from headway.operators.patterns.pattern import Condition, Either

__all__ = ["Moment", "Test", "ready"]


class Test:
    """A condition ready to be asked: of the event alone, or (`iterative`) of the event and what matched so far."""

    __slots__ = ("holds", "iterative", "number")

    def __init__(self, number: int, holds: Callable[..., Any], iterative: bool) -> None:
        self.number = number
        self.holds = holds
        self.iterative = iterative


class Moment:
    """One event, and what is known about it: which tests it meets, and its number once it is kept."""

    __slots__ = ("_known", "entry", "event", "state", "view")

    def __init__(self, state: Any, event: Any) -> None:
        self.state = state
        self.event = event
        self.entry: Optional[int] = None
        self.view: Optional[dict[str, list[Any]]] = None
        self._known: dict[int, bool] = {}

    def holds(self, test: Test) -> bool:
        """Whether the event meets a condition on events alone; asked once an event."""
        known = self._known.get(test.number)
        if known is None:
            known = self._known[test.number] = bool(test.holds(self.event))
        return known


def ready(conditions: Sequence[Any], event_type: Any) -> tuple[Callable[..., Any], bool]:
    """One predicate for conditions that must all hold, and whether it takes what matched so far too."""
    parts = [_one(condition, event_type) for condition in conditions]
    if not parts:
        return _anything, False
    if len(parts) == 1:
        return parts[0]
    if not any(iterative for _, iterative in parts):
        simple = [holds for holds, _ in parts]
        return lambda event: all(holds(event) for holds in simple), False
    return lambda event, matched: all(
        holds(event, matched) if iterative else holds(event) for holds, iterative in parts
    ), True


def _one(condition: Any, event_type: Any) -> tuple[Callable[..., Any], bool]:
    if isinstance(condition, Either):
        left, left_iterative = ready(condition.left, event_type)
        right, right_iterative = ready(condition.right, event_type)
        if not left_iterative and not right_iterative:
            return lambda event: left(event) or right(event), False
        one, other = _with_matched(left, left_iterative), _with_matched(right, right_iterative)
        return lambda event, matched: one(event, matched) or other(event, matched), True
    return resolve(condition, event_type), _is_iterative(condition)


def _with_matched(holds: Callable[..., Any], iterative: bool) -> Callable[..., Any]:
    return holds if iterative else lambda event, matched: holds(event)


def _anything(event: Any) -> bool:
    return True


def _is_iterative(condition: Condition) -> bool:
    """Whether a condition takes two arguments that must be given: the event, and what matched so far."""
    if not callable(condition):
        return False
    try:
        parameters = inspect.signature(condition).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(needed) == 2
