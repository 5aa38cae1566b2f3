"""Events that are known as columns, and made only when somebody asks for one.

A file of columns tells the times and the kinds of a thousand events without an object for any of them. Steps that look
at one field of many events, such as conditions of `where`, read its column; what they leave out is never made. All that
an event could fail at has been checked before: to make one cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any, Optional

__all__ = ["EventColumns", "chosen_events", "listed"]


class EventColumns(Sequence[Any]):
    """Events of one class, made by `make` from columns of `names`, in this order; other fields have their defaults.

    >>> from headway.types.schema import Event
    >>> class Click(Event):
    ...     user: str
    ...     cents: int
    >>> columns = {"user": ["ann", "bob"], "cents": [7, 9]}
    >>> clicks = EventColumns(2, ("user", "cents"), columns.__getitem__, lambda *given: list(map(Click, *given)))
    >>> clicks.column_of("cents"), clicks.chosen([False, True]), clicks[0]
    ([7, 9], [Click(user='bob', cents=9)], Click(user='ann', cents=7))
    """

    __slots__ = ("_column", "_count", "_events", "_make", "_names")

    def __init__(
        self,
        count: int,
        names: Sequence[str],
        column: Callable[[str], list[Any]],
        make: Callable[..., list[Any]],
    ) -> None:
        self._count = count
        self._names = names
        self._column = column
        self._make = make
        self._events: Optional[list[Any]] = None

    def column_of(self, field: str) -> Optional[list[Any]]:
        """The values of a field, not to be changed; None for one without a column."""
        return self._column(field) if field in self._names else None

    def chosen(self, mask: Sequence[Any]) -> list[Any]:
        """The events that a mask chooses; the others are not made."""
        if self._events is not None:
            return list(compress(self._events, mask))
        indexes = list(compress(range(self._count), mask))
        return self._make(*(_picked(self._column(name), indexes) for name in self._names))

    @property
    def events(self) -> list[Any]:
        """All events, made once."""
        if self._events is None:
            self._events = self._make(*map(self._column, self._names))
        return self._events

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(self.events)

    def __getitem__(self, index: Any) -> Any:
        return self.events[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.events == listed(other)

    __hash__ = None  # type: ignore[assignment]


def _picked(values: list[Any], indexes: list[int]) -> list[Any]:
    return [values[index] for index in indexes]


def listed(events: Sequence[Any]) -> list[Any]:
    """Events as a list."""
    if type(events) is list:
        return events
    return events.events if isinstance(events, EventColumns) else list(events)


def chosen_events(events: Sequence[Any], mask: Sequence[Any]) -> list[Any]:
    """The events that a mask chooses."""
    return events.chosen(mask) if isinstance(events, EventColumns) else list(compress(events, mask))
