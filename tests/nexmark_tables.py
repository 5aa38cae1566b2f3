"""The final tables of the Nexmark queries, from what their flows emit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headway.basics.times import format_time

__all__ = ["table"]

Line = Mapping[str, Any]
Row = tuple[Any, ...]

BID = "auction bidder price channel url dateTime extra"
AUCTION = "itemName description initialBid reserve dateTime expires seller category extra"
RANKS = "total_bids rank1_bids rank2_bids rank3_bids"
DISTINCTS = " ".join(
    f"{rank}_{what}" for what in ("bidders", "auctions") for rank in ("total", "rank1", "rank2", "rank3")
)
PRICES = "min_price max_price avg_price sum_price"


def day_of(line: Line) -> str:
    return format_time(line["start"])[:10]


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
    "q3": pick("name city state id"),
    "q4": pick("category average"),
    "q5": pick("auction num start end"),
    "q6": pick("seller average"),
    "q7": pick("auction bidder price dateTime extra"),
    "q8": pick("id name start"),
    "q9": lambda line: join(
        pick(f"id {AUCTION}")(line["auction"]), pick("auction bidder price dateTime extra")(line["bid"])
    ),
    "q11": pick("bidder bid_count start end"),
    "q12": pick("bidder bid_count start end"),
    "q15": lambda line: [(day_of(line), *pick(f"{RANKS} {DISTINCTS}")(line)[0])],
    "q16": lambda line: [
        (line["channel"], day_of(line), format_time(line["latest"])[11:16], *pick(f"{RANKS} {DISTINCTS}")(line)[0])
    ],
    "q17": lambda line: [(line["auction"], day_of(line), *pick(f"{RANKS} {PRICES}")(line)[0])],
    "q18": pick(BID),
    "q19": lambda line: [(*pick(BID)(bid)[0], rank) for rank, bid in enumerate(line["bids"], 1)],
    "q20": lambda line: join(pick(BID)(line["bid"]), pick(AUCTION)(line["auction"])),
    "fall-and-rise": pick("auction bidder start_time bottom_time end_time"),
    "price-drop": pick("auction bidder drop_time drop_diff"),
}
"""The rows that a line stands for."""

KEYS: dict[str, str] = {
    "q4": "category",
    "q6": "seller",
    "q15": "start",
    "q16": "channel start",
    "q17": "auction start",
    "q18": "auction bidder",
    "q19": "auction",
}
"""Of queries that emit changes, the fields for each of whose values the last line holds."""


def table(query: str, lines: Sequence[Line]) -> list[Row]:
    """The rows of a query's final table, sorted."""
    if query in KEYS:
        key = pick(KEYS[query])
        lines = list({key(line)[0]: line for line in lines}.values())
    return sorted(row for line in lines for row in ROWS[query](line))
