"""Operators of the Nexmark queries that are not a step of their own: small classes over state and timers."""

from bisect import insort
from operator import attrgetter
from typing import Optional

import headway as hw
from headway.flows.nexmark_events import Auction, Bid, Person

__all__ = [
    "CategoryAverage",
    "CategoryPrice",
    "HighestBids",
    "HotItem",
    "HotItems",
    "LatestBid",
    "NewSeller",
    "NewSellers",
    "TopBids",
    "TopOfAuction",
    "WinningBid",
    "WinningBids",
]


class WinningBid(hw.Event):
    """An auction and the bid that has won it."""

    auction: Auction
    bid: Bid


class OpenAuction(hw.State):
    """An auction under way and its best bid so far."""

    auction: Optional[Auction] = None
    best: Optional[Bid] = None


class WinningBids(hw.Operator[Bid, OpenAuction, WinningBid]):
    """The highest bid of each auction, of equal ones the first, when the auction expires; keyed by auction.

    Bids before the auction opens or after it has expired do not count. Keeps one row for each open auction.
    """

    inputs = {"auctions": Auction}

    def on_auctions(self, state: OpenAuction, event: Auction, ctx: hw.Context[WinningBid]) -> None:
        """The auction opens: at equal times before its bids."""
        state.auction = event
        ctx.timer("expired", event.expires)

    def on_event(self, state: OpenAuction, event: Bid, ctx: hw.Context[WinningBid]) -> None:
        """A bid."""
        if state.auction is not None and (state.best is None or event.price > state.best.price):
            state.best = event

    def on_timer(self, state: OpenAuction, timer: hw.Timer, ctx: hw.Context[WinningBid]) -> None:
        """The auction expires, after all bids of that very time."""
        if state.auction is not None and state.best is not None:
            ctx.emit(WinningBid(state.auction, state.best))
        ctx.forget()


class CategoryPrice(hw.Event):
    """The average closing price of a category so far, rounded down to whole cents."""

    category: int
    average: int
    auctions: int


class Prices(hw.State):
    """What the closed auctions of a category brought in, in cents."""

    total: int = 0
    auctions: int = 0


