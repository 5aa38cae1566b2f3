"""What the users of the shop do: sessions of views, adds and removes that end in a checkout or in silence.

One clock of event time drives everybody, so that actions come in the order of their times and only users who
are in a session take memory. New sessions begin at random (a Poisson process), as many as make the wanted
number of events per second; the story starts with as many sessions under way as there will be on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from math import log
from random import Random
from typing import Final, Generic, TypeVar
from zlib import crc32

from headway.generate.carts import Carts
from headway.generate.lines import ARTICLES, Catalogue
from headway.generate.options import ShopOptions
from headway.generate.zipf import ZipfPicker

__all__ = ["Action", "Shopper", "Story"]

_LEAVE: Final = 0
_LOOK: Final = 1
_BUY: Final = 2

_NEVER: Final = -1

_OTHER_PAGES: Final = 250
"""Pages of the shop that show no article."""

P = TypeVar("P")


class Shopper(Generic[P]):
    """A user who is in at least one session (two when two devices share one account)."""

    __slots__ = ("last_ms", "name", "number", "opening", "partition", "sessions")

    def __init__(self, number: int, partitions: list[P]) -> None:
        self.number = number
        self.name = f"u{number:06d}"
        self.opening = f'{{"user": "{self.name}", "kind": "'
        self.partition = partitions[crc32(self.name.encode()) % len(partitions)]
        self.last_ms = 0
        self.sessions = 0


Action = tuple[int, Shopper[P], str, str]
"""Time in epoch milliseconds, who, kind, and article ("" for none)."""


class _Session(Generic[P]):
    __slots__ = ("comeback", "left", "purpose", "shopper")

    def __init__(self, shopper: Shopper[P], left: int, purpose: int, comeback: int) -> None:
        self.shopper = shopper
        self.left = left
        """Number of actions after the next one."""
        self.purpose = purpose
        self.comeback = comeback
        """The long pause comes once no more than so many actions are left."""


_Turn = tuple[int, int, _Session[P]]
"""When a session acts next, its serial number (so that sessions are never compared), and the session."""


class Story(Generic[P]):
    """The endless story of a shop.

    Memory: the sessions under way, about `rate * pause` of them, whatever the number of users. An action
    costs about 2 µs.
    """

    def __init__(self, options: ShopOptions, *, catalogue: Catalogue, carts: Carts, partitions: list[P]) -> None:
        self._options = options
        self._catalogue = catalogue
        self._carts = carts
        self._partitions = partitions
        self._rng = Random(3 * options.seed + 1)
        self._random = self._rng.random
        self._hot_users = 1 if options.hot else 0
        self._picker = ZipfPicker(options.users - self._hot_users, options.skew)
        self._shoppers: dict[int, Shopper[P]] = {}
        self._begun = 0
        self.sessions = 0
        """Sessions that have ended."""
        self._arrival_pause_ms = options.session_events * 1_000 / options.rate
        self._arrival_ms = options.start_ms + self._arrival_pause_ms * self._exponential()
        underway = round(options.rate * options.pause_ms / 1_000)
        self._next = [self._begin(options.start_ms, self._remaining_length()) for _ in range(underway)]
        heapify(self._next)

    def actions(self) -> Iterator[Action[P]]:
        """All actions in the order of their times; those of one user have distinct times.

        The caller tells the carts of an action, if they are to know it, before it asks for the next one:
        users only take out of the cart what is in it.
        """
        queue = self._next
        while True:
            while not queue or queue[0][0] >= self._arrival_ms:
                heappush(queue, self._arrive())
            at_ms, serial, session = queue[0]
            shopper = session.shopper
            if at_ms <= shopper.last_ms:
                heapreplace(queue, (at_ms + 1 + self._rng.getrandbits(3), serial, session))
                continue
            shopper.last_ms = at_ms
            kind, sku = self._act(session)
            yield at_ms, shopper, kind, sku
            if session.left:
                heapreplace(queue, (self._next_ms(session, at_ms), serial, session))
                session.left -= 1
            else:
                heappop(queue)
                self._end(session)

    def _arrive(self) -> _Turn[P]:
        now_ms = int(self._arrival_ms)
        self._arrival_ms += self._arrival_pause_ms * self._exponential()
        return self._begin(now_ms, int(self._random() * (2 * self._options.session_events - 1)))

    def _begin(self, now_ms: int, left: int) -> _Turn[P]:
        options, random = self._options, self._random
        number = self._pick_user()
        shopper = self._shoppers.get(number)
        if shopper is None:
            shopper = self._shoppers[number] = Shopper(number, self._partitions)
        shopper.sessions += 1
        purpose = self._pick_purpose()
        comes_back = random() < options.comebacks
        comeback = 1 + int(random() * left) if comes_back and purpose != _LOOK else _NEVER
        self._begun += 1
        first_ms = now_ms + 1 + int(self._exponential() * options.pause_ms)
        return first_ms, self._begun, _Session(shopper, left, purpose, comeback)

    def _end(self, session: _Session[P]) -> None:
        self.sessions += 1
        shopper = session.shopper
        shopper.sessions -= 1
        if not shopper.sessions:
            del self._shoppers[shopper.number]

    def _pick_user(self) -> int:
        if self._hot_users and self._random() < self._options.hot:
            return 0
        return self._hot_users + self._picker.pick(self._random)

    def _pick_purpose(self) -> int:
        mood = self._random() - self._options.abandoned
        if mood < 0:
            return _LEAVE
        return _LOOK if mood < self._options.looking else _BUY

    def _act(self, session: _Session[P]) -> tuple[str, str]:
        if not session.left:
            return self._act_last(session)
        chance = self._random()
        if session.purpose == _LOOK or chance < 0.5:
            return self._view()
        if chance > 0.88:
            in_cart = self._carts.skus(session.shopper.name)
            if in_cart:
                return "remove", in_cart[int(self._random() * len(in_cart))]
        return self._add()

    def _act_last(self, session: _Session[P]) -> tuple[str, str]:
        if session.purpose == _LEAVE:
            return self._add()
        if session.purpose == _BUY and self._carts.due_ms(session.shopper.name) is not None:
            return "checkout", ""
        return self._view()

    def _add(self) -> tuple[str, str]:
        return "add", self._catalogue.skus[int(self._random() * ARTICLES)]

    def _view(self) -> tuple[str, str]:
        page = int(self._random() * (ARTICLES + _OTHER_PAGES))
        return "view", self._catalogue.skus[page] if page < ARTICLES else ""

    def _next_ms(self, session: _Session[P], now_ms: int) -> int:
        if session.left <= session.comeback:
            due_ms = self._carts.due_ms(session.shopper.name)
            if due_ms is not None:
                session.comeback = _NEVER
                return due_ms + self._overdue_ms()
        return now_ms + 1 + int(self._exponential() * self._options.pause_ms)

    def _overdue_ms(self) -> int:
        """How long after its due time the user comes back; often at the border, where mistakes are made."""
        border = self._rng.getrandbits(2)
        return border if border < 2 else 1 + int(self._exponential() * self._options.after_ms)

    def _remaining_length(self) -> int:
        """What is left of a session under way: it is more likely a long one, and it is anywhere in it."""
        longest = 2 * self._options.session_events - 1
        length = 1 + int(max(self._random(), self._random()) * longest)
        return int(self._random() * length)

    def _exponential(self) -> float:
        return -log(1.0 - self._random())
