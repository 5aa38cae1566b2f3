"""What steps check when they are declared: operators, and the types of what flows."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any, TypeVar, Union

from headway.errors import FlowError
from headway.graph import DEAD_LETTERS, LATE, MAIN
from headway.operators.base import Operator, check_handlers
from headway.operators.versions import of_operator, of_type
from headway.types.logtypes import log_fields
from headway.types.schema import returned_type, type_label, without_none
from headway.types.timefields import plain_type
from headway.types.values import options_of, shape_of

__all__ = ["accepts", "check_declared", "check_operator", "item_type", "result_type"]


def check_declared(operator: Operator[Any, Any, Any]) -> None:
    """Raise `FlowError` when an input has no handler or one that cannot work, or a name has another meaning."""
    kind = type(operator).__name__
    for name in {MAIN, LATE, DEAD_LETTERS} & operator.sides.keys():
        msg = f"{kind} has a side output {name!r}: that name has a meaning of its own, choose another"
        raise FlowError(msg)
    for name in (*operator.inputs, *operator.broadcasts):
        if name == "was":
            msg = f"{kind} has an input 'was': process(..., was=...) has a meaning of its own, choose another name"
            raise FlowError(msg)
        if name in ("event", "timer") or not callable(getattr(operator, f"on_{name}", None)):
            msg = f"{kind} has an input {name!r}, but no method on_{name}(self, state, event, ctx) for it"
            raise FlowError(msg)
    check_handlers(operator)
    if operator.broadcasts and operator.shared_type is None:
        msg = f"{kind} has broadcast inputs: say what they maintain with shared_type = a State class"
        raise FlowError(msg)


def check_operator(operator: Operator[Any, Any, Any]) -> None:
    """Raise `FlowError` when a fresh state of an operator that is bound cannot be made, or its version cannot be."""
    kind = type(operator).__name__
    of_operator(operator)
    for what, state_type in (("state", operator.state_type), ("shared state", operator.shared_type)):
        if state_type is None:
            continue
        try:
            state_type()
        except TypeError as error:
            msg = (
                f"{type_label(state_type)}, the {what} of {kind}, cannot start empty: {error}; "
                "give every field a default"
            )
            raise FlowError(msg) from None
        shape_of(state_type, f"the {what} of {kind}", has_logs=what == "state")
        for field in log_fields(state_type):
            shape_of(field.entry_type, f"the entries of {type_label(state_type)}.{field.name}")
            if len(getattr(state_type(), field.name)):
                msg = f"{type_label(state_type)}.{field.name}: a log begins empty, with hw.Log()"
                raise FlowError(msg)
        of_type(state_type)


def accepts(wanted: Any, given: Any) -> bool:
    """Whether a step that takes values of one type can be given those of another; `Any` fits everything.

    >>> accepts(int | str | None, str | int), accepts(int, int | str)
    (True, False)
    """
    wanted, given = plain_type(wanted), plain_type(given)
    if Any in (wanted, given) or wanted == given or isinstance(wanted, TypeVar):
        return True
    if {type_label(wanted), type_label(given)} == {"Json"}:
        return True
    if len(options_of(given)) > 1:
        return all(accepts(wanted, option) for option in options_of(given))
    if len(options_of(wanted)) > 1:
        return any(accepts(option, given) for option in options_of(wanted))
    return isinstance(wanted, type) and isinstance(given, type) and issubclass(given, wanted)


def result_type(function: Any, into: Any) -> Any:
    """The type of what a function gives: `into` where it is given, else what its annotation says."""
    return returned_type(function) if into is None else into


def item_type(function: Any, into: Any) -> Any:
    """The type of each of the results of a function that gives several; `Any` where its annotation does not tell.

    >>> def sizes(event: object) -> tuple[int, str] | None: ...
    >>> item_type(sizes, None)
    typing.Union[int, str]
    """
    return _items(without_none(returned_type(function))) if into is None else into


def _items(several: Any) -> Any:
    """The type of what is in a value of a type, as a loop over it finds it."""
    options = options_of(several)
    if len(options) > 1:
        return _any_of(map(_items, options))
    origin, arguments = typing.get_origin(several), typing.get_args(several)
    if not (isinstance(origin, type) and issubclass(origin, Iterable)) or not arguments:
        return Any
    return _any_of(part for part in arguments if part is not ...) if issubclass(origin, tuple) else arguments[0]


def _any_of(kinds: Iterable[Any]) -> Any:
    found = tuple(kinds)
    return Any if Any in found else Union[found]