class CategoryAverage(hw.Operator[WinningBid, Prices, CategoryPrice]):
    """The running average of closing prices, told once for each time at which auctions close; keyed by category.

    Keeps one row for each category, for good.
    """

    def on_event(self, state: Prices, event: WinningBid, ctx: hw.Context[CategoryPrice]) -> None:
        """An auction has closed."""
        state.total += event.bid.price
        state.auctions += 1
        ctx.timer("changed", ctx.time)

    def on_timer(self, state: Prices, timer: hw.Timer, ctx: hw.Context[CategoryPrice]) -> None:
        """All auctions that close at this time are counted."""
        ctx.emit(CategoryPrice(int(ctx.key), state.total // state.auctions, state.auctions))


class HotItem(hw.Event):
    """An auction with more bids in a window than any other, or as many."""

    auction: int
    num: int
    start: hw.Time
    end: hw.Time


class Hottest(hw.State):
    """The auctions with the most bids so far."""

    items: list[HotItem] = []


class HotItems(hw.Operator[HotItem, Hottest, HotItem]):
    """The auctions with the most bids of a window, all of them when there is a tie; keyed by window.

    All counts of a window come at one time, that of its end. Keeps nothing beyond it.
    """

    def on_event(self, state: Hottest, event: HotItem, ctx: hw.Context[HotItem]) -> None:
        """The count of one auction."""
        if not state.items:
            ctx.timer("complete", ctx.time)
        if not state.items or event.num > state.items[0].num:
            state.items = [event]
        elif event.num == state.items[0].num:
            state.items.append(event)

    def on_timer(self, state: Hottest, timer: hw.Timer, ctx: hw.Context[HotItem]) -> None:
        """All counts are there."""
        for item in sorted(state.items, key=attrgetter("auction")):
            ctx.emit(item)
        ctx.forget()


class Highest(hw.State):
    """The highest bids of the current window: more than one where prices are equal."""

    bids: list[Bid] = []


class HighestBids(hw.Operator[Bid, Highest, Bid]):
    """The highest bids of each tumbling window, at its end. Keeps them for the current window only.

    It takes its own results too, which carry the time of the window's end: a first round on many keys
    leaves little to do for a second one on a single key.
    """

    def __init__(self, size_ms: int) -> None:
        self.size_ms = size_ms

    def on_event(self, state: Highest, event: Bid, ctx: hw.Context[Bid]) -> None:
        """A bid, or the highest of a part of the window."""
        if not state.bids:
            ctx.timer("end", ctx.time - ctx.time % self.size_ms + self.size_ms - 1)
        if not state.bids or event.price > state.bids[0].price:
            state.bids = [event]
        elif event.price == state.bids[0].price:
            state.bids.append(event)

    def on_timer(self, state: Highest, timer: hw.Timer, ctx: hw.Context[Bid]) -> None:
        """The window is over."""
        for bid in state.bids:
            ctx.emit(bid)
        ctx.forget()


class NewSeller(hw.Event):
    """Somebody who entered and opened an auction in the same window."""

    id: int
    name: str
    start: hw.Time
    """When the window began."""


class Entry(hw.State):
    """What a person has done in the current window."""

    name: Optional[str] = None
    has_opened: bool = False


class NewSellers(hw.Operator[Person, Entry, NewSeller]):
    """Persons who entered and opened an auction in the same tumbling window, at its end; keyed by person.

    Keeps one row for each person who did either in the current window.
    """

    inputs = {"auctions": Auction}

    def __init__(self, size_ms: int) -> None:
        self.size_ms = size_ms

    def on_event(self, state: Entry, event: Person, ctx: hw.Context[NewSeller]) -> None:
        """The person enters."""
        state.name = event.name
        self._await_end(ctx)

    def on_auctions(self, state: Entry, event: Auction, ctx: hw.Context[NewSeller]) -> None:
        """The person opens an auction."""
        if not state.has_opened:
            state.has_opened = True
            self._await_end(ctx)

    def on_timer(self, state: Entry, timer: hw.Timer, ctx: hw.Context[NewSeller]) -> None:
        """The window is over."""
        if state.name is not None and state.has_opened:
            ctx.emit(NewSeller(int(ctx.key), state.name, timer.at + 1 - self.size_ms))
        ctx.forget()

    def _await_end(self, ctx: hw.Context[NewSeller]) -> None:
        ctx.timer("end", ctx.time - ctx.time % self.size_ms + self.size_ms - 1)


class Latest(hw.State):
    """The latest bid of this very time."""

    bid: Optional[Bid] = None


class LatestBid(hw.Operator[Bid, Latest, Bid]):
    """The latest bid of a key, once for each time at which there are any. Keeps nothing from one time to the next."""

    def on_event(self, state: Latest, event: Bid, ctx: hw.Context[Bid]) -> None:
        """A later one of the same time may follow."""
        if state.bid is None:
            ctx.timer("settled", ctx.time)
        state.bid = event

    def on_timer(self, state: Latest, timer: hw.Timer, ctx: hw.Context[Bid]) -> None:
        """No later bid of this time can come."""
        if state.bid is not None:
            ctx.emit(state.bid)
        ctx.forget()


class TopOfAuction(hw.Event):
    """The highest bids of an auction so far, the highest first."""

    auction: int
    bids: list[Bid]


class Ranking(hw.State):
    """The highest bids, the highest first; of equal ones the earlier."""

    bids: list[Bid] = []


class TopBids(hw.Operator[Bid, Ranking, TopOfAuction]):
    """The `size` highest bids of an auction, told again when they have changed; keyed by auction.

    An auction without a bid for `keep_ms` is forgotten: keeps one row for each of the others.
    """

    def __init__(self, size: int, keep_ms: int) -> None:
        self.size = size
        self.keep_ms = keep_ms

    def on_event(self, state: Ranking, event: Bid, ctx: hw.Context[TopOfAuction]) -> None:
        """A bid, which may be among the highest."""
        ctx.timer("over", ctx.time + self.keep_ms)
        bids = state.bids
        if len(bids) == self.size:
            if event.price <= bids[-1].price:
                return
            bids.pop()
        insort(bids, event, key=_descending)
        ctx.timer("changed", ctx.time)

    def on_timer(self, state: Ranking, timer: hw.Timer, ctx: hw.Context[TopOfAuction]) -> None:
        """All bids of this time are ranked; or there were none for long."""
        if timer.name == "over":
            ctx.forget()
        else:
            ctx.emit(TopOfAuction(int(ctx.key), list(state.bids)))


def _descending(bid: Bid) -> int:
    return -bid.price
