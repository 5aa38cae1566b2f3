"""What a correct flow finds in a shop stream: which carts are abandoned, when, and what is in them.

The definition, kept apart from every operator so that it can judge them:

* `add` puts one piece of an article into the user's cart. `remove` takes one out; of an article that is not
  in the cart it is ignored: neither the cart nor the time of its last change moves. `checkout` empties the
  cart. `view` does nothing.
* A cart is *due* `after` its last add or remove. It is abandoned when it is not empty and no event that
  changes it comes at or before the instant when it is due: an event at that very instant still counts.
* An abandoned cart is forgotten: what the user adds later starts a new one.
* A cart whose last article is removed is empty, and nothing is due.
* Events count in the order of their times. Late ones and undecodable ones do not count, repeated ones do.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from headway.basics.times import MAX_TIME_MS, format_time

__all__ = ["AbandonedCart", "Carts"]


class AbandonedCart(NamedTuple):
    """A cart that was left; instances sort by time, then user."""

    due_ms: int
    """When the silence was long enough, in epoch milliseconds."""
    user: str
    """Whose cart it is."""
    items: dict[str, int]
    """Article to quantity, by article."""
    total_cents: int
    """What it all costs, in cents: whole numbers, so that the order of adding does not matter."""

    def as_record(self) -> dict[str, Any]:
        """The line of the expected result, as an object.

        >>> AbandonedCart(1_000, "ann", {"s1": 2}, 1999).as_record()["data"]
        {'items': {'s1': 2}, 'total': 19.99}
        """
        return {
            "subject": self.user,
            "time": format_time(self.due_ms),
            "data": {"items": self.items, "total": self.total_cents / 100},
            "due_ms": self.due_ms,
        }

    def as_line(self) -> str:
        """The line of the expected result, with its line end."""
        return json.dumps(self.as_record()) + "\n"


class _Cart:
    """What one user has in the cart."""

    __slots__ = ("due_ms", "items")

    def __init__(self) -> None:
        self.due_ms = 0
        self.items: dict[str, int] = {}


class Carts:
    """All carts that are not empty, while time goes on.

    Memory: the carts changed within the last `after_ms`. A call costs about 0.5 µs, whatever their number.

    >>> carts = Carts(after_ms=1_000, price_cents={"s1": 250})
    >>> carts.apply("ann", "add", 100, "s1")
    >>> list(carts.abandoned_before(1_100)), list(carts.abandoned_before(1_101))
    ([], [AbandonedCart(due_ms=1100, user='ann', items={'s1': 1}, total_cents=250)])
    """

    def __init__(self, *, after_ms: int, price_cents: Mapping[str, int]) -> None:
        self._after_ms: Final = after_ms
        self._price_cents: Final = price_cents
        # All carts wait equally long: in the order of their last change they are in the order of their dues.
        self._carts: OrderedDict[str, _Cart] = OrderedDict()
        self.next_due_ms = MAX_TIME_MS
        """No cart is due before this time: it may be asked instead of calling `abandoned_before`."""

    def apply(self, user: str, kind: str, at_ms: int, sku: str) -> None:
        """One event; times never go back. First take what `abandoned_before(at_ms)` gives."""
        if kind == "add":
            self._add(user, at_ms, sku)
        elif kind == "remove":
            self._remove(user, at_ms, sku)
        elif kind == "checkout":
            self._carts.pop(user, None)

    def due_ms(self, user: str) -> int | None:
        """When the user's cart is due; None while it is empty."""
        cart = self._carts.get(user)
        return None if cart is None else cart.due_ms

    def skus(self, user: str) -> list[str]:
        """The articles in the user's cart."""
        cart = self._carts.get(user)
        return [] if cart is None else list(cart.items)

    def abandoned_before(self, time_ms: int) -> Iterator[AbandonedCart]:
        """The carts due before a time, in the order of time and user; they are forgotten."""
        left = []
        while self._carts:
            user, cart = next(iter(self._carts.items()))
            if cart.due_ms >= time_ms:
                break
            del self._carts[user]
            left.append(self._left(user, cart))
        self.next_due_ms = cart.due_ms if self._carts else MAX_TIME_MS
        return iter(sorted(left))

    def close(self) -> Iterator[AbandonedCart]:
        """All carts that are left when nothing more happens, in the order of time and user."""
        return self.abandoned_before(MAX_TIME_MS)

    def _add(self, user: str, at_ms: int, sku: str) -> None:
        cart = self._carts.get(user)
        if cart is None:
            cart = self._carts[user] = _Cart()
            if self.next_due_ms == MAX_TIME_MS:
                self.next_due_ms = at_ms + self._after_ms
        else:
            self._carts.move_to_end(user)
        cart.due_ms = at_ms + self._after_ms
        cart.items[sku] = cart.items.get(sku, 0) + 1

    def _remove(self, user: str, at_ms: int, sku: str) -> None:
        cart = self._carts.get(user)
        if cart is None or sku not in cart.items:
            return
        cart.items[sku] -= 1
        if not cart.items[sku]:
            del cart.items[sku]
        if not cart.items:
            del self._carts[user]
            return
        self._carts.move_to_end(user)
        cart.due_ms = at_ms + self._after_ms

    def _left(self, user: str, cart: _Cart) -> AbandonedCart:
        items = dict(sorted(cart.items.items()))
        total_cents = sum(self._price_cents[sku] * quantity for sku, quantity in items.items())
        return AbandonedCart(cart.due_ms, user, items, total_cents)
