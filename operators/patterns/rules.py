"""Rules: what a broadcast stream maintains, for the conditions of a pattern to ask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headway.errors import FlowError
from headway.types.schema import State, type_label

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """How the events of a broadcast stream change what all keys share.

    >>> class Limits(State):
    ...     price: float = 100.0
    >>> def change(limits, rule):
    ...     limits.price = rule["price"]
    >>> Rules(dict, Limits, change).shared_type().price
    100.0
    """

    event_type: Any
    """Type of the broadcast events."""
    shared_type: Any
    """Class of what is shared, called without arguments at first."""
    change: Callable[[Any, Any], object]
    """`change(shared, event)` is called for each broadcast event, at its time, in every key group."""

    def __post_init__(self) -> None:
        if not (isinstance(self.shared_type, type) and issubclass(self.shared_type, State)):
            msg = f"{type_label(self.shared_type)} cannot be shared by keys: pass a class derived from hw.State"
            raise FlowError(msg)
        if not callable(self.change):
            msg = f"{self.change!r} is not a function: pass one of (shared, event), which changes what is shared"
            raise FlowError(msg)
