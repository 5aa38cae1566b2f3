"""Secondary indexes: the rows of an operator in the order of one field, the greatest first.

An index is a range of keys beside the rows, under a number of its own: the field's value, encoded so that greater ones
sort first, and behind it the key of the row. It is part of the same delta as the rows, so it is committed, discarded
and promoted with them, and what a reader finds by it is of the same epoch as what it finds by key.

What it costs: for each changed row of an indexed operator a read of what was stored before, and two decodings of the
one field, some 8 µs at the end of the epoch; rows that did not change cost nothing, and neither do flows without one.
An index that is declared later is built once, at the start, from the rows that there are: some seconds for a million.

Numbers are ordered exactly, integers and floats together; texts by their first 200 characters. Rows whose field is
anything else, or is not there, are not in the index.

**Rejected.** *An index in the memory of whoever answers queries*: it takes a pass over all rows at each start, and
another whenever it has missed an epoch; with a million keys that is seconds, and some hundred megabytes. *Keeping the
old entry with each row in memory*: rows that leave the cache would have to bring it back, on the path of each event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.state.database import ROWS, VERSION_BYTE, Database, Writer, group_path
from headway.state.keys import ID_BYTES, escape, id_bytes, successor
from headway.state.manifest import Manifest, ViewEntry
from headway.state.options import StoreOptions
from headway.state.rowvalues import HEAD_BYTES, Timers

__all__ = ["IndexSpec", "RowIndex", "build_indexes", "indexed_key", "indexes_of", "rank_bytes"]

_TEXT_MAX: Final = 200
_NUMBER, _TEXT = b"\x01", b"\x02"
_INVERTED: Final = bytes(255 - byte for byte in range(256))
_INVERTED_END: Final = b"\xff\xfe"
_DOUBLE: Final = Struct(">d")
_HALF: Final = 1 << 63
_NUMBER_BYTES: Final = 17


class IndexSpec(NamedTuple):
    """What an index is of."""

    number: int
    """Under which it is stored."""
    field: str
    """The name of the field, as it is stored."""
    within: str = ""
    """The field of the state that holds the one with that name; empty where it is the state's own."""
    default: int | float | str | None = None
    """What it is in values that leave it out."""


class RowIndex:
    """Keeps the index of one operator's rows in step with them."""

    def __init__(self, spec: IndexSpec, operator: int) -> None:
        self.prefix = id_bytes(spec.number)
        self._rows = id_bytes(operator)
        state: Any = msgspec.defstruct("Ranked", [("rank", Any, spec.default)], rename={"rank": spec.field})
        if spec.within:
            state = msgspec.defstruct("Holder", [("held", Optional[state], None)], rename={"held": spec.within})
        self._within = spec.within
        self._decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(tuple[int, Timers, Timers, state]).decode

    def entry(self, stored_key: bytes, value: bytes) -> bytes | None:
        """The key of the entry for a row as it is stored; None for one that is not in the index."""
        try:
            state = self._decode(value[HEAD_BYTES:])[3]
        except msgspec.DecodeError:  # The value is no object, and so has no fields.
            return None
        held = state.held if self._within else state
        ranked = None if held is None else rank_bytes(held.rank)
        return None if ranked is None else self.prefix + ranked + stored_key[ID_BYTES:]

    def update(self, rows: dict[bytes, bytes | None], before: Callable[[bytes], bytes | None]) -> None:
        """Add to the changed `rows` what changes in the index; `before` tells what is stored of a row."""
        own = [(key, value) for key, value in rows.items() if key.startswith(self._rows)]
        for key, value in own:
            stored = before(key)
            old = None if stored is None else self.entry(key, stored)
            new = None if value is None else self.entry(key, value)
            if old == new:
                continue
            if old is not None:
                rows[old] = None
            if new is not None:
                rows[new] = VERSION_BYTE


def rank_bytes(value: Any) -> bytes | None:
    """Bytes that sort the other way round than the values do; None for what cannot be ranked.

    >>> rank_bytes(2) < rank_bytes(1.5) < rank_bytes(-7) < rank_bytes("b") > rank_bytes("c")
    False
    >>> rank_bytes(2**60 + 1) < rank_bytes(2**60), rank_bytes(True), rank_bytes(float("nan"))
    (True, None, None)
    """
    if isinstance(value, str):
        return (_TEXT + escape(value[:_TEXT_MAX])).translate(_INVERTED)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    near = float(value) + 0.0  # Minus nought is nought.
    if isnan(near):
        return None
    bits = int.from_bytes(_DOUBLE.pack(near), "big")
    bits = (1 << 64) - 1 - bits if bits & _HALF else bits | _HALF
    rest = value - int(near) if isinstance(value, int) else 0
    return (_NUMBER + bits.to_bytes(8, "big") + (rest + _HALF).to_bytes(8, "big")).translate(_INVERTED)


def indexed_key(entry: bytes) -> str:
    """The key of the row that an entry of an index stands for; raises `ValueError` for what is none."""
    if entry[ID_BYTES : ID_BYTES + 1] == _NUMBER.translate(_INVERTED):
        return entry[ID_BYTES + _NUMBER_BYTES :].decode()
    return entry[entry.index(_INVERTED_END, ID_BYTES) + len(_INVERTED_END) :].decode()


def indexes_of(views: Mapping[str, ViewEntry], operator: str) -> list[IndexSpec]:
    """What the rows of an operator are found by, as the manifest says."""
    return [spec_of(view) for view in views.values() if view.index and view.operator == operator]


def spec_of(view: ViewEntry) -> IndexSpec:
    """The index of a view that has one."""
    return IndexSpec(view.index_id, view.index, "value" if view.of_stream else "", view.index_default)


def build_indexes(directory: Path, manifest: Manifest) -> Manifest:
    """Make the indexes that are not built yet; returns the manifest that says they are, to be stored.

    With the lock held, no group open and nothing pending. May be repeated after a kill at any moment.
    """
    missing = [view for view in manifest.views.values() if not view.is_built]
    for group in range(manifest.key_groups):
        if (group_path(directory, group) / "CURRENT").exists():
            database = Database(directory, group, StoreOptions())
            try:
                for view in missing:
                    _build(database, view)
            finally:
                database.close()
    views = {name: msgspec.structs.replace(view, is_built=True) for name, view in manifest.views.items()}
    return msgspec.structs.replace(manifest, views=views)


def _build(database: Database, view: ViewEntry) -> None:
    index, writer = RowIndex(spec_of(view), view.operator_id), Writer(database)
    rows = id_bytes(view.operator_id)
    for key, value in database.scan(ROWS, rows, successor(rows)):
        entry = index.entry(key, value)
        if entry is not None:
            writer.put(ROWS, entry, VERSION_BYTE)
    writer.flush(sync=True)
