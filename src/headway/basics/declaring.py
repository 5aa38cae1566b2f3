"""Errors of declarations, at the user's line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, Union

from headway.errors import FlowError, UsageError

__all__ = ["Was", "declaring", "fail", "former_names", "place"]

Was = Union[str, Sequence[str]]
"""Names that a step had before: what is stored under one of them is its own."""


def place() -> str:
    """The file and line, outside the engine, that is declaring something now."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_engine(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    path = frame.f_code.co_filename
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    return f"{path if relative.startswith('..') else relative}:{frame.f_lineno}"


def _is_engine(module: str) -> bool:
    top, _, rest = module.partition(".")
    return (top == "headway" and rest.partition(".")[0] != "flows") or top in ("contextlib", "typing")


def fail(message: str) -> NoReturn:
    """Raise `FlowError` with the user's line before the message."""
    located = f"{place()}: {message}"
    raise FlowError(located) from None


@contextmanager
def declaring() -> Iterator[None]:
    """Errors about options inside this block become `FlowError`s at the user's line."""
    try:
        yield
    except (FlowError, UsageError) as error:
        fail(str(error))


def former_names(name: str, was: Was) -> tuple[str, ...]:
    """The names that `was` gives. Raises `FlowError` at the user's line for what is no name of before."""
    names = (was,) if isinstance(was, str) else was
    if not isinstance(names, Sequence) or not all(isinstance(old, str) and old for old in names):
        fail(f'{name!r}: was={was!r} is not a name that it had, nor several: write was="old-name"')
    if name in names:
        fail(f"{name!r}: was={was!r} is the name that it has: give those that it had, or leave was= out")
    return tuple(names)
