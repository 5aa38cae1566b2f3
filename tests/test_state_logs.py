"""Logs in a stage's store do what lists in a model do, whatever is undone, evicted or lost in between."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.test_state_machine import copy_at_rest

from headway.errors import CorruptStateError, IncompatibleStateError, UserCodeError
from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest, OperatorEntry, StageEntry
from headway.state.options import StoreOptions
from headway.state.reader import StateReader
from headway.state.rows import Row
from headway.state.stage import OperatorSpec
from headway.state.typeschema import state_schema
from headway.state.undo import RowGuard
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

KEYS = st.sampled_from(["", "a", "a\0", "a\0\x01", "ab", "é"])
NAMES = st.sampled_from(["x", "y", "", "z" * 300])
PLACES = st.integers(-12, 12)


class Contents(msgspec.Struct):
    """What the model says of a key."""

    total: int = 0
    items: list[Item] = []
    notes: list[bytes] = []


class LogMachine(RuleBasedStateMachine):
    """The store beside the model; `history` has the model as of each version."""

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="headway-test-"))
        self.directory = self.root / "0"
        self.copies = 0
        self.count = 0
        self.model: dict[str, Contents] = {}
        self.history: list[dict[str, Contents]] = [{}]
        self.settled = True
        manifest_of(OperatorEntry(id=OPERATOR, state=state_schema(Cart), logs=NUMBERS)).create(self.directory)
        self.open(None)

    def open(self, token: int | None) -> None:
        self.group = GroupStore.open(self.directory, 0, OPTIONS)
        self.store = self.group.stage("s", [SPEC], [InputCodec()])
        self.store.resume(token)
        self.table = self.store.tables[0]
        self.guard = RowGuard(self.table, Cart, self.store.timers, may_share=False)

    def teardown(self) -> None:
        if hasattr(self, "group"):
            self.group.close()
            shutil.rmtree(self.root)

    def fetch(self, key: str) -> tuple[Row, Contents]:
        row = self.table.young.get(key) or self.table.fetch(key)
        if not row.dirty:
            self.table.mark(row)
        return row, self.model.setdefault(key, Contents())

    def item(self, name: str) -> Item:
        self.count += 1
        return Item(name, [self.count])

    def append_some(self, row: Row, contents: Contents, names: list[str]) -> None:
        items = [self.item(name) for name in names]
        row.state.items.extend(items)
        contents.items.extend(copy.deepcopy(items))
        for item in items:
            item.amounts.append(-1)  # What is done to it from here on is nothing to the log.
            row.state.notes.append(item.name.encode())
            contents.notes.append(item.name.encode())

    @rule(key=KEYS, names=st.lists(NAMES, max_size=4), then_commit=st.booleans())
    def append(self, key: str, names: list[str], then_commit: bool) -> None:
        self.append_some(*self.fetch(key), names)
        if then_commit:
            self.commit()

    @rule(key=KEYS)
    def append_many(self, key: str) -> None:
        self.append_some(*self.fetch(key), ["many"] * 300)

    @rule(key=KEYS, names=st.lists(NAMES, max_size=3), then_commit=st.booleans())
    def clear(self, key: str, names: list[str], then_commit: bool) -> None:
        row, contents = self.fetch(key)
        row.state.items.clear()
        contents.items = []
        self.append_some(row, contents, names)
        if then_commit:
            self.commit()

    @rule(key=KEYS, names=st.lists(NAMES, max_size=3))
    def forget(self, key: str, names: list[str]) -> None:
        row, _ = self.fetch(key)
        before = row.state
        self.table.forget(row)
        del self.model[key]
        before.items.append(Item("of no key any more"))
        self.append_some(*self.fetch(key), names)

    @rule(
        key=KEYS,
        names=st.lists(NAMES, max_size=3),
        what=st.sampled_from(["append", "clear", "forget", "clear and append"]),
    )
    def fail(self, key: str, names: list[str], what: str) -> None:
        """A handler does something, fails, and all of it is undone."""
        row, contents = self.fetch(key)
        self.guard.keep(row)
        if "clear" in what:
            row.state.items.clear()
        if what == "forget":
            self.table.forget(row)
        if "append" in what or what == "forget":
            self.append_some(row, copy.deepcopy(contents), names)
        row.state.total += 7
        self.guard.check(row)
        self.guard.undo()

    @rule(key=KEYS, start=PLACES, stop=PLACES, step=st.sampled_from([1, 2, -1, -3]))
    def read(self, key: str, start: int, stop: int, step: int) -> None:
        row, contents = self.fetch(key)
        items, expected = row.state.items, contents.items
        assert len(items) == len(expected)
        assert items[start:stop:step] == expected[start:stop:step]
        assert items.read(start, stop) == expected[start:stop]
        if -len(expected) <= start < len(expected):
            assert items[start] == expected[start]
        else:
            with pytest.raises(IndexError, match=f"entry {start} of a log of {len(expected)}"):
                items[start]

    @rule(key=KEYS)
    def read_all(self, key: str) -> None:
        row, contents = self.fetch(key)
        assert list(row.state.items) == contents.items == row.state.items.read()
        assert list(reversed(row.state.items)) == contents.items[::-1]
        assert row.state.notes == contents.notes

    @rule()
    def commit(self) -> None:
        before = self.store.version
        version = self.store.commit(None)
        if version != before:
            self.history.append(copy.deepcopy(self.model))
            self.settled = False
        assert self.store.commit(None) == version, "nothing has changed in between"
        assert self.store.row_count == sum(contents != Contents() for contents in self.model.values())

    @rule()
    def settle(self) -> None:
        self.store.settle()
        self.settled = True

    @rule()
    def evict(self) -> None:
        self.table.young.clear()
        self.table._old.clear()

    @rule(copied=st.booleans(), back=st.booleans())
    def crash(self, copied: bool, back: bool) -> None:
        """Lose what is in memory; the engine's token is the last version, or the one before if that was not settled."""
        if copied:  # What a killed process leaves: the files as they are, nothing closed.
            self.copies += 1
            directory = self.root / str(self.copies)
            copy_at_rest(self.directory, directory)
            self.group.close()
            self.directory = directory
        else:
            self.group.close()
        token = len(self.history) - 1
        if back and not self.settled:
            token -= 1
        del self.history[token + 1 :]
        self.model = copy.deepcopy(self.history[token])
        self.open(token)
        self.settled = True

    @rule()
    def read_from_outside(self) -> None:
        """A reader sees the version that is committed everywhere, and nothing later."""
        expected = {
            key: (contents.total, [msgspec.to_builtins(item) for item in contents.items], contents.notes)
            for key, contents in self.history[-1 if self.settled else -2].items()
            if contents != Contents()
        }
        with StateReader(self.directory) as reader:
            found = {
                row.key: (row.state["total"], list(row.state["items"]), list(row.state["notes"]))
                for row in reader.rows("cart")
            }
        assert found == expected

    @precondition(lambda self: self.settled)
    @rule()
    def nothing_else_is_stored(self) -> None:
        """As many entries as logs have, and none of keys that are gone."""
        self.commit()
        self.settle()
        counts = [sum(1 for _ in entries(self.group._database, number)) for number in (ITEMS, NOTES)]
        contents = self.model.values()
        assert counts == [sum(len(one.items) for one in contents), sum(len(one.notes) for one in contents)]

    @invariant()
    def rotate(self) -> None:
        if hasattr(self, "store"):
            self.store.maybe_rotate()


