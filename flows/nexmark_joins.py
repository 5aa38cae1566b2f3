"""The joins of Nexmark: events of which there may be many, with the one event that they refer to."""

from typing import Any, Optional, TypeVar

import headway as hw
from headway.flows.nexmark_events import Auction, Bid, Person

__all__ = ["BidOnAuction", "BidsOnAuctions", "ItemNearby", "ItemsNearby", "OneToMany"]

E = TypeVar("E")
S = TypeVar("S")
Out = TypeVar("Out")


class OneToMany(hw.Operator[E, S, Out]):
    """Joins each event with the one of its key that may come up to `before_ms` after it or `after_ms` before it.

    Emits a pair when both are there. Keeps the one for `after_ms`, and what waits for it until none has come for
    `before_ms`.
    """

    def __init__(self, before_ms: int, after_ms: int) -> None:
        self.before_ms = before_ms
        self.after_ms = after_ms

    def pair(self, one: Any, event: Any) -> Any:
        """What is emitted for a pair."""
        raise NotImplementedError

    def on_one(self, state: Any, event: Any, ctx: hw.Context[Any]) -> None:
        """The one: pairs with all that waited for it, and those to come. At equal times it comes first."""
        for waiting in state.waiting:
            if ctx.time - waiting.date_time <= self.before_ms:
                ctx.emit(self.pair(event, waiting))
        state.one = event
        state.waiting = []
        ctx.cancel("waited")
        ctx.timer("over", ctx.time + self.after_ms)

    def on_event(self, state: Any, event: Any, ctx: hw.Context[Any]) -> None:
        """One of the many."""
        if state.one is not None:
            ctx.emit(self.pair(state.one, event))
        else:
            state.waiting.append(event)
            ctx.timer("waited", ctx.time + self.before_ms)

    def on_timer(self, state: Any, timer: hw.Timer, ctx: hw.Context[Any]) -> None:
        """Nothing more can be joined."""
        ctx.forget()


class ItemNearby(hw.Event):
    """An auction and who sells it."""

    name: str
    city: str
    state: str
    id: int
    """The auction."""


class Seller(hw.State):
    """A person, or the auctions that came before."""

    one: Optional[Person] = None
    waiting: list[Auction] = []


class ItemsNearby(OneToMany[Auction, Seller, ItemNearby]):
    """Auctions with their sellers; keyed by seller."""

    inputs = {"one": Person}

    def pair(self, one: Person, event: Auction) -> ItemNearby:
        """The seller, and which auction it is."""
        return ItemNearby(one.name, one.city, one.state, event.id)


class BidOnAuction(hw.Event):
    """A bid and the auction that it is for."""

    bid: Bid
    auction: Auction


class AuctionWithBids(hw.State):
    """An auction, or the bids that came before."""

    one: Optional[Auction] = None
    waiting: list[Bid] = []


class BidsOnAuctions(OneToMany[Bid, AuctionWithBids, BidOnAuction]):
    """Bids with their auctions; keyed by auction."""

    inputs = {"one": Auction}

    def pair(self, one: Auction, event: Bid) -> BidOnAuction:
        """Both."""
        return BidOnAuction(event, one)
