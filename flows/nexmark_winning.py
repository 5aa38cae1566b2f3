"""The one Nexmark operator that is no step of Headway's: auctions, whose ends are told by themselves."""

from typing import Optional

import headway as hw
from headway.flows.nexmark_events import Auction, Bid
from headway.flows.nexmark_results import WinningBid

__all__ = ["OpenAuction", "WinningBids"]


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
