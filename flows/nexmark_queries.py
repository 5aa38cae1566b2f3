"""The queries of Nexmark as streams. Each says what it emits, and how its final table comes from that.

Prices are cents, times epoch milliseconds; windows are `[start, end)`.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Optional

import headway as hw
from headway.basics.times import Duration
from headway.connectors.base import Input, Output
from headway.errors import UsageError
from headway.flows.nexmark_events import Auction, AuctionHouse, Bid, Person, auction_house
from headway.flows.nexmark_patterns import fall_and_rise, price_drop
from headway.flows.nexmark_results import (
    BidOnAuction,
    CategoryPrice,
    EuroBid,
    HotItem,
    ItemNearby,
    NewSeller,
    PriceOfAuction,
    SellerPrice,
    TopOfAuction,
    WinningBid,
)
from headway.flows.nexmark_winning import WinningBids
from headway.results import Cogrouped, Ranking

__all__ = ["QUERIES", "Query", "declare"]

Query = Callable[[AuctionHouse], Any]
"""Makes the stream of a query's results from the streams of the auction house."""

WINDOW = "10s"
KEEP = "1h"
"""How long what may still be joined or ranked is kept, where the published query keeps it for good."""
PARTS = 64
"""Keys of the first of two rounds, where the second has a single key: so that workers can share the work."""

UPDATES = "10s"
"""How often statistics of a day are told while it lasts."""
RANKS: tuple[Optional[Callable[[Bid], bool]], ...] = (
    None,
    lambda bid: bid.price < 10_000,
    lambda bid: 10_000 <= bid.price < 1_000_000,
    lambda bid: bid.price >= 1_000_000,
)
"""All bids, and the ranks of prices."""


def by_auction(bid: Bid) -> str:
    """The auction that a bid is for, as a key."""
    return str(bid.auction)


def by_bidder(bid: Bid) -> str:
    """Who bids, as a key."""
    return str(bid.bidder)


def ranks() -> dict[str, Any]:
    """Numbers of bids: all, below 100, below 10,000, and above."""
    names = ("total_bids", "rank1_bids", "rank2_bids", "rank3_bids")
    return {name: hw.count(where) for name, where in zip(names, RANKS)}


def distincts() -> dict[str, Any]:
    """Numbers of bidders and of auctions: all, and those with bids of each rank."""
    return {
        f"{rank}_{field}s": hw.distinct(field, where=where)
        for field in ("bidder", "auction")
        for rank, where in zip(("total", "rank1", "rank2", "rank3"), RANKS)
    }


def highest(event_type: Any, by: str) -> Any:
    """An aggregate: the events with the highest value of a field, all of them when there is a tie."""
    value = attrgetter(by)

    def add(best: list[Any], event: Any) -> list[Any]:
        if not best or value(event) > value(best[0]):
            return [event]
        if value(event) == value(best[0]):
            best.append(event)
        return best

    def merge(earlier: list[Any], later: list[Any]) -> list[Any]:
        if not earlier or not later or value(earlier[0]) != value(later[0]):
            return max(earlier, later, key=lambda best: value(best[0]) if best else -1)
        return [*earlier, *later]

    return hw.aggregate(list, add, merge, state=list[event_type], into=list[event_type])


def latest(count: int, value: Callable[[Any], int]) -> Any:
    """An aggregate: the values of the last `count` events, the latest at the end."""

    def add(values: list[int], event: Any) -> list[int]:
        return [*values[1 - count :], value(event)]

    def merge(earlier: list[int], later: list[int]) -> list[int]:
        return [*earlier, *later][-count:]

    return hw.aggregate(list, add, merge, state=list[int], into=list[int])


def q0(house: AuctionHouse) -> hw.Stream[Bid]:
    """Pass through: all bids as they are. Emits each bid once; the table is all of them."""
    return house.bids


def q1(house: AuctionHouse) -> hw.Stream[EuroBid]:
    """Currency conversion: prices in euros, at 0.908. Emits each bid once; the table is all of them."""

    def convert(bid: Bid) -> EuroBid:
        # A single division is rounded once, as the decimal number would be.
        return EuroBid(bid.auction, bid.bidder, bid.price * 908 / 1000, bid.date_time, bid.extra)

    return house.bids.map(convert)


def q2(house: AuctionHouse) -> hw.Stream[PriceOfAuction]:
    """Selection: the bids on every 123rd auction. Emits each of them once; the table is all of them."""
    selected = house.bids.filter(lambda bid: bid.auction % 123 == 0)
    return selected.map(lambda bid: PriceOfAuction(bid.auction, bid.price), into=PriceOfAuction)


