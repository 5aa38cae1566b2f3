"""What epochs have changed, in memory over the files of a key group: layers that never change once they are made.

Each epoch brings a layer. A layer at least half as large as the one below it is put together with that, into a new
one: so there are few layers, sizes fall by half from one to the next, and a row is copied a few times at most, however
many epochs there are. Rows that every epoch changes are held once. Snapshots that somebody keeps hold the layers that
they were made of.

The order of a layer's keys is made when somebody first reads a range, some 0.1 µs for each of them, and by the layer
after one whose order was wanted as soon as it is made: the follower does that between answers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Final, Optional

from rocksdict import RdictIter

from headway.state.database import Database

__all__ = ["Layer", "Layers", "Part", "stacked"]

ROW_BYTES: Final = 200
"""What a row takes beside its bytes: two objects, and its place in a dict."""


class Layer:
    """Rows as they are after some epochs; None for those that are gone. `size` is what it takes, in bytes."""

    __slots__ = ("_keys", "rows", "size")

    def __init__(self, rows: Mapping[bytes, Optional[bytes]], size: int) -> None:
        self.rows = rows
        self.size = size
        self._keys: Optional[list[bytes]] = None

    @property
    def keys(self) -> list[bytes]:
        """All keys in order."""
        if self._keys is None:
            self._keys = sorted(self.rows)
        return self._keys

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the keys was wanted."""
        return self._keys is not None

    def over(self, other: Layer) -> Layer:
        """Put it over an older one, into one."""
        rows = {**other.rows, **self.rows}
        made = Layer(rows, (self.size + other.size) * len(rows) // max(1, len(self.rows) + len(other.rows)))
        if self.is_ordered and other.is_ordered:
            # What is sorted in two pieces is put together in one pass.
            made._keys = sorted([*other.keys, *(key for key in self.keys if key not in other.rows)])
        return made


Layers = tuple[Layer, ...]
"""The newest first."""


def stacked(new: Layer, layers: Layers) -> Layers:
    """A new layer over others."""
    if layers and layers[0].is_ordered:
        _ = new.keys
    while layers and 2 * len(new.rows) >= len(layers[0].rows):
        new, layers = new.over(layers[0]), layers[1:]
    return (new, *layers)


class Part:
    """One key group at the epoch of a snapshot: layers over what a cursor finds. Of one thread."""

    __slots__ = ("_cursor", "_layers", "database")

    def __init__(self, database: Database, cursor: RdictIter, layers: Layers) -> None:
        self.database = database
        self._cursor = cursor
        self._layers = layers

    def get(self, stored_key: bytes) -> Optional[bytes]:
        """The stored value of a key; None where there is none. Raises `StateError` for what cannot be read."""
        for layer in self._layers:
            if stored_key in layer.rows:
                return layer.rows[stored_key]
        cursor = self._cursor
        cursor.seek(stored_key)
        if not cursor.valid():
            self.database.check_end(cursor)
            return None
        value: Optional[bytes] = cursor.value() if cursor.key() == stored_key else None
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with `start <= key < end`, in order. Nothing else may use the part between two of them."""
        runs: list[Iterable[tuple[bytes, int, Optional[bytes]]]] = [
            _run(layer, rank, start, end) for rank, layer in enumerate(self._layers)
        ]
        found = self._stored(start, end, len(runs))
        last: Optional[bytes] = None
        for key, _, value in merge(*runs, found) if runs else found:
            if key != last:
                last = key
                if value is not None:
                    yield key, value

    def _stored(self, start: bytes, end: bytes, rank: int) -> Iterator[tuple[bytes, int, Optional[bytes]]]:
        cursor = self._cursor
        cursor.seek(start)
        while cursor.valid():
            key = cursor.key()
            if key >= end:
                return
            yield key, rank, cursor.value()
            cursor.next()
        self.database.check_end(cursor)


def _run(layer: Layer, rank: int, start: bytes, end: bytes) -> Iterator[tuple[bytes, int, Optional[bytes]]]:
    """A layer's rows in a range; of equal keys that of the lowest rank comes first, so values are never compared."""
    keys, rows = layer.keys, layer.rows
    for place in range(bisect_left(keys, start), bisect_left(keys, end)):
        key = keys[place]
        yield key, rank, rows[key]
