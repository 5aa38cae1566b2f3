"""Versions of states: under which one the states of an operator are stored, and what is made of older ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Optional, get_origin

from headway.errors import FlowError
from headway.operators.base import Operator, name_of

__all__ = ["VERSION_MAX", "Versioned", "of_operator", "of_type"]

VERSION_MAX: Final = 65_535


class Versioned(NamedTuple):
    """A version, and what makes states of it."""

    version: int
    migrate: Optional[Callable[[Any, int], Any]]
    """Takes the builtins of an older state and its version; None where there is nothing for it."""


def of_operator(operator: Operator[Any, Any, Any]) -> Versioned:
    """What an operator says of its states; where it says nothing, what the class of the state says.

    Raises `FlowError` for what is no version, and for a `migrate` that could not be called, or never would.

    >>> class Count(Operator[Any, dict]):
    ...     state_version = 2
    ...     def migrate(self, old, version):
    ...         return {"seen": old["count"]}
    >>> of_operator(Count()).migrate({"count": 3}, 1)
    {'seen': 3}
    """
    found = of_type(operator.state_type)
    version = operator.state_version or found.version
    migrate = operator.migrate or found.migrate
    return _checked(Versioned(version, migrate), name_of(operator))


def of_type(state_type: Any) -> Versioned:
    """What the class of a state says: its `state_version`, which is 1 unless it says another, and its `migrate`.

    Raises `FlowError` as `of_operator` does.
    """
    cls = get_origin(state_type) or state_type
    name = getattr(cls, "__name__", str(cls))
    fields = getattr(cls, "__struct_fields__", ())
    if "state_version" in fields:
        msg = f"{name}.state_version is a field: for the version of the state write state_version: ClassVar[int] = 2"
        raise FlowError(msg)
    migrate = None if "migrate" in fields else getattr(cls, "migrate", None)
    if migrate is not None and not isinstance(inspect.getattr_static(cls, "migrate"), (classmethod, staticmethod)):
        msg = f"{name}.migrate makes a state that is not there yet: write @classmethod above it"
        raise FlowError(msg)
    return _checked(Versioned(getattr(cls, "state_version", 1), migrate), name)


def _checked(found: Versioned, name: str) -> Versioned:
    version, migrate = found
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        msg = f"{name}: state_version = {version!r} must be a number from 1 to {VERSION_MAX}"
        raise FlowError(msg)
    if migrate is not None and version == 1:
        msg = f"{name} has a migrate, which is never called for states of version 1: say state_version = 2"
        raise FlowError(msg)
    return found
