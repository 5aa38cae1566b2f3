"""Marks of code: a few digits that are others when a function or a class does something else.

A mark says nothing about what has changed, only that something has. It is the same in every process and on every
machine that runs the same minor version of Python, and does not depend on where the code stands: lines, comments,
docstrings, names of local variables and files leave it as it is. Of what a function uses it covers the constants,
functions and closures of its own module. What other modules do is theirs: a library that was updated changes no mark.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, Optional
from uuid import UUID

__all__ = ["PYTHON", "Described", "is_engine", "mark_of_class", "mark_of_function", "unwrapped"]

PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""Marks are compared only between runs of one version of Python: others compile the same code to other bytes."""

Described = Callable[[Any], str]
"""Says what a value is, in a text that is the same in every process."""

_ATOMS: Final = (
    *(str, int, float, complex, bool, bytes, type(None), type(Ellipsis)),
    *(Enum, Decimal, UUID, date, time, timedelta, re.Pattern),
)


def is_engine(module: Optional[str]) -> bool:
    """Whether a module is Headway's own: its code changes with its version, which is nobody's edit of a flow."""
    top, _, rest = (module or "").partition(".")
    return top == "headway" and rest.partition(".")[0] not in ("flows", "testing")


def unwrapped(function: Any) -> Any:
    """The function behind what only adds to how it is called: methods, caches, static methods."""
    while True:
        if isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, (staticmethod, classmethod)) or (
            not isinstance(function, FunctionType) and hasattr(function, "__wrapped__")
        ):
            function = function.__wrapped__
        elif isinstance(function, property):
            function = function.fget
        elif isinstance(function, functools.cached_property):
            function = function.func
        else:
            return function


def mark_of_function(function: Any, described: Described) -> str:
    """The mark of a function; empty for one without code in Python, and for Headway's own."""
    plain = unwrapped(function)
    if not isinstance(plain, FunctionType) or is_engine(plain.__module__):
        return ""
    return _digest(_of_function(plain, described, set()))


def mark_of_class(kind: type, described: Described) -> str:
    """The mark of a class: its methods and constants, and those that it inherits; empty for Headway's own.

    Its name, and the types of its fields, do not count.
    """
    own = [base for base in kind.__mro__ if base is not object and not is_engine(base.__module__)]
    seen: set[int] = set()
    return _digest(part for base in own for part in _of_class(base, described, seen)) if own else ""


def _digest(parts: Iterator[str]) -> str:
    digest = blake2b(digest_size=4)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _of_class(kind: type, described: Described, seen: set[int]) -> Iterator[str]:
    for name, value in sorted(vars(kind).items(), key=lambda item: item[0]):
        plain = unwrapped(value)
        if isinstance(plain, FunctionType):
            # Such as those that a dataclass is given, whose code says only which fields there are.
            if plain.__module__ == kind.__module__:
                yield name
                yield from _of_function(plain, described, seen)
        elif not name.startswith("__") and _is_plain(value):
            yield f"{name}={described(value)}"


def _of_function(function: FunctionType, described: Described, seen: set[int]) -> Iterator[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    code = function.__code__
    yield from _of_code(code, function.__doc__)
    for given in (function.__defaults__, function.__kwdefaults__):
        yield described(given)
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # Not set yet.
            continue
        if isinstance(value, type):
            yield value.__qualname__
        yield from _of_value(value, function, described, seen)
    for name in _names(code):
        if name in function.__globals__ and not name.startswith("__"):  # `__file__` says where the code stands.
            yield name
            yield from _of_value(function.__globals__[name], function, described, seen)


def _of_value(value: Any, user: FunctionType, described: Described, seen: set[int]) -> Iterator[str]:
    """What a value that a function uses says of it: the text of plain values, the code of its module's functions."""
    plain = unwrapped(value)
    if isinstance(plain, FunctionType):
        if plain.__module__ == user.__module__:
            yield from _of_function(plain, described, seen)
    elif _is_plain(value):
        yield described(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is made of atoms and containers, few enough to look at."""
    if isinstance(value, _ATOMS):
        return True
    if isinstance(value, (tuple, list, set, frozenset)):
        return len(value) <= _PARTS_MAX and all(map(_is_plain, value))
    if isinstance(value, dict):
        return len(value) <= _PARTS_MAX and all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return False


_PARTS_MAX: Final = 100


def _names(code: CodeType) -> list[str]:
    """The names of globals and attributes in a function and in those that are defined in it, each once."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= dict.fromkeys(_names(constant))
    return list(found)


def _of_code(code: CodeType, docstring: Optional[str] = None) -> Iterator[str]:
    yield code.co_code.hex()
    yield f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & _STARS}"
    yield " ".join(code.co_names)
    for index, constant in enumerate(code.co_consts):
        is_docstring = index == 0 and docstring is not None and constant == docstring
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield _of_constant(None if is_docstring else constant)


_STARS: Final = 0x04 | 0x08
"""The flags that say whether a function takes any number of arguments."""


def _of_constant(constant: Any) -> str:
    if isinstance(constant, frozenset):
        return "{" + ", ".join(sorted(map(_of_constant, constant))) + "}"
    if isinstance(constant, tuple):
        return "(" + ", ".join(map(_of_constant, constant)) + ")"
    return f"{type(constant).__name__} {constant!r}"
