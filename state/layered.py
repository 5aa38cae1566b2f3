"""A sorted map in three layers: this epoch's changes, the pending delta, the main column family."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any

from headway.errors import InternalError
from headway.state.database import Database
from headway.state.keys import successor

__all__ = ["LayeredMap"]

K = tuple[Any, ...]

_ABSENT = b""


class LayeredMap:
    """Positions (tuples) to stored values, of which the owner keeps those before a moving floor in memory itself.

    Stored keys lie in one or several ranges, each with a prefix. `encode` and `decode` are of whole stored keys, and
    `first_in(floor, range)` is a position from which on a range holds all that is at or behind a floor.

    The owner reports each change with `put` and `remove`, says with `far` whether a new position is at or behind its
    floor, and reads what is behind the floor with `first`. A position is put only when absent and removed only when
    present; one that is removed and put again within an epoch has the same value.
    """

    def __init__(
        self,
        database: Database,
        family: str,
        prefixes: Sequence[bytes],
        encode: Callable[[K], bytes],
        decode: Callable[[bytes], K],
        first_in: Callable[[K, int], K],
    ) -> None:
        self.changes: dict[K, bytes | None] = {}
        self._pending: dict[K, bytes | None] = {}
        # Far positions of the two upper layers in no particular order: an index for `first`, which skips those that
        # `changes` and `_pending` say are gone.
        self._far: list[K] = []
        self._pending_far: list[K] = []
        self._database = database
        self._family = family
        self._prefixes = list(prefixes)
        self._encode = encode
        self._decode = decode
        self._first_in = first_in

    def put(self, position: K, value: bytes, far: bool) -> None:
        """Store `value` (with its version byte) at `position`."""
        # Hashing a position is most of the cost: look once.
        found = self.changes.setdefault(position, value)
        if found is None:
            del self.changes[position]
            # It was near when its epoch ended, so no index of far positions has it yet.
            if far and position in self._pending:
                self._pending_far.append(position)
        elif far:
            self._far.append(position)

    def remove(self, position: K) -> None:
        """Take `position` out."""
        found = self.changes.pop(position, _ABSENT)
        if found is _ABSENT:
            self.changes[position] = None
        elif found is None:
            msg = f"{position!r} was removed from {self._family!r} twice; please report this"
            raise InternalError(msg)

    def retreat(self, positions: list[K]) -> None:
        """The owner has moved its floor back and no longer holds `positions` itself."""
        for position in positions:
            if position in self.changes:
                self._far.append(position)
            elif position in self._pending:
                self._pending_far.append(position)

    def first(self, floor: K, count: int) -> list[tuple[K, bytes]]:
        """The first `count` pairs at or behind `floor`, in order; O(count) and a sort of what is new."""
        found = list(islice(self._stored(floor), count))
        for far, layer, hidden in (
            (self._far, self.changes, {}),
            (self._pending_far, self._pending, self.changes),
        ):
            if far:
                found += islice(_living(far, floor, layer, hidden), count)
        found.sort()
        return found[:count]

    def delta(self) -> dict[bytes, bytes | None]:
        """What this epoch changed, by stored key."""
        encode = self._encode
        return {encode(position): value for position, value in self.changes.items()}

    def commit(self) -> None:
        """The pending delta has gone into the main column family, this epoch's changes have become pending."""
        self._pending, self.changes = self.changes, {}
        self._pending_far, self._far = self._far, []

    def settle(self) -> None:
        """The pending delta has gone into the main column family."""
        self._pending = {}
        self._pending_far = []

    def last(self) -> K | None:
        """The last position in the main column family, whatever the other layers say."""
        keys = [self._database.last_key(self._family, prefix, successor(prefix)) for prefix in self._prefixes]
        return max((self._position(key) for key in keys if key is not None), default=None)

    def _stored(self, floor: K) -> Iterator[tuple[K, bytes]]:
        if len(self._prefixes) == 1:
            return self._stored_in(0, floor)
        return merge(*(self._stored_in(index, floor) for index in range(len(self._prefixes))))

    def _stored_in(self, index: int, floor: K) -> Iterator[tuple[K, bytes]]:
        """What one range holds from a floor on."""
        changes, pending, unwrap = self.changes, self._pending, self._database.unwrap
        start, end = self._encode(self._first_in(floor, index)), successor(self._prefixes[index])
        for key, value in self._database.scan(self._family, start, end):
            unwrap(self._family, key, value)
            position = self._position(key)
            if position >= floor and position not in changes and position not in pending:
                yield position, value

    def _position(self, key: bytes) -> K:
        try:
            return self._decode(key)
        except (ValueError, struct.error) as error:
            raise self._database.corrupt(self._family, key, f"not a position ({error})") from error


def _living(
    far: list[K], floor: K, layer: dict[K, bytes | None], hidden: dict[K, bytes | None]
) -> Iterator[tuple[K, bytes]]:
    """Pairs of `layer` that `far` points to, in order, from `floor` on; forgets those before it."""
    far.sort()
    del far[: bisect_left(far, floor)]
    previous: K | None = None
    for position in far:
        value = layer.get(position)
        if value is not None and position not in hidden and position != previous:
            previous = position
            yield position, value
