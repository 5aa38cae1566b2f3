"""Checks that connectors share: numbers in a range, libraries that must be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headway.errors import UsageError

__all__ = ["needed", "number_in"]


def number_in(what: str, value: float, least: float, most: float) -> float:
    """The value, where it is a number in the range. Raises `UsageError` otherwise.

    >>> number_in("concurrency", 16, 1, 10_000)
    16
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        msg = f"{what}={value!r} is out of range: expected {least:g} to {most:g}"
        raise UsageError(msg)
    return value


def needed(module: str, extra: str, who: str) -> Any:
    """A library of an extra. Raises `UsageError` with how to install it, where it is not there."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        msg = f"{who} needs {module}, which is not installed: pip install 'headway[{extra}]'"
        raise UsageError(msg) from None
