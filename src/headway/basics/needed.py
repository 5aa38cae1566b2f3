"""Checks that connectors share: numbers and lengths of time in a range, libraries that must be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headway.basics.times import Duration, duration_ms, format_duration
from headway.errors import UsageError

__all__ = ["length_ms_in", "needed", "number_in", "whole_in"]


def number_in(what: str, value: float, least: float, most: float) -> float:
    """The value, where it is a number in the range. Raises `UsageError` otherwise.

    >>> number_in("rate", 2.5, 0.001, 10_000)
    2.5
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        msg = f"{what}={value!r} is out of range: expected a number from {least:,} to {most:,}"
        raise UsageError(msg)
    return value


def whole_in(what: str, value: int, least: int, most: int) -> int:
    """The value, where it is a whole number in the range. Raises `UsageError` otherwise.

    >>> whole_in("concurrency", 16, 1, 10_000)
    16
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        msg = f"{what}={value!r} is out of range: expected a whole number from {least:,} to {most:,}"
        raise UsageError(msg)
    return value


def length_ms_in(what: str, value: Duration, least_ms: int, most_ms: int) -> int:
    """A length of time in milliseconds, where it is in the range. Raises `UsageError` otherwise.

    >>> length_ms_in("timeout", "20s", 1, 3_600_000)
    20000
    """
    length_ms = duration_ms(value, what=what)
    if not least_ms <= length_ms <= most_ms:
        least, most = format_duration(least_ms), format_duration(most_ms)
        msg = f"{what}={value!r} is out of range: expected a length of time from {least} to {most}"
        raise UsageError(msg)
    return length_ms


def needed(module: str, extra: str, who: str) -> Any:
    """A library of an extra. Raises `UsageError` with how to install it, where it is not there."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        msg = f"{who} needs {module}, which is not installed: pip install 'headway[{extra}]'"
        raise UsageError(msg) from None
