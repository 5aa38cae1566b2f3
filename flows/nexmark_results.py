"""What the Nexmark queries emit, where it is neither an event of the auction house nor a step's own result."""

import headway as hw
from headway.flows.nexmark_events import Auction, Bid

__all__ = [
    "BidOnAuction",
    "CategoryPrice",
    "EuroBid",
    "HotItem",
    "ItemNearby",
    "NewSeller",
    "PriceOfAuction",
    "SellerPrice",
    "TopOfAuction",
    "WinningBid",
]


class EuroBid(hw.Event, rename="camel"):
    """A bid in euros."""

    auction: int
    bidder: int
    price: float
    date_time: hw.Time
    extra: str


class PriceOfAuction(hw.Event):
    """What was bid for an auction."""

    auction: int
    price: int


class ItemNearby(hw.Event):
    """An auction and who sells it."""

    name: str
    city: str
    state: str
    id: int
    """The auction."""


class CategoryPrice(hw.Event):
    """The average closing price of a category so far, rounded down to whole cents."""

    category: int
    average: int
    auctions: int


class SellerPrice(hw.Event):
    """The average price of a seller's last auctions, rounded down to whole cents."""

    seller: int
    average: int
    auctions: int
    """How many auctions it is the average of."""


class HotItem(hw.Event):
    """An auction with more bids in a window than any other, or as many."""

    auction: int
    num: int
    start: hw.Time
    end: hw.Time


class NewSeller(hw.Event):
    """Somebody who entered and opened an auction in the same window."""

    id: int
    name: str
    start: hw.Time
    """When the window began."""


class WinningBid(hw.Event):
    """An auction and the bid that has won it."""

    auction: Auction
    bid: Bid


class TopOfAuction(hw.Event):
    """The highest bids of an auction so far, the highest first."""

    auction: int
    bids: list[Bid]


class BidOnAuction(hw.Event):
    """A bid and the auction that it is for."""

    bid: Bid
    auction: Auction
