"""The queries of Nexmark as streams. Each says what it emits, and how its final table comes from that.

Prices are cents, times epoch milliseconds; windows are `[start, end)`.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import headway as hw
from headway.connectors.base import Input, Output
from headway.errors import UsageError
from headway.flows.nexmark_events import AuctionHouse, Bid, auction_house
from headway.flows.nexmark_operators import (
    CategoryAverage,
    CategoryPrice,
    HighestBids,
    LatestBid,
    NewSeller,
    NewSellers,
    TopBids,
    TopOfAuction,
    WinningBid,
    WinningBids,
)
from headway.times import Duration

__all__ = ["QUERIES", "Query", "declare"]

Query = Callable[[AuctionHouse], Any]
"""Makes the stream of a query's results from the streams of the auction house."""

WINDOW = "10s"
KEEP = "1h"
"""How long what may still be joined or ranked is kept, where the published query keeps it for good."""
PARTS = 64
"""Keys of the first of two rounds, where the second has a single key: so that workers can share the work."""


def by_auction(bid: Bid) -> str:
    """The auction that a bid is for, as a key."""
    return str(bid.auction)


def by_bidder(bid: Bid) -> str:
    """Who bids, as a key."""
    return str(bid.bidder)


def q0(house: AuctionHouse) -> hw.Stream[Bid]:
    """Pass through: all bids as they are. Emits each bid once; the table is all of them."""
    return house.bids


class EuroBid(hw.Event, rename="camel"):
    """A bid in euros."""

    auction: int
    bidder: int
    price: float
    date_time: hw.Time
    extra: str


def q1(house: AuctionHouse) -> hw.Stream[EuroBid]:
    """Currency conversion: prices in euros, at 0.908. Emits each bid once; the table is all of them."""

    def convert(bid: Bid) -> EuroBid:
        # A single division is rounded once, as the decimal number would be.
        return EuroBid(bid.auction, bid.bidder, bid.price * 908 / 1000, bid.date_time, bid.extra)

    return house.bids.map(convert)


class PriceOfAuction(hw.Event):
    """What was bid for an auction."""

    auction: int
    price: int


def q2(house: AuctionHouse) -> hw.Stream[PriceOfAuction]:
    """Selection: the bids on every 123rd auction. Emits each of them once; the table is all of them."""
    selected = house.bids.filter(lambda bid: bid.auction % 123 == 0)
    return selected.map(lambda bid: PriceOfAuction(bid.auction, bid.price), into=PriceOfAuction)


def q4(house: AuctionHouse) -> hw.Processed[CategoryPrice]:
    """Average closing price of each category, over the auctions closed so far.

    Emits a category's new average when auctions of it close, once for each time at which some do. The table is
    the last average of each category. The published query revises it with every bid.
    """
    return q9(house).key_by(lambda won: str(won.auction.category)).process("average", CategoryAverage())


def q7(house: AuctionHouse) -> hw.Processed[Bid]:
    """Highest bid: the highest bids of each tumbling window of 10 s, several when prices are equal.

    Emits them once, at the end of the window; the table is all of them. First the highest of each part of the
    auctions is found, then the highest of those.
    """
    size_ms = hw.duration_ms(WINDOW)
    parts = house.bids.key_by(lambda bid: str(bid.auction % PARTS)).process("part", HighestBids(size_ms))
    return parts.key_by(lambda bid: "all").process("highest", HighestBids(size_ms))


def q8(house: AuctionHouse) -> hw.Processed[NewSeller]:
    """New users: persons who entered and opened an auction within the same tumbling window of 10 s.

    Emits each of them once, at the end of the window; the table is all of them.
    """
    sellers = house.auctions.key_by(lambda auction: str(auction.seller))
    persons = house.persons.key_by(lambda person: str(person.id))
    return persons.process("new-sellers", NewSellers(hw.duration_ms(WINDOW)), auctions=sellers)


def q9(house: AuctionHouse) -> hw.Processed[WinningBid]:
    """Winning bids: the highest bid of each auction from its opening to its end, of equal ones the first.

    Emits auction and bid once, when the auction expires; the table is all of them. Auctions without bids are not
    in it.
    """
    auctions = house.auctions.key_by(lambda auction: str(auction.id))
    return house.bids.key_by(by_auction).process("winning", WinningBids(), auctions=auctions)


def q18(house: AuctionHouse) -> hw.Processed[Bid]:
    """Last bid: the last bid of each bidder for each auction.

    Emits the last bid of each time at which a bidder bids for an auction. The table is the last of each bidder
    and auction.
    """
    return house.bids.key_by(lambda bid: f"{bid.auction}/{bid.bidder}").process("latest", LatestBid())


def q19(house: AuctionHouse) -> hw.Processed[TopOfAuction]:
    """Top ten: the ten highest bids of each auction, of equal ones the first.

    Emits the ranking of an auction when it has changed. The table is the last ranking of each auction. An auction
    that has no bid for an hour is forgotten.
    """
    return house.bids.key_by(by_auction).process("top", TopBids(10, hw.duration_ms(KEEP)))


QUERIES: dict[str, Query] = {
    "q0": q0,
    "q1": q1,
    "q2": q2,
    "q4": q4,
    "q7": q7,
    "q8": q8,
    "q9": q9,
    "q18": q18,
    "q19": q19,
}
"""The queries by their names."""


def declare(flow: hw.Flow, query: str, events: Input, output: Output, *, out_of_order: Duration) -> None:
    """Declare one of the queries: its source `events` and its output `result`.

    q12 takes events at the time at which they are read, all others at their own. Raises `UsageError` for a query
    that there is not.
    """
    if query not in QUERIES:
        msg = f"query = {query!r}: there is no such query; choose one of {', '.join(QUERIES)}"
        raise UsageError(msg)
    time = hw.INGESTION_TIME if query == "q12" else attrgetter("date_time")
    QUERIES[query](auction_house(flow, events, time=time, out_of_order=out_of_order)).to("result", output)