TestLogs = LogMachine.TestCase
TestLogs.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


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


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    def fill(state: Any, table: Any) -> None:
        state.items.extend([Item("a", [1]), Item("b", [2])])
        state.notes.append(b"n")

    made = Kept(tmp_path)
    made(SPEC, fill)
    return made


def test_a_log_cannot_be_replaced(kept: Kept) -> None:
    def replace(state: Any, table: Any) -> None:
        state.items = Log()

    with pytest.raises(UserCodeError, match=r"state\.items is <Log of 0>, expected the log that was there"):
        kept(SPEC, replace)
    assert kept.stored(ITEMS) == 2


def test_entries_are_of_their_type(kept: Kept) -> None:
    def append(state: Any, table: Any) -> None:
        with pytest.raises(TypeError, match=r"the entry.amounts\[0\] is 1.5 \(float\), expected an int"):
            state.items.append(Item("c", [1.5]))  # type: ignore[list-item]
        with pytest.raises(TypeError, match="expected bytes"):
            state.notes.extend([b"fits", "does not"])
        assert (len(state.items), state.notes) == (2, [b"n"])

    kept(SPEC, append)


def test_a_log_of_no_key_is_not_appended_to() -> None:
    for change in (Log[int]().clear, lambda: Log([1]).append(2), lambda: Log[int]().extend([])):
        with pytest.raises(TypeError, match="this log is of no key: a log is appended to in handlers"):
            change()


