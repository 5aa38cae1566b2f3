"""How many workflow instances a stage holds: keys with a row of at least one of its operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headway.state.rows import RowTable

__all__ = ["keys_gained"]


def keys_gained(tables: Sequence[RowTable], moved: Mapping[str, int], changes: Mapping[bytes, bytes | None]) -> int:
    """By how many keys a commit makes a stage hold more.

    `moved` says of each key of which rows have begun or ended by how many its rows became more, `changes` is what the
    commit stores. Nothing else is looked at: a key costs a look into each table's cache, and a read of RocksDB where
    the row of another operator is not in it. A stage of one operator needs none of this: there a row is a key.
    """
    gained = 0
    for key, more in moved.items():
        now = sum(table.holds(key, changes) for table in tables)
        gained += (now > 0) - (now - more > 0)
    return gained
