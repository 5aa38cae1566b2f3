"""The persons, auctions and bids of a Nexmark stream, as lines of JSON."""

from __future__ import annotations

import math
from random import Random
from string import ascii_lowercase
from typing import Final

from headway.generate.nexmark_options import NexmarkOptions

__all__ = ["FIRST_ID", "NexmarkLines"]

FIRST_ID: Final = 1_000
"""The first id of persons and of auctions."""

_FIRST_CATEGORY: Final = 10
_CATEGORIES: Final = 5
_LEAD: Final = 10
"""How many persons and auctions may be named before they exist, as if events had been swapped."""
_BATCH: Final = 100
"""One person and one auction in so many, in a row, is hot."""
_CHANNELS: Final = 10_000
_HOT_CHANNELS: Final = ("Google", "Facebook", "Baidu", "Apple")
_TEXT: Final = 1 << 16
_LONGEST: Final = 12_100

_STATES: Final = ("AZ", "CA", "ID", "OR", "WA", "WY")
_CITIES: Final = (
    *("Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland"),
    *("Bend", "Redmond", "Seattle", "Kent", "Cheyenne"),
)
_FIRST_NAMES: Final = (
    *("Peter", "Paul", "Luke", "John", "Saul", "Vicky"),
    *("Kate", "Julie", "Sarah", "Deiter", "Walter"),
)
_LAST_NAMES: Final = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")


