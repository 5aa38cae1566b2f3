"""Errors of declarations, at the user's line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from headway.errors import FlowError, UsageError

__all__ = ["declaring", "fail", "place"]


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