def test_a_log_that_is_cleared_is_not_gone_through_any_further(kept: Kept) -> None:
    def clear(state: Any, table: Any) -> None:
        state.notes.extend([b"x"] * 600)
        with pytest.raises(RuntimeError, match="cleared while its entries were gone through"):
            for number, _ in enumerate(state.notes):
                if number == 3:
                    state.notes.clear()

    kept(SPEC, clear)


def test_an_entry_that_is_missing_is_told(kept: Kept) -> None:
    with GroupStore.open(kept.directory, 0, OPTIONS) as group:
        batch = group._database.batch()
        batch.delete(ROWS, next(key for key, _ in entries(group._database, ITEMS)))
        group._database.write(batch, sync=False)
    with pytest.raises(CorruptStateError, match="of the entries 0 to 1 of a log 1 are there"):
        kept(SPEC, lambda state, table: list(state.items))


class Other(msgspec.Struct):
    total: int = 0
    items: Log[str] = Log()


def test_entries_that_do_not_fit_are_told(kept: Kept) -> None:
    spec = OperatorSpec("cart", Other, id=OPERATOR, logs=NUMBERS)
    with pytest.raises(IncompatibleStateError, match="a stored entry of a log is not of the declared type"):
        kept(spec, lambda state, table: state.items[0])


def test_a_row_says_nothing_of_a_log_under_another_number(kept: Kept) -> None:
    """A field that was lost and is there again."""
    spec = OperatorSpec("cart", Cart, id=OPERATOR, logs={**NUMBERS, "items": 9})

    def look(state: Any, table: Any) -> None:
        assert (state.items, state.notes) == ([], [b"n"])
        state.items.append(Item("new"))

    kept(spec, look)
    kept(spec, lambda state, table: check(state.items == [Item("new")]))


def check(holds: bool) -> None:
    assert holds


def migrated(state_type: Any, migrate: Callable[[Any, int], Any], **logs: int) -> OperatorSpec:
    former = [number for number in NUMBERS.values() if number not in logs.values()]
    return OperatorSpec("cart", state_type, version=2, migrate=migrate, id=OPERATOR, logs=logs, former_logs=former)


def test_migrate_leaves_a_log_where_it_is(kept: Kept) -> None:
    spec = migrated(Cart, lambda old, version: {**old, "total": 7}, **NUMBERS)
    kept(spec, lambda state, table: check((state.total, len(state.items), state.items[1].name) == (7, 2, "b")))
    kept(spec, lambda state, table: state.items.append(Item("c")))
    kept(spec, lambda state, table: check([item.name for item in state.items] == ["a", "b", "c"]))
    assert (kept.stored(ITEMS), kept.stored(NOTES)) == (3, 1)


def test_migrate_makes_new_entries_of_old_ones(kept: Kept) -> None:
    def migrate(old: Any, version: int) -> Any:
        assert (version, len(old["items"]), old["items"][-1]) == (1, 2, {"name": "b", "amounts": [2]})
        return Other(total=old["total"], items=Log(item["name"] for item in old["items"]))

    spec = migrated(Other, migrate, items=ITEMS)
    kept(spec, lambda state, table: check(state.items == ["a", "b"]))
    kept(spec, lambda state, table: state.items.append("c"))
    kept(spec, lambda state, table: check(state.items == ["a", "b", "c"]))
    assert (kept.stored(ITEMS), kept.stored(NOTES)) == (3, 0), "what the state has no more is gone with its next write"


