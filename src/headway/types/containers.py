# ruff: noqa: SIM110 - compiled, a loop costs a fifth of a generator in `all` or `any`.
"""Shapes of values that hold others: lists, tuples, dicts, and objects with fields. See `headway.types.shapes`."""

from __future__ import annotations

from typing import Any, Optional

from msgspec import Struct
from msgspec.structs import astuple

from headway.types.shapes import ExactShape, Parts, Shape, is_repeated

__all__ = ["DictShape", "FieldsShape", "FixedTupleShape", "SequenceShape", "TypedDictShape"]


class SequenceShape(Shape):
    """Lists, or tuples of any length, of values of one shape."""

    __slots__ = ("item", "kind", "mutable")

    def __init__(self, expects: str, kind: type, item: Shape) -> None:
        self.expects = expects
        self.kind = kind
        self.item = item
        self.mutable = kind is list

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not self.kind:
            return False
        if seen is not None and self.mutable and is_repeated(value, seen):
            return False
        parts: Any = value
        return self.fits_list(parts, seen) if self.mutable else self.fits_tuple(parts, seen)

    def fits_list(self, value: list[Any], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what is in a list."""
        item = self.item
        for part in value:
            if not item.fits(part, seen):
                return False
        return True

    def fits_tuple(self, value: tuple[Any, ...], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what is in a tuple."""
        item = self.item
        for part in value:
            if not item.fits(part, seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is not self.kind:
            return None
        found: Any = value
        return [(f"[{number}]", self.item, part) for number, part in enumerate(found)]


class FixedTupleShape(Shape):
    """Tuples with a shape for each place."""

    __slots__ = ("items",)

    def __init__(self, expects: str, items: tuple[Shape, ...]) -> None:
        self.expects = expects
        self.items = items

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not tuple or len(value) != len(self.items):
            return False
        for number, item in enumerate(self.items):
            if not item.fits(value[number], seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is not tuple or len(value) != len(self.items):
            return None
        return [(f"[{number}]", item, value[number]) for number, item in enumerate(self.items)]


class DictShape(Shape):
    """Dicts with keys of one shape and values of another."""

    __slots__ = ("item", "key")

    def __init__(self, expects: str, key: Shape, item: Shape) -> None:
        self.expects = expects
        self.key = key
        self.item = item

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not dict:
            return False
        if seen is not None and is_repeated(value, seen):
            return False
        return self.fits_items(value, seen)

    def fits_items(self, value: dict[Any, Any], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what is in the dict."""
        key, item = self.key, self.item
        for name, part in value.items():
            if not key.fits(name, seen) or not item.fits(part, seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is not dict:
            return None
        keys = [(f" (the key {name!r:.100})", self.key, name) for name in value]
        return keys + [(f"[{name!r:.100}]", self.item, part) for name, part in value.items()]


class FieldsShape(Shape):
    """Objects of one class with declared fields: structs, dataclasses, named tuples.

    What is in a frozen one counts as a value that nobody changes: it may be met twice.
    """

    __slots__ = ("depth", "frozen", "is_struct", "kind", "names", "shapes", "strays")

    def __init__(self, expects: str, kind: type, *, frozen: bool, strays: bool) -> None:
        self.expects = expects
        self.kind = kind
        self.frozen = frozen
        self.strays = strays
        self.is_struct = issubclass(kind, Struct)
        self.depth = 0
        self.names: tuple[str, ...] = ()
        self.shapes: tuple[Shape, ...] = ()

    def fill(self, names: tuple[str, ...], shapes: tuple[Shape, ...]) -> None:
        """Say which fields there are; later than the class, which may hold itself."""
        self.names = names
        self.shapes = shapes

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not self.kind or self.depth > 1_500:
            return False
        if self.frozen:
            seen = None
        elif seen is not None and is_repeated(value, seen):
            return False
        self.depth += 1
        try:
            return self.fits_fields(value, seen)
        finally:
            self.depth -= 1

    def fits_fields(self, value: Any, seen: Optional[set[int]]) -> bool:
        """As `fits`, of the fields."""
        if self.is_struct:
            return self.fits_struct(value, seen)
        if self.strays and len(getattr(value, "__dict__", self.names)) != len(self.names):
            return False
        for index, name in enumerate(self.names):
            shape = self.shapes[index]
            if not shape.fits(getattr(value, name, _MISSING), seen):
                return False
        return True

    def fits_struct(self, value: Any, seen: Optional[set[int]]) -> bool:
        """As `fits`, of the fields of a struct: all of them in one call cost little more than one."""
        try:
            parts = astuple(value)
        except AttributeError:  # One of them has no value.
            return False
        for index in range(len(parts)):
            shape = self.shapes[index]
            if not shape.fits(parts[index], seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is not self.kind:
            return None
        found = [(f".{name}", shape, getattr(value, name, _MISSING)) for name, shape in zip(self.names, self.shapes)]
        if self.strays:
            known = set(self.names)
            stray = ExactShape("no such field: only declared fields are stored", _Missing)
            found += [(f".{name}", stray, part) for name, part in vars(value).items() if name not in known]
        return found


class _Missing:
    """A field that has no value."""

    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


class TypedDictShape(Shape):
    """Dicts whose keys are declared, each with a shape."""

    __slots__ = ("depth", "required", "shapes")

    def __init__(self, expects: str) -> None:
        self.expects = expects
        self.depth = 0
        self.shapes: dict[str, Shape] = {}
        self.required: frozenset[str] = frozenset()

    def fits(self, value: Any, seen: Optional[set[int]]) -> bool:
        """See `Shape.fits`."""
        if type(value) is not dict or self.depth > 1_500 or not self.required <= value.keys():
            return False
        if seen is not None and is_repeated(value, seen):
            return False
        self.depth += 1
        try:
            return self.fits_declared(value, seen)
        finally:
            self.depth -= 1

    def fits_declared(self, value: dict[Any, Any], seen: Optional[set[int]]) -> bool:
        """As `fits`, of what the keys hold."""
        for name, part in value.items():
            shape = self.shapes.get(name) if type(name) is str else None
            if shape is None or not shape.fits(part, seen):
                return False
        return True

    def parts(self, value: Any) -> Parts:
        """See `Shape.parts`."""
        if type(value) is not dict or not self.required <= value.keys() or not value.keys() <= self.shapes.keys():
            return None
        return [(f"[{name!r}]", self.shapes[name], part) for name, part in value.items()]
