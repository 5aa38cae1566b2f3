"""The order of names in which numbers count as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["in_order"]

_DIGITS: Final = re.compile(r"(\d+)")


def in_order(names: Iterable[str]) -> list[str]:
    """Names in their order, in which numbers count as numbers.

    >>> in_order(["day-10.parquet", "day-9.parquet"])
    ['day-9.parquet', 'day-10.parquet']
    """
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    parts = _DIGITS.split(name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts], name
