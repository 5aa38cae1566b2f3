"""What tests of logs share: a state with two of them, and a store that is opened again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest, OperatorEntry, StageEntry
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec
from headway.types.logs import Log

OPERATOR, ITEMS, NOTES = 1, 2, 3


class Item(msgspec.Struct):
    name: str
    amounts: list[int] = []


class Cart(msgspec.Struct):
    total: int = 0
    items: Log[Item] = Log()
    notes: Log[bytes] = Log()


NUMBERS = {"items": ITEMS, "notes": NOTES}
SPEC = OperatorSpec("cart", Cart, id=OPERATOR, logs=NUMBERS)
OPTIONS = StoreOptions(cache_bytes=3_000, sync=False)


def manifest_of(entry: OperatorEntry) -> Manifest:
    stages = [StageEntry(name="s", operators=["cart"])]
    return Manifest(flow="f", key_groups=1, sources={}, operators={"cart": entry}, stages=stages, outputs={})


def entries(database: Database, number: int) -> Any:
    return database.scan(ROWS, id_bytes(number), successor(id_bytes(number)))


class Kept:
    """A store that is opened again and again, perhaps for another version of the state."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version: int | None = None

    def __call__(self, spec: OperatorSpec, do: Callable[[Any, Any], object], key: str = "ann") -> None:
        """Let something happen to a row, and commit it."""
        with GroupStore.open(self.directory, 0, OPTIONS) as group:
            store = group.stage("s", [spec], [InputCodec()])
            store.resume(self.version)
            table = store.tables[0]
            row = table.fetch(key)
            table.mark(row)
            do(row.state, table)
            self.version = store.commit(None)
            store.settle()

    def stored(self, number: int) -> int:
        """How many entries of a log are stored."""
        with GroupStore.open(self.directory, 0, OPTIONS) as group:
            return sum(1 for _ in entries(group._database, number))


def filled(directory: Path) -> Kept:
    """A store with a row that has two items and a note."""

    def fill(state: Any, table: Any) -> None:
        state.items.extend([Item("a", [1]), Item("b", [2])])
        state.notes.append(b"n")

    made = Kept(directory)
    made(SPEC, fill)
    return made


def check(holds: bool) -> None:
    assert holds
