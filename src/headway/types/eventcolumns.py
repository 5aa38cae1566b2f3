"""Events that are known as columns, and made only when somebody asks for one.

A file of columns tells the times and the kinds of a thousand events without an object for any of them. Steps that look
at one field of many events, such as conditions of `where`, ask for its column or, better, for a mask; what they leave
out is never made. All that an event could fail at has been checked before: to make one cannot fail.

A mask has a true value for each element that is chosen. Masks that columns make are bytes of 0 and 1, which the
standard library's `compress` reads faster than anything else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from itertools import compress
from typing import Any, Optional, TypeVar

from headway.basics.scanning import places_of

__all__ = ["Chosen", "Deferred", "EventColumns", "Numbers", "listed", "picked"]

T = TypeVar("T")


class Deferred(Sequence[T]):
    """Elements all of which are made when one is first asked for."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: Optional[list[T]] = None

    @abstractmethod
    def make(self, mask: Optional[bytes] = None) -> list[T]:
        """New objects: those that a mask chooses, or all."""

    @property
    def listed(self) -> list[T]:
        """All of them, made once."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def chosen(self, mask: Sequence[Any]) -> list[T]:
        """Those that a mask chooses; the others are not made."""
        if self._made is not None:
            return list(compress(self._made, mask))
        found = mask if isinstance(mask, bytes) else bytes(map(bool, mask))
        return self.listed if found.count(1) == len(self) else self.make(found)

    def __iter__(self) -> Iterator[T]:
        return iter(self.listed)

    def __getitem__(self, index: Any) -> Any:
        return self.listed[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.listed == listed(other)

    __hash__ = None  # type: ignore[assignment]


class Numbers(Deferred[int]):
    """Whole numbers of 64 bits."""

    __slots__ = ()

    @property
    @abstractmethod
    def span(self) -> tuple[int, int, bool]:
        """The least and the greatest of them, and whether they come in order; there is one at least."""


class EventColumns(Deferred[Any]):
    """Events of one class. Formats say how they are made."""

    __slots__ = ()

    @abstractmethod
    def column_of(self, field: str) -> Optional[list[Any]]:
        """The values of a field, not to be changed; None for one without a column."""

    @abstractmethod
    def numbers_of(self, field: str) -> Optional[Numbers]:
        """The values of a field, where they are whole numbers by the type of their column; None for others."""

    @abstractmethod
    def holding(self, field: str, wanted: Collection[Any]) -> Optional[bytes]:
        """The mask of events in which a field has one of these values; None where looking at each is as good."""


class Chosen(Deferred[T]):
    r"""The elements of a column that a mask chooses.

    >>> list(Chosen(range(7, 10), b"\1\0\1")), len(Chosen("abc", [True, True, False]))
    ([7, 9], 2)
    """

    __slots__ = ("_column", "_mask")

    def __init__(self, column: Sequence[T], mask: Sequence[Any]) -> None:
        super().__init__()
        self._column = column
        self._mask = mask

    def make(self, mask: Optional[bytes] = None) -> list[T]:
        """Pick them."""
        column, own = self._column, self._mask
        if isinstance(column, range) and column.step == 1 and isinstance(own, bytes):
            found: list[Any] = places_of(own, column.start)
        else:
            found = list(compress(column, own))
        return found if mask is None else list(compress(found, mask))

    def __len__(self) -> int:
        return sum(map(bool, self._mask))


def listed(elements: Sequence[T]) -> list[T]:
    """The same as a list."""
    if isinstance(elements, list):
        return elements
    return elements.listed if isinstance(elements, Deferred) else list(elements)


def picked(elements: Sequence[T], mask: Sequence[Any]) -> list[T]:
    """The elements that a mask chooses."""
    return elements.chosen(mask) if isinstance(elements, Deferred) else list(compress(elements, mask))
