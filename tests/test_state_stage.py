"""What a stage's store refuses, what it writes, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headway.errors import (
    CorruptStateError,
    FlowError,
    IncompatibleStateError,
    InternalError,
    LockedStateError,
    StateError,
    UserCodeError,
)
from headway.state.database import CONTROL, PENDING, ROWS, TIMERS, WAITING, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.keys import id_bytes, successor, task_prefix
from headway.state.options import StoreOptions
from headway.state.redo import CHUNK_BYTES
from headway.state.stage import OperatorSpec, StageStore

OPTIONS = StoreOptions(sync=False, cache_bytes=1)


class Cart(msgspec.Struct):
    total: int = 0
    note: str = ""


class Extended(msgspec.Struct):
    total: int = 0
    note: str = ""
    items: list[str] = []


class Changed(msgspec.Struct):
    total: str = ""


def open_stage(path: Path, state_type: type[Any] = Cart) -> tuple[GroupStore, StageStore]:
    group = GroupStore.open(path, 3, OPTIONS)
    return group, group.stage("s", [OperatorSpec("cart", state_type)], [InputCodec()])


def put(stage: StageStore, key: str, total: int, note: str = "") -> None:
    row = stage.tables[0].fetch(key)
    row.state = Cart(total, note)
    if not row.dirty:
        stage.tables[0].mark(row)


def written(path: Path, commits: int, *, settle: bool = False) -> int:
    """A directory with `commits` versions, the row "k" having the version as its total."""
    group, stage = open_stage(path)
    with group:
        stage.resume(None)
        for number in range(1, commits + 1):
            put(stage, "k", number)
            stage.tables[0].set_timer(stage.tables[0].fetch("k"), "idle", number)
            stage.waiting.add(0, "p", [(50 + number, "k", number)])
            stage.commit(number)
        if settle:
            stage.settle()
        return stage.version


def tamper(path: Path, family: str, change: Callable[[bytes], bytes]) -> list[bytes]:
    """Change each value of the stage in `family`; returns the keys."""
    database = Database(path, 3, OPTIONS)
    batch = database.batch()
    prefix = id_bytes(0) if family in (ROWS, TIMERS) else task_prefix(1, 0)
    pairs = list(database.scan(family, prefix, successor(prefix)))
    for key, value in pairs:
        batch.put(family, key, change(value))
    database.write(batch, sync=False)
    database.close()
    return [key for key, _ in pairs]


@pytest.mark.parametrize(("commits", "token", "total"), [(1, None, 0), (1, 0, 0), (1, 1, 1), (3, 2, 2), (3, 3, 3)])
def test_resuming_the_last_version_or_the_one_before(
    tmp_path: Path, commits: int, token: int | None, total: int
) -> None:
    written(tmp_path, commits)
    group, stage = open_stage(tmp_path)
    with group:
        assert stage.resume(token) == (token or None)
        row = stage.tables[0].fetch("k")
        assert row.state == Cart(total)
        assert row.timers == ({"idle": total} if total else None)
        assert row.indexed == ({"idle": 1} if total > 1 else None)
        assert len(stage.waiting) == total
        assert (stage.row_count, stage.timer_count) == ((1, 1) if total else (0, 0))


@pytest.mark.parametrize(
    ("settle", "token", "message"),
    [
        (False, 1, r"says version 1, .* it holds version 2 and a pending version 3; .* restore both"),
        (False, 4, r"says version 4, .* it holds version 2 and a pending version 3; .* restore both"),
        (True, 2, r"says version 2, .* it holds version 3; .* restore both"),
        (True, 4, r"says version 4, .* it holds version 3; .* restore both"),
        (
            False,
            None,
            r"holds data of version 2 and a pending version 3, but the recovery log knows nothing of it; put",
        ),
    ],
)
def test_other_tokens_are_refused(tmp_path: Path, settle: bool, token: int | None, message: str) -> None:
    written(tmp_path, 3, settle=settle)
    group, stage = open_stage(tmp_path)
    with group:
        with pytest.raises(IncompatibleStateError, match=message) as raised:
            stage.resume(token)
        assert f"state directory {tmp_path}, key group 003, stage 's'" in str(raised.value)
        with pytest.raises(InternalError, match="was not resumed"):
            stage.commit(None)


def test_a_token_for_an_empty_directory_is_refused(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path)
    with group, pytest.raises(IncompatibleStateError, match=r"says version 7, .* it holds version 0"):
        stage.resume(7)


TRUNCATED = r"not a {} \(Input data was truncated\); restore the whole state directory"
UNKNOWN = r"found version byte 02, expected 01"


def use_everything(stage: StageStore, token: int) -> None:
    stage.resume(token)
    stage.tables[0].fetch("k")
    while stage.timers.pop_due(100):
        pass
    while stage.waiting.release(100, 5):
        pass


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (CONTROL, lambda value: value[:-3], TRUNCATED.format("control record")),
        (CONTROL, lambda value: b"\x02" + value[1:], UNKNOWN),
        (CONTROL, lambda _: b"", "found an empty value, expected 01"),
        (PENDING, lambda value: value[:-3], TRUNCATED.format("pending delta")),
        (PENDING, lambda value: b"\x02" + value[1:], UNKNOWN),
        (PENDING, lambda value: b"\x01\0\0\0\x02" + value[5:], "found 1 chunks of a delta that has 2"),
        (ROWS, lambda value: value[:-1], TRUNCATED.format("row of operator 'cart'")),
        (ROWS, lambda value: b"\x02" + value[1:], UNKNOWN),
        (ROWS, lambda _: b"\x01\x01", "not a row of operator 'cart'"),
        (TIMERS, lambda _: b"\x02", UNKNOWN),
        (WAITING, lambda value: value[:-1], r"not waiting records \(Input data was truncated\)"),
        (WAITING, lambda value: b"\x02" + value[1:], UNKNOWN),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, family: str, change: Callable[[bytes], bytes], message: str
) -> None:
    version = written(tmp_path, 3)
    (key,) = tamper(tmp_path, family, change)
    group, stage = open_stage(tmp_path)
    with group, pytest.raises(CorruptStateError, match=message) as raised:
        use_everything(stage, version - 1)
    assert f"corrupt state in {tmp_path}, key group 003, column family {family!r}, key {key!r}" in str(raised.value)


def test_a_pending_delta_of_a_wrong_version_is_corrupt(tmp_path: Path) -> None:
    version = written(tmp_path, 3)
    tamper(tmp_path, CONTROL, lambda value: value.replace(b"\x9a\x02", b"\x9a\x01", 1))
    group, stage = open_stage(tmp_path)
    with group, pytest.raises(CorruptStateError, match="the pending delta has version 3, expected 2"):
        stage.resume(version)


def test_a_new_version_of_the_state_class(tmp_path: Path) -> None:
    version = written(tmp_path, 1, settle=True)
    group, stage = open_stage(tmp_path, Extended)
    with group:
        stage.resume(version)
        assert stage.tables[0].fetch("k").state == Extended(1, "", [])
    group, stage = open_stage(tmp_path, Changed)
    with group:
        stage.resume(version)
        message = (
            r"operator 'cart', key 'k' in .*: the stored state does not fit Changed: Expected `str`, got `int`.*; run"
        )
        with pytest.raises(IncompatibleStateError, match=message):
            stage.tables[0].fetch("k")


def test_a_state_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, dict)
    with group:
        stage.resume(None)
        row = stage.tables[0].fetch("cart-7")
        row.state["total"] = 2**64
        stage.tables[0].mark(row)
        with pytest.raises(
            UserCodeError, match=r"operator 'cart', key 'cart-7': the state cannot .*18446744073709551616"
        ):
            stage.commit(None)
        with pytest.raises(InternalError, match="resume it first"):
            stage.commit(None)
        stage.resume(None)
        assert stage.tables[0].fetch("cart-7").state == {}


class NoDefault(msgspec.Struct):
    total: int


def test_a_state_without_defaults_is_refused(tmp_path: Path) -> None:
    with GroupStore.open(tmp_path, 3, OPTIONS) as group, pytest.raises(FlowError, match=r"'op': NoDefault cannot be"):
        group.stage("s", [OperatorSpec("op", NoDefault)], [])


def test_nothing_changed_writes_nothing(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(None)
        assert stage.commit(None) == 0
        assert stage.commit({"p": 1}) == 1
        assert stage.commit({"p": 1}) == 1
        row = stage.tables[0].fetch("k")
        stage.tables[0].mark(row)
        assert stage.commit({"p": 1}) == 1, "a row that equals a fresh one is not a row"
        assert stage.commit({"p": 2}) == 2
        assert stage.meta == {"p": 2}


def test_what_is_done_is_gone(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(None)
        for number in range(50):
            put(stage, f"k{number}", 1)
            stage.tables[0].set_timer(stage.tables[0].fetch(f"k{number}"), "idle", number)
            stage.waiting.add(0, "p", [(number, "k", number)])
        stage.commit(1)
        assert (stage.row_count, stage.timer_count, len(stage.waiting)) == (50, 50, 50)
        for number in range(50):
            stage.tables[0].forget(stage.tables[0].fetch(f"k{number}"))
        while stage.waiting.release(100, 5):
            pass
        stage.commit(2)
        stage.settle()
        assert (stage.row_count, stage.timer_count, len(stage.waiting)) == (0, 0, 0)
        assert stage.max_due_ms() is None
    database = Database(tmp_path, 3, OPTIONS)
    left = {family: list(database.scan(family, b"", b"\xff")) for family in (ROWS, TIMERS, WAITING, PENDING)}
    database.close()
    assert left == {ROWS: [], TIMERS: [], WAITING: [], PENDING: []}


def test_a_delta_of_several_chunks_is_promoted_or_discarded_as_a_whole(tmp_path: Path) -> None:
    notes = [str(number % 10) * 100_000 for number in range(100)]
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(None)
        for number, note in enumerate(notes):
            put(stage, f"k{number}", 1, note)
        stage.commit(None)
        put(stage, "k0", 2)
        for number, note in enumerate(notes[1:], 1):
            put(stage, f"k{number}", 2, note)
        stage.commit(None)
    database = Database(tmp_path, 3, OPTIONS)
    sizes = [len(value) for _, value in database.scan(PENDING, task_prefix(1, 0), task_prefix(1, 1))]
    database.close()
    assert len(sizes) == 3
    assert max(sizes) <= CHUNK_BYTES + 5
    for token, total in ((1, 1), (1, 1)):
        group, stage = open_stage(tmp_path)
        with group:
            stage.resume(token)
            found = [stage.tables[0].fetch(f"k{number}").state for number in range(100)]
            assert found == [Cart(total, note) for note in notes]
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(1)
        put(stage, "k0", 3, "short")
        assert stage.commit(None) == 2
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(2)
        assert stage.tables[0].fetch("k0").state == Cart(3, "short")
        assert stage.tables[0].fetch("k1").state == Cart(1, notes[1])


TASKS = (0, 255, 256, 65_534)
"""Their keys lie beside each other."""


def test_stages_of_a_group_do_not_see_each_other(tmp_path: Path) -> None:
    with GroupStore.open(tmp_path, 0, OPTIONS) as group:
        stages = [group.stage("s", [OperatorSpec("op", dict, id=task)], [InputCodec()], task=task) for task in TASKS]
        for number, stage in enumerate(stages):
            stage.resume(None)
            row = stage.tables[0].fetch("k")
            row.state["n"] = number
            stage.tables[0].set_timer(row, "t", number)
            stage.waiting.add(0, "p", [(number, "k", number)])
            for _ in range(number + 1):
                stage.commit(["version", stage.version])
        with pytest.raises(InternalError, match="task 255 of key group 0 is open as 's'"):
            group.stage("other", [], [], task=255)
    with GroupStore.open(tmp_path, 0, OPTIONS) as group:
        for number, task in enumerate(TASKS):
            stage = group.stage("s", [OperatorSpec("op", dict, id=task)], [InputCodec()], task=task)
            assert stage.resume(number + 1) == ["version", number]
            assert stage.tables[0].fetch("k").state == {"n": number}
            assert stage.max_due_ms() == number


def test_max_due_is_for_settled_stores(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path)
    with group:
        stage.resume(None)
        put(stage, "k", 1)
        with pytest.raises(InternalError, match="holds changes that are not settled: commit and settle it first"):
            stage.max_due_ms()
        stage.commit(None)
        with pytest.raises(InternalError, match="not settled"):
            stage.max_due_ms()
        stage.settle()
        assert stage.max_due_ms() is None


def test_one_store_per_group(tmp_path: Path) -> None:
    with (
        GroupStore.open(tmp_path, 0, OPTIONS),
        pytest.raises(LockedStateError, match=rf"key group 000 of {tmp_path} is open already .*: stop that run first"),
    ):
        GroupStore.open(tmp_path, 0, OPTIONS)
    GroupStore.open(tmp_path, 0, OPTIONS).close()


def test_a_group_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    GroupStore.open(tmp_path, 0, OPTIONS).close()
    (tmp_path / "groups" / "000").rename(tmp_path / "groups" / "001")
    with pytest.raises(
        IncompatibleStateError, match=r"groups/001 holds \[format, key group\] \[3, 0\], expected \[3, 1\]"
    ):
        GroupStore.open(tmp_path, 1, OPTIONS)


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path)
    stage.resume(None)
    group.close()
    group.close()
    with pytest.raises(StateError, match=r"groups/003 is closed: nothing can be written"):
        stage.commit({"p": 1})


def test_what_rocksdb_cannot_open_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "000").write_text("a file")
    with pytest.raises(
        StateError, match=r"cannot open .*groups/000: .*; something else lies where the state directory has a file"
    ):
        GroupStore.open(tmp_path, 0, OPTIONS)
