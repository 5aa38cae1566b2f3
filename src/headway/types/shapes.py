# ruff: noqa: SIM110 - compiled, a loop costs a fifth of a generator in `all` or `any`.
"""Shapes: whether a value is one that its declared type says, down to its last part. Built by `headway.types.values`.

`fits(value, seen)` is asked of every state at each commit and of every value that an operator makes, so this module is
compiled. It answers with yes or no; `parts` and `expects` are for the messages of those who got a no. With a set as
`seen`, a container that can be changed and is met twice does not fit; with None nobody looks.

A value that fits comes back from MessagePack as an equal one of the same types, which fits too. A value that does
not fit may still be encodable: an `int` where a `float` is declared, a tuple in `Any`, a time in another zone.
"""

from __future__ import annotations

from datetime import datetime, time, timezone
from typing import Any, Optional

__all__ = [
    "AnyShape",
    "ClockShape",
    "ExactShape",
    "Floats",
    "IntShape",
    "LimitedShape",
    "LiteralShape",
    "MomentShape",
    "Parts",
    "Shape",
    "TextShape",
    "UnionShape",
    "all_fit",
    "fits_64_bits",
    "is_repeated",
]

Parts = Optional[list[tuple[str, "Shape", Any]]]
"""What a value is made of: the place of each part, its shape, and the part; None where it is of another kind."""

_UTC = timezone.utc


class Shape:
    """Values of one type."""

    __slots__ = ("expects",)

    expects: str

    def __init__(self, expects: str) -> None:
        self.expects = expects

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """Whether `value` is such a value; `seen` are the containers met so far, None when that does not matter."""
        raise NotImplementedError

    def parts(self, value: Any) -> Parts:
        """What the value is made of, for whoever looks for the part that does not fit."""
        return [] if self.fits(value, None) else None


class ExactShape(Shape):
    """Values of exactly this class, all of which can be stored."""

    __slots__ = ("kind",)

    def __init__(self, expects: str, kind: type) -> None:
        self.expects = expects
        self.kind = kind

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        return type(value) is self.kind


class TextShape(Shape):
    """Text that has an encoding: without halves of surrogate pairs."""

    __slots__ = ()

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not str:
            return False
        if value.isascii():
            return True
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True


class IntShape(Shape):
    """Integers that MessagePack has: -2**63 to 2**64 - 1."""

    __slots__ = ()

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        return type(value) is int and fits_64_bits(value)


def fits_64_bits(value: int) -> bool:
    """Whether an integer can be stored."""
    try:
        number = value  # A number of C, which those beyond 63 bits do not become.
        if -1 <= number >> 62 <= 0:
            return True
    except OverflowError:
        pass
    return -(2**63) <= value < 2**64


class MomentShape(Shape):
    """Datetimes: in UTC, or without a zone."""

    __slots__ = ()

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not datetime:
            return False
        zone = value.tzinfo
        return zone is None or zone is _UTC


class ClockShape(Shape):
    """Times of day, without a zone or with a fixed offset."""

    __slots__ = ()

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not time:
            return False
        zone = value.tzinfo
        return zone is None or (type(zone) is timezone and not zone.utcoffset(None).total_seconds() % 60)


class AnyShape(Shape):
    """What MessagePack gives back as it was without being told a type: JSON's values, bytes, and datetimes in UTC."""

    __slots__ = ("depth",)

    def __init__(self, expects: str) -> None:
        self.expects = expects
        self.depth = 0

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        kind = type(value)
        if kind is str or value is None or kind is float or kind is bool or kind is bytes:
            return True
        if kind is int:
            return fits_64_bits(value)
        if kind is datetime:
            return value.tzinfo is _UTC
        if kind is not dict and kind is not list:
            return False
        if seen is not None and is_repeated(value, seen):
            return False
        if self.depth > 1_500:  # A number of C, for there the stack has an end. Encoders give up earlier.
            return False
        self.depth += 1
        try:
            return self.fits_dict(value, seen) if kind is dict else self.fits_list(value, seen)
        finally:
            self.depth -= 1

    def fits_dict(self, value: dict[Any, Any], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what is in a dict."""
        for key, part in value.items():
            kind = type(key)
            if kind is not str and not is_plain_key(key):
                return False
            if not self.fits(part, seen):
                return False
        return True

    def fits_list(self, value: list[Any], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what is in a list."""
        for part in value:
            if not self.fits(part, seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is list:
            return [(f"[{number}]", self, part) for number, part in enumerate(value)]
        if type(value) is dict and all(type(key) is str or is_plain_key(key) for key in value):
            return [(f"[{key!r:.100}]", self, part) for key, part in value.items()]
        return Shape.parts(self, value)


def is_plain_key(key: Any) -> bool:
    """Whether MessagePack gives a key of a dict back as it was."""
    kind = type(key)
    if kind is int:
        return fits_64_bits(key)
    return kind is str or kind is float or kind is bytes or kind is bool or key is None


def is_repeated(container: Any, seen: set[int]) -> bool:
    """Whether a container was met before; notes that it was met now."""
    mark = id(container)
    if mark in seen:
        return True
    seen.add(mark)
    return False


class UnionShape(Shape):
    """Values of one of several shapes."""

    __slots__ = ("options",)

    def __init__(self, expects: str, options: tuple[Shape, ...]) -> None:
        self.expects = expects
        self.options = options

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if value is None or seen is None:
            for option in self.options:
                if option.fits(value, seen):
                    return True
            return False
        for option in self.options:
            if option.fits(value, None):  # Else the options that it is not would leave their marks.
                return option.fits(value, seen)
        return False

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        for option in self.options:
            found = option.parts(value)
            if found is not None:
                return found
        return None


class LiteralShape(Shape):
    """One of these values."""

    __slots__ = ("values",)

    def __init__(self, expects: str, values: tuple[Any, ...]) -> None:
        self.expects = expects
        self.values = frozenset((type(value), value) for value in values)

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        kind = type(value)
        return (kind is str or kind is int or kind is bool or value is None) and (kind, value) in self.values


class LimitedShape(Shape):
    """Values of a shape that also pass a test: bounds, lengths, patterns, as `msgspec.Meta` declares them."""

    __slots__ = ("inner", "passes")

    def __init__(self, expects: str, inner: Shape, passes: Any) -> None:
        self.expects = expects
        self.inner = inner
        self.passes = passes

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        return self.inner.fits(value, seen) and bool(self.passes(value))

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        found = self.inner.parts(value)
        return None if found is None or not any(found) else found


def all_fit(shape: Shape, values: list[Any]) -> bool:
    """Whether all of these values fit."""
    for value in values:
        if not shape.fits(value, None):
            return False
    return True


class Floats:
    """The fields of a state that hold floats: makes floats of the integers that a handler left there."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def settle(self, state: Any) -> None:
        """Called after each handler, some 20 ns a field. What is no float either is left to the check at the commit."""
        for name in self.names:
            value = getattr(state, name)
            if type(value) is int:
                try:
                    setattr(state, name, float(value))
                except OverflowError:
                    return
