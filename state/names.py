"""Names that have changed: which name of before a step goes on under."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

__all__ = ["SHARED", "former_name", "former_names", "owner"]

SHARED: Final = ":shared"
"""What follows the name of an operator in that of the rows which its broadcast inputs keep."""


def owner(name: str) -> str:
    """The operator that a kind of rows belongs to.

    >>> owner("rank"), owner("rank:shared")
    ('rank', 'rank')
    """
    return name.removesuffix(SHARED)


def former_names(name: str, was: Sequence[str], known: Collection[str], present: Collection[str]) -> list[str]:
    """Those of the names in `was` under which something is kept that no step of today's flow has.

    `known` are the names under which something is kept, `present` those of today's flow.
    """
    suffix = name[len(owner(name)) :]
    return [old + suffix for old in was if old + suffix in known and old + suffix not in present]


def former_name(name: str, was: Sequence[str], known: Collection[str], present: Collection[str]) -> str:
    """The name that what belongs to `name` is kept under: another one where the step was renamed since.

    >>> former_name("cart", ["basket"], {"basket"}, {"cart"}), former_name("cart", ["basket"], {"cart"}, {"cart"})
    ('basket', 'cart')
    """
    if name in known:
        return name
    return next(iter(former_names(name, was, known, present)), name)
