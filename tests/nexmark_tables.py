"""The final tables of the Nexmark queries, from what their flows emit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["table"]

Line = Mapping[str, Any]
Row = tuple[Any, ...]

BID = "auction bidder price channel url dateTime extra"
AUCTION = "itemName description initialBid reserve dateTime expires seller category extra"


def pick(names: str) -> Callable[[Line], list[Row]]:
    """One row of each line, with these fields."""
    fields = names.split()
    return lambda line: [tuple(line[field] for field in fields)]


def join(*rows: list[Row]) -> list[Row]:
    """One row of several."""
    return [sum((row for (row,) in rows), ())]


ROWS: dict[str, Callable[[Line], Iterable[Row]]] = {
    "q0": pick(BID),
    "q1": pick("auction bidder price dateTime extra"),
    "q2": pick("auction price"),
    "q4": pick("category average"),
    "q7": pick("auction bidder price dateTime extra"),
    "q8": pick("id name start"),
    "q9": lambda line: join(
        pick(f"id {AUCTION}")(line["auction"]), pick("auction bidder price dateTime extra")(line["bid"])
    ),
    "q18": pick(BID),
    "q19": lambda line: [(*pick(BID)(bid)[0], rank) for rank, bid in enumerate(line["bids"], 1)],
}
"""The rows that a line stands for."""

KEYS: dict[str, str] = {"q4": "category", "q18": "auction bidder", "q19": "auction"}
"""Of queries that emit changes, the fields for each of whose values the last line holds."""


def table(query: str, lines: Sequence[Line]) -> list[Row]:
    """The rows of a query's final table, sorted."""
    if query in KEYS:
        key = pick(KEYS[query])
        lines = list({key(line)[0]: line for line in lines}.values())
    return sorted(row for line in lines for row in ROWS[query](line))
