"""The conditions of patterns, ready to be asked, and one event with what is known about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Optional

from headway.errors import FlowError
from headway.operators.conditions import resolve
from headway.operators.patterns.pattern import Condition, Either

__all__ = ["Moment", "Test", "ready"]


class Test:
    """A condition ready to be asked of as many things as it takes: the event, what matched so far, the rules."""

    __slots__ = ("holds", "iterative", "number", "ruled")

    def __init__(self, number: int, holds: Callable[..., Any], takes: int) -> None:
        self.number = number
        self.holds = holds
        self.iterative = takes > 1
        """Whether it is about more than the event."""
        self.ruled = takes > 2


class Moment:
    """One event, and what is known about it: which tests it meets, and its number once it is kept."""

    __slots__ = ("_known", "entry", "event", "rules", "state", "view")

    def __init__(self, state: Any, event: Any, rules: Any) -> None:
        self.state = state
        self.event = event
        self.rules = rules
        self.entry: Optional[int] = None
        self.view: Optional[dict[str, list[Any]]] = None
        self._known: dict[int, bool] = {}

    def holds(self, test: Test) -> bool:
        """Whether the event meets a condition on events alone; asked once an event."""
        known = self._known.get(test.number)
        if known is None:
            known = self._known[test.number] = bool(test.holds(self.event))
        return known


def ready(conditions: Sequence[Any], event_type: Any) -> tuple[Callable[..., Any], int]:
    """One predicate for conditions that must all hold, and how many arguments it takes."""
    parts = [_one(condition, event_type) for condition in conditions]
    if not parts:
        return _anything, 1
    takes = max(count for _, count in parts)
    if len(parts) == 1:
        return parts[0]
    all_of = [_taking(takes, holds, count) for holds, count in parts]
    if takes == 1:
        return lambda event: all(holds(event) for holds in all_of), 1
    return lambda *about: all(holds(*about) for holds in all_of), takes


def _one(condition: Any, event_type: Any) -> tuple[Callable[..., Any], int]:
    if isinstance(condition, Either):
        left, left_takes = ready(condition.left, event_type)
        right, right_takes = ready(condition.right, event_type)
        takes = max(left_takes, right_takes)
        if takes == 1:
            return lambda event: left(event) or right(event), 1
        one, other = _taking(takes, left, left_takes), _taking(takes, right, right_takes)
        return lambda *about: one(*about) or other(*about), takes
    return resolve(condition, event_type), _arguments_of(condition)


def _taking(takes: int, holds: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The predicate as one of more arguments."""
    return holds if takes == count else lambda *about: holds(*about[:count])


def _anything(event: Any) -> bool:
    return True


def _arguments_of(condition: Condition) -> int:
    """How many arguments a condition must be given: the event, what matched so far, the rules."""
    if not callable(condition):
        return 1
    try:
        parameters = inspect.signature(condition).parameters.values()
    except (TypeError, ValueError):
        return 1
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    if len(needed) > 3:
        msg = (
            f"the condition {getattr(condition, '__name__', condition)} takes {len(needed)} arguments: "
            "a pattern gives it the event, what matched so far, and the rules"
        )
        raise FlowError(msg)
    return max(len(needed), 1)
