"""What a Nexmark stream is like: its size, its rate, and the proportions that the benchmark publishes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from headway.errors import UsageError
from headway.generate.options import COMPRESSIONS, LAST_START_MS, YEAR_MS

__all__ = ["NexmarkOptions"]

_AT_LEAST_ONE: Final = (
    "events",
    "persons",
    "auctions",
    "bids",
    "hot_auctions",
    "hot_bidders",
    "hot_sellers",
    "active_persons",
    "in_flight_auctions",
    "partitions",
)


def _option(default: object, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class NexmarkOptions:
    """Everything that a Nexmark stream depends on: equal options give equal bytes.

    The defaults are the published ones: 1 person, 3 auctions and 46 bids in 50 events, 10,000 events a second.
    The help text of a field is in its metadata. Raises `UsageError` for a value that cannot be used.

    >>> NexmarkOptions(events=1_000).bids
    46
    >>> NexmarkOptions(rate=0)
    Traceback (most recent call last):
    headway.errors.UsageError: rate = 0 cannot be used: expected events per second from 0.001 to 1000000
    """

    events: int = _option(100_000, "Number of events: persons, auctions and bids together.")
    rate: float = _option(10_000.0, "Events per second of event time.")
    start_ms: int = _option(1_767_225_600_000, "Time of the start in epoch milliseconds (2026-01-01T00:00:00Z).")
    disorder_ms: int = _option(
        0, "Events stand behind others of their partition by less than this many milliseconds; 0 = in order."
    )
    persons: int = _option(1, "Persons in each round of events.")
    auctions: int = _option(3, "Auctions in each round of events.")
    bids: int = _option(46, "Bids in each round of events.")
    hot_auctions: int = _option(2, "All but one in this many bids go to the hot auction, the first of each 100.")
    hot_bidders: int = _option(4, "All but one in this many bids come from the hot bidder, the second of each 100.")
    hot_sellers: int = _option(4, "All but one in this many auctions are of the hot seller, the first of each 100.")
    active_persons: int = _option(1_000, "Other bidders and sellers are among this many latest persons.")
    in_flight_auctions: int = _option(100, "Other bids go to this many latest auctions; so many are open on average.")
    person_bytes: int = _option(200, "Mean size of a person, as the benchmark counts it, in bytes.")
    auction_bytes: int = _option(500, "Mean size of an auction, as the benchmark counts it, in bytes.")
    bid_bytes: int = _option(100, "Mean size of a bid, as the benchmark counts it, in bytes.")
    partitions: int = _option(4, "Number of files; events are dealt to them in turn.")
    compress: str = _option("none", "Compression of the partition files: none, gzip or zstd.")
    seed: int = _option(0, "Number that everything random is drawn from.")

    def __post_init__(self) -> None:
        for option in fields(self):
            self._check_type(option.name, str(option.type))
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                self._refuse(name, "a whole number from 1")
        for name in ("disorder_ms", "person_bytes", "auction_bytes", "bid_bytes", "seed"):
            if getattr(self, name) < 0:
                self._refuse(name, "a whole number from 0")
        for name in ("person_bytes", "auction_bytes", "bid_bytes"):
            if getattr(self, name) > 10_000:
                self._refuse(name, "at most 10000 bytes")
        if self.disorder_ms > YEAR_MS:
            self._refuse("disorder_ms", f"at most {YEAR_MS} ms, a year")
        if self.partitions > 10_000:
            self._refuse("partitions", "at most 10000 (names are nexmark-0000 to nexmark-9999)")
        if not 0 <= self.start_ms <= LAST_START_MS:
            self._refuse("start_ms", f"epoch milliseconds from 0 to {LAST_START_MS}")
        if not 0.001 <= self.rate <= 1_000_000:
            self._refuse("rate", "events per second from 0.001 to 1000000")
        if self.compress not in COMPRESSIONS:
            self._refuse("compress", "one of " + ", ".join(COMPRESSIONS))

    def _check_type(self, name: str, type_name: str) -> None:
        value = getattr(self, name)
        accepted: tuple[type, ...] = {"int": (int,), "float": (int, float), "str": (str,)}[type_name]
        if isinstance(value, bool) or not isinstance(value, accepted):
            self._refuse(name, {"int": "a whole number", "float": "a number", "str": "text"}[type_name])

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"{name} = {getattr(self, name)!r} cannot be used: expected {expected}"
        raise UsageError(msg)
