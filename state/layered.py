"""A sorted map in three layers: this epoch's changes, the pending delta, the main column family."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from headway.errors import InternalError
from headway.state.database import Database

__all__ = ["LayeredMap"]

K = tuple[Any, ...]

_ABSENT = b""


class LayeredMap:
    """Positions (tuples) to stored values, of which the owner keeps those before a moving floor in memory itself.

    The owner reports each change with `put` and `remove`, says with `far` whether a new position is at or behind its
    floor, and reads what is behind the floor with `first`. A position is put only when absent and removed only when
    present; one that is removed and put again within an epoch has the same value.
    """

    def __init__(
        self,
        database: Database,
        family: str,
        prefix: bytes,
        encode: Callable[[K], bytes],
        decode: Callable[[bytes, int], K],
    ) -> None:
        self.changes: dict[K, bytes | None] = {}
        self._pending: dict[K, bytes | None] = {}
        # Far positions of the two upper layers in no particular order: an index for `first`, which skips those that
        # `changes` and `_pending` say are gone.
        self._far: list[K] = []
        self._pending_far: list[K] = []
        self._database = database
        self._family = family
        self._prefix = prefix
        self._end = prefix[:-1] + bytes([prefix[-1] + 1])
        self._encode = encode
        self._decode = decode

    def put(self, position: K, value: bytes, far: bool) -> None:
        """Store `value` (with its version byte) at `position`."""
        changes = self.changes
        if changes.get(position, _ABSENT) is None:
            del changes[position]
            # It was near when its epoch ended, so no index of far positions has it yet.
            if far and position in self._pending:
                self._pending_far.append(position)
        else:
            changes[position] = value
            if far:
                self._far.append(position)

    def remove(self, position: K) -> None:
        """Take `position` out."""
        changes = self.changes
        if position in changes:
            if changes[position] is None:
                msg = f"{position!r} was removed from {self._family!r} twice; please report this"
                raise InternalError(msg)
            del changes[position]
        else:
            changes[position] = None

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
        prefix, encode = self._prefix, self._encode
        return {prefix + encode(position): value for position, value in self.changes.items()}

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
        key = self._database.last_key(self._family, self._prefix, self._end)
        return None if key is None else self._position(key)

    def _stored(self, floor: K) -> Iterator[tuple[K, bytes]]:
        changes, pending, unwrap = self.changes, self._pending, self._database.unwrap
        start = self._prefix + self._encode(floor)
        for key, value in self._database.scan(self._family, start, self._end):
            unwrap(self._family, key, value)
            position = self._position(key)
            if position not in changes and position not in pending:
                yield position, value

    def _position(self, key: bytes) -> K:
        try:
            return self._decode(key, len(self._prefix))
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
