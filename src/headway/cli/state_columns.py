"""Stored rows as rows of a table: which columns there are, and of which types, for SQL, CSV and Parquet."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal

__all__ = ["ColumnKinds", "ColumnType", "fields_of"]

ColumnType = Literal["boolean", "integer", "number", "text", "json"]

_TYPES: Final[tuple[tuple[frozenset[type], ColumnType], ...]] = (
    (frozenset({bool}), "boolean"),
    (frozenset({int}), "integer"),
    (frozenset({int, float}), "number"),
    (frozenset({str}), "text"),
)
"""The type of a column whose values are of no other types than these; JSON for all others."""
_BIGINT: Final = range(-(1 << 63), 1 << 63)


def fields_of(state: Any, own: Collection[str]) -> dict[str, Any]:
    """The fields of a plain state as columns, beside some that a table has of its own.

    A field of one of these names is called `state_` and the name; a state without fields is the column `value`.

    >>> fields_of({"key": 1, "cents": 2}, own=("key",)), fields_of(7, own=("key",))
    ({'state_key': 1, 'cents': 2}, {'value': 7})
    """
    fields = state if isinstance(state, dict) else {"value": state}
    return {f"state_{name}" if str(name).lower() in own else str(name): value for name, value in fields.items()}


class ColumnKinds:
    """The columns of rows that were seen, and the types of their values.

    >>> kinds = ColumnKinds()
    >>> kinds.see({"cents": 2, "skus": ["a"]})
    >>> kinds.see({"cents": 2.5, "note": None})
    >>> kinds.types()
    {'cents': 'number', 'skus': 'json', 'note': 'text'}
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[type]] = {}

    def see(self, fields: dict[str, Any]) -> None:
        """One more row."""
        for name, value in fields.items():
            kind = type(value)
            # A whole number that no column of such takes is told as any number.
            self._seen.setdefault(name, set()).add(float if kind is int and value not in _BIGINT else kind)

    def types(self) -> dict[str, ColumnType]:
        """The type of each column; text where all that was seen is None."""
        return {name: self._type_of(kinds - {type(None)}) for name, kinds in self._seen.items()}

    @staticmethod
    def _type_of(kinds: set[type]) -> ColumnType:
        if not kinds:
            return "text"
        return next((name for types, name in _TYPES if kinds <= types), "json")