def test_migrate_moves_a_log_into_another_field(kept: Kept) -> None:
    class Renamed(msgspec.Struct):
        things: Log[Item] = Log()
        notes: Log[bytes] = Log()

    spec = migrated(Renamed, lambda old, version: {"things": old["items"], "notes": []}, things=9, notes=NOTES)
    kept(spec, lambda state, table: check((state.things[1], len(state.notes)) == (Item("b", [2]), 0)))
    kept(spec, lambda state, table: check([item.name for item in state.things] == ["a", "b"]))
    assert [kept.stored(number) for number in (ITEMS, NOTES, 9)] == [0, 0, 2]


def test_migrate_makes_a_log_of_a_list(tmp_path: Path) -> None:
    class Before(msgspec.Struct):
        items: list[Item] = []

    made = Kept(tmp_path)
    made(OperatorSpec("cart", Before, id=OPERATOR), lambda state, table: state.items.append(Item("a")))
    spec = OperatorSpec("cart", Cart, version=2, migrate=lambda old, version: old, id=OPERATOR, logs=NUMBERS)
    made(spec, lambda state, table: check(state.items == [Item("a")]))
    assert made.stored(ITEMS) == 1


def test_migrate_that_gives_other_entries_is_told(kept: Kept) -> None:
    spec = migrated(Other, lambda old, version: {"items": old["notes"]}, items=ITEMS)
    with pytest.raises(UserCodeError, match="migrate returned entries of a log that are not of its declared type"):
        kept(spec, lambda state, table: None)
    spec = migrated(Other, lambda old, version: {"items": [7]}, items=ITEMS)
    with pytest.raises(UserCodeError, match="migrate returned entries of a log"):
        kept(spec, lambda state, table: None)
    assert kept.stored(ITEMS) == 2


def test_what_a_migrated_state_forgets_is_gone(kept: Kept) -> None:
    class Bare(msgspec.Struct):
        total: int = 0

    spec = migrated(Bare, lambda old, version: {"total": 1})
    kept(spec, lambda state, table: None)
    assert (kept.stored(ITEMS), kept.stored(NOTES)) == (0, 0)


class Sparse(msgspec.Struct, omit_defaults=True):
    total: int = 0
    notes: Log[bytes] = Log()
    state_version: ClassVar[int] = 1


def test_a_state_that_leaves_out_defaults_is_not_stored_when_it_is_as_new(tmp_path: Path) -> None:
    spec = OperatorSpec("cart", Sparse, id=OPERATOR, logs={"notes": NOTES})
    made = Kept(tmp_path)
    made(spec, lambda state, table: state.notes.append(b"x"))
    assert made.stored(OPERATOR) == 1
    made(spec, lambda state, table: state.notes.clear())
    assert (made.stored(OPERATOR), made.stored(NOTES)) == (0, 0)


class Free(msgspec.Struct):
    anything: object = None
    notes: Log[bytes] = Log()


def test_beside_a_field_that_may_be_anything(tmp_path: Path) -> None:
    spec = OperatorSpec("cart", Free, id=OPERATOR, logs={"notes": NOTES})
    made = Kept(tmp_path)

    def fill(state: Any, table: Any) -> None:
        state.anything = [1, {"a": b"x"}]
        state.notes.append(b"n")

    made(spec, fill)
    made(spec, lambda state, table: check((state.anything, state.notes) == ([1, {"a": b"x"}], [b"n"])))
    later = OperatorSpec("cart", Free, version=2, migrate=lambda old, _: old, id=OPERATOR, logs={"notes": NOTES})
    made(later, lambda state, table: check((state.anything, state.notes) == ([1, {"a": b"x"}], [b"n"])))