class NexmarkLines:
    """Makes the events of one stream, a round (persons, then auctions, then bids) at a time.

    An event is some 300 bytes and takes about 3 µs. Rounds must be asked for in turn, from 0.

    >>> lines = NexmarkLines(NexmarkOptions(bid_bytes=0, rate=1_000))
    >>> first = lines.round(0)
    >>> len(first), first[-1][:48]
    (50, '{"event_type":2,"auction":1005,"bidder":1001,"pr')
    """

    def __init__(self, options: NexmarkOptions) -> None:
        self._options = options
        self._rng = Random(options.seed)
        # Texts are cut from these: drawing each letter would take most of the time.
        self._letters = "".join(self._rng.choices(ascii_lowercase, k=_TEXT))
        self._words = self._text(" ", _TEXT)
        self._channels = self._make_channels()
        self.size = options.persons + options.auctions + options.bids
        """Events in a round."""
        self._horizon_events = options.in_flight_auctions * self.size // options.auctions

    def time_ms(self, number: int) -> int:
        """The event time of an event, by its number in the stream."""
        return self._options.start_ms + int(number * 1_000 / self._options.rate)

    def round(self, number: int) -> list[str]:
        """The lines of round `number`, each with its line end, in the order of time."""
        options = self._options
        start = number * self.size
        lines = [
            self._person(number * options.persons + each, self.time_ms(start + each)) for each in range(options.persons)
        ]
        start += options.persons
        persons = (number + 1) * options.persons
        for each in range(options.auctions):
            lines.append(self._auction(number * options.auctions + each, persons, start + each))
        start += options.auctions
        lines += self._bids(start, persons, (number + 1) * options.auctions)
        return lines

    def _person(self, index: int, time_ms: int) -> str:
        random = self._rng.random
        name = f"{_pick(random(), _FIRST_NAMES)} {_pick(random(), _LAST_NAMES)}"
        email = f"{self._word(7)}@{self._word(5)}.com"
        card = " ".join(f"{int(random() * 10_000):04d}" for _ in range(4))
        city, state = _pick(random(), _CITIES), _pick(random(), _STATES)
        size = 8 + len(name) + len(email) + len(card) + len(city) + len(state)
        return (
            f'{{"event_type":0,"id":{FIRST_ID + index},"name":"{name}","emailAddress":"{email}","creditCard":"{card}"'
            f',"city":"{city}","state":"{state}","dateTime":{time_ms}'
            f',"extra":"{self._extra(size, self._options.person_bytes)}"}}\n'
        )

    def _auction(self, index: int, persons: int, number: int) -> str:
        random = self._rng.random
        if int(random() * self._options.hot_sellers):
            seller = (persons - 1) // _BATCH * _BATCH
        else:
            active = min(persons, self._options.active_persons)
            seller = persons - active + int(random() * (active + _LEAD))
        category = _FIRST_CATEGORY + int(random() * _CATEGORIES)
        initial = _price(random())
        time_ms = self.time_ms(number)
        horizon_ms = self.time_ms(number + self._horizon_events) - time_ms
        expires_ms = time_ms + 1 + int(random() * max(2 * horizon_ms, 1))
        name, description = self._word(20), self._word(100)
        reserve = initial + _price(random())
        size = 48 + len(name) + len(description)
        return (
            f'{{"event_type":1,"id":{FIRST_ID + index},"itemName":"{name}","description":"{description}"'
            f',"initialBid":{initial},"reserve":{reserve},"dateTime":{time_ms},"expires":{expires_ms}'
            f',"seller":{FIRST_ID + seller},"category":{category}'
            f',"extra":"{self._extra(size, self._options.auction_bytes)}"}}\n'
        )

    def _bids(self, start: int, persons: int, auctions: int) -> list[str]:
        options, random, letters, channels = self._options, self._rng.random, self._letters, self._channels
        hot_auctions, hot_bidders = options.hot_auctions, options.hot_bidders
        hot_auction = FIRST_ID + (auctions - 1) // _BATCH * _BATCH
        hot_bidder = FIRST_ID + (persons - 1) // _BATCH * _BATCH + 1
        oldest = max(auctions - 1 - options.in_flight_auctions, 0)
        among_auctions = auctions - oldest + _LEAD
        active = min(persons, options.active_persons)
        among_persons, oldest_person = active + _LEAD, FIRST_ID + persons - active
        oldest += FIRST_ID
        shortest, spread = _lengths(options.bid_bytes - 32)
        room = _TEXT - _LONGEST
        start_ms, rate = options.start_ms, options.rate
        hot_channels = len(_HOT_CHANNELS)
        lines = []
        # Nearly all events are made here, so there are no calls but to `random` and `round`.
        for number in range(start, start + options.bids):
            auction = hot_auction if int(random() * hot_auctions) else oldest + int(random() * among_auctions)
            bidder = hot_bidder if int(random() * hot_bidders) else oldest_person + int(random() * among_persons)
            price = round(10.0 ** (random() * 6.0) * 100.0)
            among = hot_channels if random() < 0.5 else _CHANNELS
            channel = channels[int(random() * among) + (among > hot_channels) * hot_channels]
            cut = int(random() * room)
            extra = letters[cut : cut + shortest + int(random() * spread)]
            lines.append(
                f'{{"event_type":2,"auction":{auction},"bidder":{bidder},"price":{price},{channel}'
                f',"dateTime":{start_ms + int(number * 1_000 / rate)},"extra":"{extra}"}}\n'
            )
        return lines

    def _make_channels(self) -> list[str]:
        """Channel and url of bids, as they stand in a line: the hot ones first."""
        channels = [f'"channel":"{name}","url":"{self._url()}"' for name in _HOT_CHANNELS]
        for number in range(_CHANNELS):
            url = self._url()
            if int(self._rng.random() * 10):
                url += f"&channel_id={_reversed(number)}"
            channels.append(f'"channel":"channel-{number}","url":"{url}"')
        return channels

    def _url(self) -> str:
        path = "/".join(self._text("_", 3 + int(self._rng.random() * 2)) for _ in range(3))
        return f"https://www.nexmark.com/{path}/item.htm?query=1"

    def _text(self, special: str, length: int) -> str:
        """Letters, one in 13 of them replaced by `special`."""
        weights = [12 / 13 / 26] * 26 + [1 / 13]
        return "".join(self._rng.choices(ascii_lowercase + special, weights, k=length))

    def _word(self, longest: int) -> str:
        cut = int(self._rng.random() * (_TEXT - longest))
        return self._words[cut : cut + 3 + int(self._rng.random() * (longest - 3))].strip(" ")

    def _extra(self, size: int, wanted: int) -> str:
        shortest, spread = _lengths(wanted - size)
        cut = int(self._rng.random() * (_TEXT - _LONGEST))
        return self._letters[cut : cut + shortest + int(self._rng.random() * spread)]


def _pick(share: float, among: tuple[str, ...]) -> str:
    return among[int(share * len(among))]


def _price(share: float) -> int:
    return round(math.pow(10.0, share * 6.0) * 100.0)


def _lengths(mean: int) -> tuple[int, int]:
    """The shortest length, and how many lengths there are: a fifth around the mean."""
    if mean <= 0:
        return 0, 1
    delta = (mean + 2) // 5
    return mean - delta, max(2 * delta, 1)


def _reversed(number: int) -> int:
    """The absolute value of the 32 bits of a number in the reverse order, read as a signed number.

    >>> _reversed(1), _reversed(2)
    (2147483648, 1073741824)
    """
    bits = int(f"{number:032b}"[::-1], 2)
    return (1 << 32) - bits if bits >= 1 << 31 else bits
