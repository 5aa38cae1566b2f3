"""Options that several workflow operators share: what they compare events by, and when they forget a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

from headway.errors import FlowError
from headway.operators.aggregates.values import positive_ms, reader
from headway.operators.conditions import Condition, resolve
from headway.times import Duration

__all__ = ["By", "any_of", "optional_ms", "value_of"]

By = Union[str, Sequence[str], Callable[[Any], Any]]
"""What events are compared by: a field, several fields, or a function of the event."""


def value_of(by: Optional[By], event_type: Any, what: str) -> Callable[[Any], Any]:
    """The function that `by` means for events of `event_type`; None means the event itself.

    Raises `FlowError` for a field that the type does not have, and for what is no selector at all.
    """
    if isinstance(by, (list, tuple)):
        if not by:
            msg = f"{what}({by!r}) needs at least one field"
            raise FlowError(msg)
        getters = [reader(name, event_type, what)[0] for name in by]
        return lambda event: [get(event) for get in getters]
    return reader(by, event_type, what)[0]  # type: ignore[arg-type]


def any_of(conditions: Union[Condition, Sequence[Condition]], event_type: Any) -> Callable[[Any], bool]:
    """The predicate that one condition means, or any of several."""
    if not isinstance(conditions, (list, tuple)):
        return resolve(conditions, event_type)  # type: ignore[arg-type]
    if not conditions:
        msg = "a list of conditions needs at least one of them"
        raise FlowError(msg)
    tests = [resolve(condition, event_type) for condition in conditions]
    return lambda event: any(test(event) for test in tests)


def optional_ms(length: Optional[Duration], what: str) -> Optional[int]:
    """The length of a duration in milliseconds, at least 1, or None for none. Raises `FlowError`."""
    return None if length is None else positive_ms(length, what)
