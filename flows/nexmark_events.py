"""The events of Nexmark: persons who enter, auctions that they open, and bids on those."""

from typing import Any, NamedTuple, Union

import headway as hw
from headway.basics.times import Duration
from headway.connectors.base import Input

__all__ = ["Auction", "AuctionHouse", "Bid", "NexmarkEvent", "Person", "auction_house"]


class Person(hw.Event, tag_field="event_type", tag=0, rename="camel"):
    """Somebody enters the auction house."""

    id: int
    name: str
    email_address: str
    credit_card: str
    city: str
    state: str
    date_time: hw.Time
    extra: str = ""


class Auction(hw.Event, tag_field="event_type", tag=1, rename="camel"):
    """Somebody opens an auction."""

    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: hw.Time
    expires: hw.Time
    seller: int
    category: int
    extra: str = ""


class Bid(hw.Event, tag_field="event_type", tag=2, rename="camel"):
    """Somebody bids on an auction; the price is in cents."""

    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: hw.Time
    extra: str = ""


NexmarkEvent = Union[Person, Auction, Bid]
"""A line of the stream; `event_type` says which of the three it is."""


class AuctionHouse(NamedTuple):
    """The three streams of one source."""

    persons: hw.Stream[Person]
    auctions: hw.Stream[Auction]
    bids: hw.Stream[Bid]


def auction_house(flow: hw.Flow, events: Input, *, time: Any, out_of_order: Duration) -> AuctionHouse:
    """Declare the source, and take its three kinds of events apart."""
    event_type: Any = NexmarkEvent
    house = flow.source("events", event_type, events, time=time, out_of_order=out_of_order)
    return AuctionHouse(_only(house, Person), _only(house, Auction), _only(house, Bid))


def _only(house: hw.Stream[Any], kind: Any) -> hw.Stream[Any]:
    # The second step costs next to nothing: it tells operators and the engine which type they get.
    return house.filter(lambda event: type(event) is kind).map(lambda event: event, into=kind)
