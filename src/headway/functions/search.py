"""Search fields: what instances of a function are found by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, Union

from headway.basics.declaring import fail
from headway.errors import UsageError

__all__ = ["SearchFields", "SearchValue", "checked_fields"]

SearchValue = Union[bool, int, float, str]

_TYPES: Final[tuple[type[Any], ...]] = (str, int, float, bool)
_TEXT_MAX: Final = 1_000


class SearchFields(MutableMapping[str, SearchValue]):
    """The fields of one instance: only those that its function declares, each of its type.

    >>> fields = SearchFields({"customer": str, "cents": int})
    >>> fields["customer"] = "ann"
    >>> fields["cents"] = "many"
    Traceback (most recent call last):
    headway.errors.UsageError: context.search['cents'] = 'many': the field is declared as int
    >>> dict(fields)
    {'customer': 'ann'}
    """

    def __init__(self, declared: Mapping[str, type[Any]]) -> None:
        self._declared = declared
        self._values: dict[str, SearchValue] = {}

    def __setitem__(self, name: str, value: SearchValue) -> None:
        kind = self._declared.get(name)
        shown = f"context.search[{name!r}] = {value!r:.100}"
        if kind is None:
            known = ", ".join(self._declared) or "none"
            msg = f"{shown}: it is not declared: @durable_workflow(search={{{name!r}: str}}), it has {known}"
            raise UsageError(msg)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            msg = f"{shown}: the field is declared as {kind.__name__}"
            raise UsageError(msg)
        if isinstance(value, float) and value - value != 0:
            msg = f"{shown}: a number that is none, or infinite, is not found by anything"
            raise UsageError(msg)
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            msg = f"{shown}: a text of more than {_TEXT_MAX} characters is no search field"
            raise UsageError(msg)
        self._values[name] = value

    def __getitem__(self, name: str) -> SearchValue:
        return self._values[name]

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def plain(self) -> dict[str, SearchValue]:
        """The fields as they are, not to be changed."""
        return self._values

    def __repr__(self) -> str:
        return f"SearchFields({self._values!r})"


def checked_fields(given: Mapping[str, type[Any]], what: str) -> dict[str, type[Any]]:
    """Declared fields. Raises `FlowError` for names and types that cannot be."""
    for name, kind in given.items():
        if not isinstance(name, str) or not name.isidentifier():
            fail(f"{what}: the search field {name!r} must have a name such as customer_id")
        if kind not in _TYPES:
            fail(f"{what}: the search field {name!r} is {kind!r}, expected str, int, float or bool")
    return dict(given)
