"""Conditions on events: field equalities or any callable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any, Optional, TypeVar, Union

from headway.errors import FlowError
from headway.types.eventcolumns import EventColumns
from headway.types.schema import Json, columnar, eventwise, field_names

__all__ = [
    "Condition",
    "Predicate",
    "Where",
    "choices",
    "field_equality",
    "field_getter",
    "is_columnar",
    "mask_of",
    "one_of",
    "resolve",
    "where",
]

T = TypeVar("T")

Mask = Sequence[Any]
"""One value for each event, a true one for those that are chosen."""
Condition = Union[Callable[[Any], bool], "Where"]
"""A predicate on events: a callable, or `where(field=value)`."""
Predicate = Union[Callable[[T], bool], "Where"]
"""A condition on events of type T."""


class Where:
    """Field equalities, all of which must hold; a set, list or tuple of values means any of them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def bind(self, event_type: Any) -> Callable[[Any], bool]:
        """A fast predicate for events of `event_type`. Raises `FlowError` for a field it does not have."""
        known = field_names(event_type)
        tests: list[Callable[[Any], bool]] = []
        for name, wanted in self.fields.items():
            if known is not None and name not in known:
                msg = (
                    f"where({name}=...): {event_type.__name__} has no field {name!r}, its fields are {', '.join(known)}"
                )
                raise FlowError(msg)
            tests.append(_test(name, wanted, event_type))
        return tests[0] if len(tests) == 1 else _all_of(tests)

    def __repr__(self) -> str:
        return "where(" + ", ".join(f"{name}={value!r}" for name, value in self.fields.items()) + ")"


def _all_of(tests: Sequence[Any]) -> Any:
    def holds(event: Any) -> bool:
        return all(test(event) for test in tests)

    return _with_mask(holds, tests, all)


def one_of(tests: Sequence[Callable[[Any], bool]], event_type: Any) -> Callable[[Any], bool]:
    """The predicate that holds where any of these does; conditions on one field become one look at it.

    >>> starts, ends = where(kind="add").bind(dict), where(kind="checkout").bind(dict)
    >>> field_equality(one_of([starts, ends], dict))
    ('kind', ('add', 'checkout'))
    """
    if len(tests) == 1:
        return tests[0]
    equalities = [equality for test in tests if (equality := field_equality(test)) is not None]
    if len(equalities) == len(tests) and len({name for name, _ in equalities}) == 1:
        values = [value for _, wanted in equalities for value in wanted]
        distinct = [value for index, value in enumerate(values) if value not in values[:index]]
        made: Callable[[Any], bool] = _test(equalities[0][0], distinct, event_type)
        return made

    def holds(event: Any) -> bool:
        return any(test(event) for test in tests)

    either: Callable[[Any], bool] = _with_mask(holds, tests, any)
    return either


def _with_mask(holds: Any, tests: Sequence[Any], together: Callable[[Any], bool]) -> Any:
    """A predicate that is asked of whole columns where all that it is made of are."""
    masks = [getattr(test, "mask", None) for test in tests]
    if None not in masks:
        holds.mask = lambda events: list(map(together, zip(*(mask(events) for mask in masks))))  # type: ignore[misc]
    return holds


def _test(name: str, wanted: Any, event_type: Any) -> Any:
    values = choices(wanted)
    test: Any = eventwise("FIELD in given", name, event_type, values) or _slow_test(name, values, event_type)
    test.equals = (name, values)
    column = columnar("FIELD in given", name, event_type)
    if column is not None:
        # For a whole column no call is made per event.
        test.mask = _mask(name, column, values)
    return test


def _mask(name: str, column: Callable[..., list[bool]], values: tuple[Any, ...]) -> Callable[[Sequence[Any]], Mask]:
    try:
        hashed = frozenset(values)
    except TypeError:
        return lambda events: column(events, values)

    def mask(events: Sequence[Any]) -> Mask:
        if isinstance(events, EventColumns):
            found = events.holding(name, hashed)
            if found is not None:
                return found
        try:
            return column(events, hashed)
        except TypeError:  # Some event has a value there that cannot be hashed.
            return column(events, values)

    return mask


def _slow_test(name: str, values: tuple[Any, ...], event_type: Any) -> Callable[[Any], bool]:
    get = field_getter(name, event_type)
    return lambda event: get(event) in values


def choices(wanted: Any) -> tuple[Any, ...]:
    """The values that a field may have: those of a collection, or the one.

    >>> choices(["add", "view"]), choices("add")
    (('add', 'view'), ('add',))
    """
    is_choice = isinstance(wanted, Collection) and not isinstance(wanted, (str, bytes, dict))
    return tuple(wanted) if is_choice else (wanted,)


def mask_of(test: Callable[[Any], bool], events: Sequence[Any]) -> Mask:
    """Which of the events meet a predicate; for one of `where` with a single field this costs some 40 ns an event.

    For events that are known as columns it costs 1 to 10 ns.

    >>> mask_of(where(kind="add").bind(dict), [{"kind": "add"}, {"kind": "view"}])
    [True, False]
    """
    mask = getattr(test, "mask", None)
    return list(map(test, events)) if mask is None else mask(events)


def is_columnar(test: Callable[[Any], bool]) -> bool:
    """Whether a predicate is made of equalities of declared fields: it then costs little, and never fails.

    >>> is_columnar(where(kind="add").bind(dict)), is_columnar(bool)
    (False, False)
    """
    return hasattr(test, "mask")


def field_equality(test: Callable[[Any], bool]) -> Optional[tuple[str, tuple[Any, ...]]]:
    """The field and its values that a predicate asks for; None where it asks for anything else.

    >>> field_equality(where(kind=("add", "view")).bind(dict)), field_equality(bool)
    (('kind', ('add', 'view')), None)
    """
    found: Optional[tuple[str, tuple[Any, ...]]] = getattr(test, "equals", None)
    return found


def field_getter(name: str, event_type: Any) -> Callable[[Any], Any]:
    """A function that reads a field; None where an event of a type without declared fields lacks it.

    >>> field_getter("kind", dict)({"kind": "add"}), field_getter("kind", dict)({})
    ('add', None)
    """
    if event_type in (Json, dict):
        return lambda event: event.get(name)
    if field_names(event_type) is not None:
        return attrgetter(name)
    return lambda event: event.get(name) if isinstance(event, dict) else getattr(event, name, None)


def where(**fields: Any) -> Where:
    """A condition: the named fields have these values; a collection of values means any of them.

    >>> is_cart = where(kind=("add", "remove")).bind(dict)
    >>> is_cart({"kind": "add"}), is_cart({"kind": "view"}), is_cart({})
    (True, False, False)
    """
    if not fields:
        msg = 'where() needs at least one field, such as where(kind="add")'
        raise FlowError(msg)
    return Where(fields)


def resolve(condition: Condition, event_type: Any) -> Callable[[Any], bool]:
    """The predicate that a condition means for events of `event_type`."""
    if isinstance(condition, Where):
        return condition.bind(event_type)
    if not callable(condition):
        msg = f"a condition must be a function of the event or where(field=value), not {condition!r}"
        raise FlowError(msg)
    return condition
