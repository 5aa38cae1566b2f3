"""Logs in a stage's store: what is refused, what is told, and states that are migrated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from tests.logs_harness import (
    ITEMS,
    NOTES,
    NUMBERS,
    OPERATOR,
    OPTIONS,
    SPEC,
    Cart,
    Item,
    Kept,
    check,
    entries,
    filled,
)

from headway.errors import CorruptStateError, IncompatibleStateError, UserCodeError
from headway.state.database import ROWS
from headway.state.group import GroupStore
from headway.state.stage import OperatorSpec
from headway.types.logs import Log


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return filled(tmp_path)


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
