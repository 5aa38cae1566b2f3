"""The pattern queries of Nexmark: prices of one bidder on one auction that fall and rise, and that drop."""

from typing import Any

import headway as hw
from headway.flows.nexmark_events import AuctionHouse, Bid

__all__ = ["DROP", "FallAndRise", "PriceDrop", "by_auction_and_bidder", "fall_and_rise", "match_drops", "price_drop"]

DROP = 50
"""A lower price than this below the first one is a drop."""
Matched = dict[str, list[Bid]]
"""What has matched so far, by the names of the steps."""


class FallAndRise(hw.Event):
    """A time in which prices fell, and that ended with a higher one."""

    auction: int
    bidder: int
    start_time: hw.Time
    """When the first price was bid."""
    bottom_time: hw.Time
    """When the lowest one was."""
    end_time: hw.Time
    """When the first higher one was."""


class PriceDrop(hw.Event):
    """A price well below one that was bid shortly before."""

    auction: int
    bidder: int
    drop_time: hw.Time
    """When the lower price was bid."""
    drop_diff: int
    """How much lower it is."""


def fall_and_rise(house: AuctionHouse) -> hw.Processed[FallAndRise]:
    """Prices that one bidder bids on an auction fall, each below the one before, and then rise.

    Emits each such time once, when the price rises; the table is all of them. The price that rose may begin the
    next one. It takes less than an hour.
    """

    def falls(bid: Bid, matched: Matched) -> bool:
        return bid.price < (matched["down"] or matched["start"])[-1].price

    def rises(bid: Bid, matched: Matched) -> bool:
        return bid.price > matched["down"][-1].price

    falling = hw.pattern("start").next("down", falls).one_or_more().consecutive().greedy()
    return by_auction_and_bidder(house).match(
        "falls", falling.next("up", rises).within("1h"), after=hw.skip_to_last("up"), select=_fall, into=FallAndRise
    )


def price_drop(house: AuctionHouse) -> hw.Processed[PriceDrop]:
    """The price that one bidder bids on an auction drops by more than 50 within 5 s: A B* C, where B is no drop.

    Emits each drop once; the table is all of them. Drops do not overlap: one that began earlier is told first, and
    ends those that began before its end. A price of exactly 50 less ends the wait without a drop. The prices in
    between are not collected, which makes it several times faster than a loop over B would be.
    """

    def is_even(bid: Bid, matched: Matched) -> bool:
        return bid.price == matched["a"][0].price - DROP

    def is_drop(bid: Bid, matched: Matched) -> bool:
        return bid.price < matched["a"][0].price - DROP

    drop = hw.pattern("a").not_followed_by("even", is_even).followed_by("c", is_drop).within("5s")
    return match_drops(by_auction_and_bidder(house), drop)


def match_drops(bids: hw.KeyedStream[Bid], drop: hw.Pattern) -> hw.Processed[PriceDrop]:
    """The drops that a pattern finds, which begin with `a` and end with `c`."""
    after = hw.skip_past_last()
    return bids.match("drops", drop, after=after, max_partial_matches=10_000, select=_drop, into=PriceDrop)


def by_auction_and_bidder(house: AuctionHouse) -> hw.KeyedStream[Bid]:
    """The bids of each bidder on each auction."""
    return house.bids.key_by(lambda bid: f"{bid.auction}/{bid.bidder}")


def _fall(match: Any) -> FallAndRise:
    [start], down, [up] = match.matched["start"], match.matched["down"], match.matched["up"]
    return FallAndRise(start.auction, start.bidder, start.date_time, down[-1].date_time, up.date_time)


def _drop(match: Any) -> PriceDrop:
    [a], [c] = match.matched["a"], match.matched["c"]
    return PriceDrop(a.auction, a.bidder, c.date_time, a.price - c.price)