def q3(house: AuctionHouse) -> hw.Processed[ItemNearby]:
    """Local items: who sells in OR, ID or CA in category 10, and in which auctions.

    Emits seller and auction once, when both are there; the table is all of them. They are joined when they come
    within an hour of each other.
    """

    def item(auction: Auction, person: Person) -> ItemNearby:
        return ItemNearby(person.name, person.city, person.state, auction.id)

    persons = house.persons.filter(hw.where(state=("OR", "ID", "CA"))).key_by(lambda person: str(person.id))
    auctions = house.auctions.filter(hw.where(category=10)).key_by(lambda auction: str(auction.seller))
    return auctions.interval_join("nearby", persons, lower=f"-{KEEP}", upper=KEEP, select=item)


def q4(house: AuctionHouse) -> hw.KeyedStream[CategoryPrice]:
    """Average closing price of each category, over the auctions closed so far.

    Emits a category's new average when auctions of it close, once for each time at which some do. The table is
    the last average of each category. The published query revises it with every bid.
    """

    def category(won: WinningBid) -> int:
        return won.auction.category

    def price(sums: Any) -> CategoryPrice:
        return CategoryPrice(sums.category, sums.total // sums.auctions, sums.auctions)

    sums = (
        q9(house)
        .key_by(lambda won: str(category(won)))
        .aggregate(
            "average",
            emit_every="1ms",
            category=hw.first(category),
            total=hw.sum(lambda won: won.bid.price),
            auctions=hw.count(),
        )
    )
    return sums.map(price)


def q5(house: AuctionHouse) -> hw.KeyedStream[HotItem]:
    """Hot items: the auctions with the most bids of the last 10 s, every 2 s; several when there is a tie.

    Emits them once, at the end of each window; the table is all of them. All counts of a window are told at one time,
    so that the second window is one of a millisecond.
    """
    sliding = hw.sliding(WINDOW, every="2s")
    counts = house.bids.key_by(by_auction).window("counts", sliding, auction=hw.first("auction"), num=hw.count())
    items = counts.map(lambda count: HotItem(count.auction, count.num, count.start, count.end), into=HotItem)
    hottest = items.key_by(lambda item: str(item.end)).window("hottest", hw.tumbling(1), items=highest(HotItem, "num"))
    return hottest.flat_map(lambda window: window.items, into=HotItem)


def q6(house: AuctionHouse) -> hw.KeyedStream[SellerPrice]:
    """Average selling price of each seller, over the last ten auctions of theirs that closed with a bid.

    Emits a seller's new average when auctions of theirs close, once for each time at which some do. The table is the
    last average of each seller. A seller none of whose auctions has closed for an hour begins anew. Of auctions that
    close at the same time, those whose number comes later as text count as later.
    """

    def seller(won: WinningBid) -> int:
        return won.auction.seller

    def price(last: Any) -> SellerPrice:
        return SellerPrice(last.seller, sum(last.prices) // len(last.prices), len(last.prices))

    prices = (
        q9(house)
        .key_by(lambda won: str(seller(won)))
        .aggregate(
            "prices",
            emit_every="1ms",
            expire_after=KEEP,
            seller=hw.first(seller),
            prices=latest(10, lambda won: won.bid.price),
        )
    )
    return prices.map(price)


def q7(house: AuctionHouse) -> hw.KeyedStream[Bid]:
    """Highest bid: the highest bids of each tumbling window of 10 s, several when prices are equal.

    Emits them once, at the end of the window; the table is all of them. First the highest of each part of the
    auctions is found, then the highest of those.
    """

    def of_window(name: str, bids: hw.KeyedStream[Bid]) -> hw.KeyedStream[Bid]:
        found = bids.window(name, hw.tumbling(WINDOW), bids=highest(Bid, "price"))
        return found.flat_map(lambda window: window.bids, into=Bid)

    parts = of_window("part", house.bids.key_by(lambda bid: str(bid.auction % PARTS)))
    return of_window("highest", parts.key_by(lambda bid: "all"))


def q8(house: AuctionHouse) -> hw.KeyedStream[NewSeller]:
    """New users: persons who entered and opened an auction within the same tumbling window of 10 s.

    Emits each of them once, at the end of the window; the table is all of them.
    """

    def new_seller(window: Cogrouped[Person, int]) -> Iterator[NewSeller]:
        if window.lefts and window.rights:
            yield NewSeller(window.lefts[0].id, window.lefts[0].name, window.start)

    sellers = house.auctions.map(lambda auction: auction.seller, into=int).key_by(str)
    persons = house.persons.key_by(lambda person: str(person.id))
    return persons.cogroup("windows", sellers, hw.tumbling(WINDOW)).flat_map(new_seller)


def q9(house: AuctionHouse) -> hw.Processed[WinningBid]:
    """Winning bids: the highest bid of each auction from its opening to its end, of equal ones the first.

    Emits auction and bid once, when the auction expires; the table is all of them. Auctions without bids are not
    in it.
    """
    auctions = house.auctions.key_by(lambda auction: str(auction.id))
    return house.bids.key_by(by_auction).process("winning", WinningBids(), auctions=auctions)


def q11(house: AuctionHouse) -> hw.Processed[Any]:
    """User sessions: how many bids each bidder made until 10 s passed without one.

    Emits a session once, when it is over; the table is all of them.
    """
    bidders = house.bids.key_by(by_bidder)
    return bidders.window("sessions", hw.session(WINDOW), bidder=hw.first("bidder"), bid_count=hw.count())


def q12(house: AuctionHouse) -> hw.Processed[Any]:
    """Processing-time windows: how many bids each bidder made in each 10 s of the clock, as bids are read.

    Emits a window once, at its end; the table is all of them. An event's time is that at which it is read, so two
    runs over one log differ.
    """
    bidders = house.bids.key_by(by_bidder)
    return bidders.window("windows", hw.tumbling(WINDOW), bidder=hw.first("bidder"), bid_count=hw.count())


def q15(house: AuctionHouse) -> hw.Processed[Any]:
    """Bidding statistics: bids, bidders and auctions of each day, in all and by price.

    Emits the day so far every 10 s in which there are bids, and at its end. The table is the last of each day
    (`start`). One row holds the ids of all bidders and auctions of the day.
    """
    return house.bids.key_by(lambda bid: "all").window(
        "day", hw.tumbling("1d"), early=UPDATES, **ranks(), **distincts()
    )


def q16(house: AuctionHouse) -> hw.Processed[Any]:
    """Channel statistics: bids, bidders and auctions of each channel and day, in all and by price.

    Emits the day of a channel so far every 10 s in which it has bids, and at its end; `latest` is the time of the
    last bid. The table is the last of each channel and day (`start`).
    """
    channels = house.bids.key_by("channel")
    names: dict[str, Any] = {"channel": hw.first("channel"), "latest": hw.max("date_time")}
    return channels.window("day", hw.tumbling("1d"), early=UPDATES, **names, **ranks(), **distincts())


def q17(house: AuctionHouse) -> hw.Processed[Any]:
    """Auction statistics: number and prices of the bids on each auction and day.

    Emits the day of an auction so far every 10 s in which it has bids, and at its end. The table is the last of
    each auction and day (`start`).
    """
    prices: dict[str, Any] = {
        "min_price": hw.min("price"),
        "max_price": hw.max("price"),
        "avg_price": hw.mean("price"),
        "sum_price": hw.sum("price"),
    }
    auctions = house.bids.key_by(by_auction)
    return auctions.window("day", hw.tumbling("1d"), early=UPDATES, auction=hw.first("auction"), **ranks(), **prices)


def q18(house: AuctionHouse) -> hw.Processed[Bid]:
    """Last bid: the last bid of each bidder for each auction.

    Emits the last bid of each time at which a bidder bids for an auction. The table is the last of each bidder
    and auction.
    """
    return house.bids.key_by(lambda bid: f"{bid.auction}/{bid.bidder}").throttle("latest", "1ms", emit="last")


def q19(house: AuctionHouse) -> hw.KeyedStream[TopOfAuction]:
    """Top ten: the ten highest bids of each auction, of equal ones the first.

    Emits the ranking of an auction when it has changed, once for each time. The table is the last ranking of each
    auction. An auction whose ranking no bid has come into for an hour is forgotten.
    """

    def told(ranking: Ranking[Bid]) -> TopOfAuction:
        return TopOfAuction(ranking.top[0].auction, ranking.top)

    ranked = house.bids.key_by(by_auction).rank("top", by="price", k=10, expire_after=KEEP)
    return ranked.throttle("settled", "1ms", emit="last").map(told)


def q20(house: AuctionHouse) -> hw.Processed[BidOnAuction]:
    """Expanded bids: the bids on auctions of category 10, with the auction.

    Emits bid and auction once, when both are there; the table is all of them. They are joined when the bid comes at
    most a minute before the auction, as bids on auctions that are about to be opened do, and an hour after it.
    """

    def expanded(auction: Auction, bid: Bid) -> BidOnAuction:
        return BidOnAuction(bid, auction)

    auctions = house.auctions.filter(hw.where(category=10)).key_by(lambda auction: str(auction.id))
    bids = house.bids.key_by(by_auction)
    return auctions.interval_join("expanded", bids, lower="-1m", upper=KEEP, select=expanded)


QUERIES: dict[str, Query] = {
    "q0": q0,
    "q1": q1,
    "q2": q2,
    "q3": q3,
    "q4": q4,
    "q5": q5,
    "q6": q6,
    "q7": q7,
    "q8": q8,
    "q9": q9,
    "q11": q11,
    "q12": q12,
    "q15": q15,
    "q16": q16,
    "q17": q17,
    "q18": q18,
    "q19": q19,
    "q20": q20,
    "fall-and-rise": fall_and_rise,
    "price-drop": price_drop,
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
    time = attrgetter("date_time") if query != "q12" else hw.INGESTION_TIME
    # The clock does not go back: waiting for events that come behind it would only keep them in memory.
    house = auction_house(flow, events, time=time, out_of_order=out_of_order if query != "q12" else 0)
    QUERIES[query](house).to("result", output)
