"""Results of windows: a typed event with the bounds, the revision and a field for each aggregate."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Optional

import msgspec

from headway.errors import FlowError
from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.aggregates.declared import declared_result
from headway.types.schema import Event, State

__all__ = ["WindowAggregates", "WindowResult", "bundle_of", "result_maker", "result_type", "state_type"]


class WindowResult(Event):
    """What windows emit: these fields, and one for each aggregate.

    `start` and `end` are epoch milliseconds; the window does not include its end. Of a count window they are the
    times of its first and last event.
    """

    key: str
    """The key of the events."""
    start: int
    """Start of the window. Of an unfinished or late session it may still become earlier."""
    end: int
    """End of the window, which is not in it. Of a session: a gap after its last event so far."""
    revision: int
    """0 for the first result of this window; one with a higher number replaces those before."""
    final: bool
    """Whether the window has ended, so that only late events can change it."""


class WindowAggregates(WindowResult):
    """A `WindowResult` whose class was not declared: type checkers know the fields above, and take any other."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The result of the aggregate of this name."""


RESERVED: Final = WindowResult.__struct_fields__


def bundle_of(aggregates: Mapping[str, Aggregate[Any, Any]], event_type: Any) -> Bundle:
    """The aggregates of a window. Raises `FlowError` for names that its result has already."""
    for name in aggregates:
        if name in RESERVED or not name.isidentifier():
            msg = f"{name!r} cannot be the name of an aggregate of a window: its result has {', '.join(RESERVED)}"
            raise FlowError(msg)
    return Bundle(aggregates, event_type)


def result_type(fields: list[tuple[str, Any]], into: Optional[Any] = None) -> Any:
    """The class of results with these fields of aggregates: `into`, where one was declared."""
    if into is not None:
        return declared_result(into, WindowResult, fields)
    return msgspec.defstruct(
        "WindowResult", fields, bases=(WindowAggregates,), module=__name__, frozen=True, gc=False, kw_only=False
    )


def result_maker(bundle: Bundle, made: Any) -> Callable[..., Any]:
    """A function `(held, at_ms, key, start, end, revision, final)` that makes results, of the class `made`."""
    return bundle.maker(made, *RESERVED)


def state_type(name: str, fields: list[tuple[str, Any, Any]]) -> Callable[[], Any]:
    """The class of the state of a window operator. Fields that are as in a fresh one take no space in storage."""
    made: Callable[[], Any] = msgspec.defstruct(
        name, fields, bases=(State,), module=__name__, gc=False, omit_defaults=True
    )
    return made
