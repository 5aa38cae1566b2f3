"""How events of the shop are written: articles, lines of JSON, and lines that are broken on purpose."""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["ARTICLES", "Catalogue", "corrupt_line"]

ARTICLES: Final = 1_000
"""Number of articles that the shop sells."""

CORRUPTIONS: Final = 6
"""Number of ways in which a line can be broken."""


class Catalogue:
    r"""The articles with their prices, which never change.

    >>> catalogue = Catalogue(Random(1))
    >>> catalogue.skus[42], catalogue.price_cents["s0042"], catalogue.tails["s0042"]
    ('s0042', 2504, ', "sku": "s0042", "price": 25.04}\n')
    """

    def __init__(self, random: Random) -> None:
        self.skus: Final = [f"s{number:04d}" for number in range(ARTICLES)]
        self.price_cents: Final = {sku: 99 + int(random.random() * 19_900) for sku in self.skus}
        self.tails: Final = {sku: self._tail(sku) for sku in self.skus}
        """The end of an event's line, by article; "" stands for an event without one."""
        self.tails[""] = "}\n"

    def _tail(self, sku: str) -> str:
        euros, cents = divmod(self.price_cents[sku], 100)
        return f', "sku": "{sku}", "price": {euros}.{cents:02d}}}\n'


def corrupt_line(line: str, random: Random) -> str:
    r"""A line like `line` that no decoder accepts, with its line end.

    It is broken JSON, cut short, not UTF-8, of a wrong type, without its time, or no object at all.
    Characters stand for bytes (latin-1).

    >>> line = '{"user": "u1", "kind": "view", "at": 17}\n'
    >>> corrupt_line(line, Random(5)), corrupt_line(line, Random(7))
    ('{"user": "u1", "kind": "view", "at": "soon"}\n', '{"user\n')
    """
    choice = int(random.random() * CORRUPTIONS)
    head, at, rest = line.partition('"at": ')
    if choice == 0:
        return line.replace('"kind": ', '"kind" ')
    if choice == 1:
        # Without the closing brace and the line end it cannot be an object, however long it is.
        return line[: 1 + int(random.random() * (len(line) - 3))] + "\n"
    if choice == 2:
        return line.replace('"user": "', '"user": "\xff')
    if choice == 3:
        return head + at + '"soon"' + rest.lstrip("0123456789")
    if choice == 4:
        return head.rstrip(", ") + rest.lstrip("0123456789")
    return '["' + line[10:17] + '", "added", "something"]\n'
