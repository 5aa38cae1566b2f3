"""Logs in a stage's store do what lists in a model do, whatever is undone, evicted or lost in between."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.logs_harness import (
    ITEMS,
    NOTES,
    NUMBERS,
    OPERATOR,
    OPTIONS,
    SPEC,
    Cart,
    Item,
    entries,
    manifest_of,
)
from tests.test_state_machine import copy_at_rest

from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.manifest import OperatorEntry
from headway.state.reader import StateReader
from headway.state.rows import Row
from headway.state.typeschema import state_schema
from headway.state.undo import RowGuard

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
            self.store.shrink_cache()


TestLogs = LogMachine.TestCase
TestLogs.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
