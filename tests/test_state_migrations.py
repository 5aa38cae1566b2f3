"""States of older versions are migrated as they are read, and stay as they are stored until something changes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schema_specs import Spec, default_of, structs, type_of, values_of, whole
from tests.versioned_states import First, Second, Third

import headway as hw
from headway.errors import FlowError, IncompatibleStateError, UserCodeError
from headway.operators.expiring import Expiring
from headway.operators.lifetimes import ttl
from headway.operators.machine import StateMachine
from headway.operators.state_machine import RunStateMachine
from headway.operators.versions import Versioned, of_operator, of_type
from headway.state.database import ROWS, Database
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.options import StoreOptions
from headway.state.stage import OperatorSpec, StageStore

OPTIONS = StoreOptions(sync=False, cache_bytes=1)


def spec_of(state_type: Any) -> OperatorSpec:
    return OperatorSpec("cart", state_type, False, False, *of_type(state_type), id=1)


def open_stage(path: Path, spec: OperatorSpec) -> tuple[GroupStore, StageStore]:
    group = GroupStore.open(path, 3, OPTIONS)
    return group, group.stage("s", [spec], [InputCodec()])


def write(path: Path, spec: OperatorSpec, states: dict[str, Any], token: Optional[int], commits: int = 1) -> int:
    """Put states over what is there and commit, with further epochs perhaps; returns the version."""
    group, stage = open_stage(path, spec)
    with group:
        stage.resume(token)
        for key, state in states.items():
            row = stage.tables[0].fetch(key)
            row.state = state
            stage.tables[0].mark(row)
        for number in range(commits):
            stage.commit([token, number])
        return stage.version


def read(path: Path, spec: OperatorSpec, keys: list[str], token: Optional[int]) -> dict[str, Any]:
    group, stage = open_stage(path, spec)
    with group:
        stage.resume(token)
        return {key: stage.tables[0].fetch(key).state for key in keys}


def stored_rows(path: Path) -> dict[bytes, bytes]:
    database = Database(path, 3, OPTIONS)
    try:
        return dict(database.scan(ROWS, b"", b"\xff" * 5))
    finally:
        database.close()


KEYS = ("a", "b", "c", "d")


def converted(old: dict[str, Any], spec: Spec) -> dict[str, Any]:
    """Some state of another class, made of all of an old one."""
    text = repr(sorted(old.items(), key=repr))
    made: dict[str, Any] = {}
    for field, part, default in spec[5]:
        kind = part[0]
        if kind == "str":
            made[field] = text
        elif kind == "int":
            made[field] = len(text)
        elif kind == "any":
            made[field] = [text]
        else:
            made[field] = default_of(part, default)
    return made


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_read_one_by_one_are_all_migrated_at_once(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Any class to any other, whichever rows are changed and stored between; at a crash the pending delta is old."""
    path = tmp_path_factory.mktemp("state")
    old, new = data.draw(structs(1, is_state=True)), data.draw(structs(1, is_state=True))
    before, after = type_of(old), type_of(new)
    given_keys = st.dictionaries(st.sampled_from(KEYS), values_of(old, before), min_size=1)
    first, second = data.draw(given_keys), data.draw(given_keys)

    def as_read(state: Any) -> dict[str, Any]:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(state))  # type: ignore[no-any-return]

    def migrate(found: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        return converted(found, new)

    spec = OperatorSpec("cart", before, id=1)
    token = write(path, spec, first, None)
    after_second = write(path, spec, second, token)
    crashed = data.draw(st.booleans())  # The second epoch is pending; it is lost when not all workers committed it.
    token = token if crashed else after_second
    new_before, fresh = msgspec.msgpack.encode(before()), whole(after())
    model = dict.fromkeys(KEYS, fresh)
    for key, state in {**first, **({} if crashed else second)}.items():
        if msgspec.msgpack.encode(state) != new_before:  # Such a state is not stored.
            model[key] = whole(after(**converted(as_read(state), new)))
    now = OperatorSpec("cart", after, version=2, migrate=migrate, id=1)
    for _ in range(2):
        found = read(path, now, data.draw(st.permutations(KEYS)), token)
        assert {key: whole(found[key]) for key in KEYS} == model
        changes = data.draw(st.dictionaries(st.sampled_from(KEYS), values_of(new, after)))
        token = write(path, now, changes, token)
        model |= {key: whole(state) for key, state in changes.items()}


def test_rows_of_three_versions_lie_side_by_side(tmp_path: Path) -> None:
    token = write(tmp_path, spec_of(First), {"a": First(1.5), "b": First(2.5), "c": First(3.5)}, None, commits=2)
    token = write(tmp_path, spec_of(Second), {"b": Second(999)}, token, commits=2)
    token = write(tmp_path, spec_of(Third), {"c": Third([7, 8])}, token, commits=2)
    assert {value[:3] for value in stored_rows(tmp_path).values()} == {b"\1\0\1", b"\1\0\2", b"\1\0\3"}
    found = read(tmp_path, spec_of(Third), ["a", "b", "c"], token)
    assert found == {"a": Third([150]), "b": Third([999]), "c": Third([7, 8])}
    with pytest.raises(IncompatibleStateError, match=r"key 'c' .* is of version 3, the flow has version 2; run a"):
        read(tmp_path, spec_of(Second), ["c"], token)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    token = write(tmp_path, spec_of(First), {"a": First(1.5), "b": First(2.5)}, None, commits=2)
    before = stored_rows(tmp_path)
    group, stage = open_stage(tmp_path, spec_of(Second))
    with group:
        stage.resume(token)
        assert [stage.tables[0].fetch(key).state.cents for key in "ab"] == [150, 250]
        assert not stage.tables[0].changed
        stage.tables[0].mark(stage.tables[0].fetch("b"))
        stage.commit("x")
        stage.settle()
        assert stage.row_count == 2
    after = stored_rows(tmp_path)
    [changed] = [key for key in before if before[key] != after[key]]
    assert after[changed][:3] == b"\1\0\2"


def test_a_timer_finds_a_migrated_state(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, spec_of(First))
    with group:
        stage.resume(None)
        row = stage.tables[0].fetch("a")
        row.state.total = 1.5
        stage.tables[0].set_timer(row, "idle", 5_000)
        token = stage.commit("x")
    group, stage = open_stage(tmp_path, spec_of(Second))
    with group:
        stage.resume(token)
        entry = stage.timers.pop_due(9_000)
        assert entry is not None
        found = stage.tables[0].due_row(entry)
        assert found is not None
        assert (found.state, found.dirty) == (Second(150), True)


def test_times_of_timers_are_told_without_migrating(tmp_path: Path) -> None:
    group, stage = open_stage(tmp_path, spec_of(First))
    with group:
        stage.resume(None)
        stage.tables[0].set_timer(stage.tables[0].fetch("a"), "idle", 5_000)
        token = stage.commit("x")

    def never(old: Any, version: int) -> Any:
        raise AssertionError

    group, stage = open_stage(tmp_path, OperatorSpec("cart", Second, version=2, migrate=never, id=1))
    with group:
        stage.resume(token)
        stage.settle()
        assert list(stage.tables[0].stored_timers()) == [{"idle": 5_000}]


@pytest.mark.parametrize(
    ("migrate", "fault"),
    [
        (lambda old, version: old["missing"], r"raised KeyError\('missing'\)"),
        (lambda old, version: old.clear() or 1 / 0, r"raised ZeroDivisionError"),
        (lambda old, version: {"cents": "many"}, r"returned {'cents': 'many'}, which is no Second .*`int`, got `str`"),
        (lambda old, version: Second(cents=1.5), r"returned Second\(cents=1.5.*`int`"),  # type: ignore[arg-type]
        (lambda old, version: None, r"returned None, which is no Second"),
        (lambda old, version: {"cents": 2**70}, r"returned {'cents': 1180591620717411303424}"),
        (lambda old, version: {"note": object()}, r"returned {'note': <object object"),
    ],
)
def test_a_migration_that_fails_is_named(tmp_path: Path, migrate: Any, fault: str) -> None:
    token = write(tmp_path, spec_of(First), {"ann": First(1.5, "gift")}, None)
    expected = (
        rf"operator 'cart', key 'ann': migrate {fault}[\s\S]*, given the state of version 1: "
        r"{'total': 1.5, 'note': 'gift'}; nothing stored has changed. Mend it"
    )
    with pytest.raises(UserCodeError, match=expected):
        read(tmp_path, OperatorSpec("cart", Second, version=2, migrate=migrate, id=1), ["ann"], token)
    assert read(tmp_path, spec_of(Second), ["ann"], token) == {"ann": Second(150, "gift")}


def test_a_version_for_which_there_is_nothing_is_refused(tmp_path: Path) -> None:
    token = write(tmp_path, spec_of(First), {"ann": First(1.5)}, None)
    with pytest.raises(IncompatibleStateError, match=r"version 1, the flow has version 2; give the state's class a mi"):
        read(tmp_path, OperatorSpec("cart", Second, version=2, id=1), ["ann"], token)
    with pytest.raises(IncompatibleStateError, match=r"does not fit Other: .*or give the state state_version = 2 and"):
        other = msgspec.defstruct("Other", [("total", str, "")])
        read(tmp_path, OperatorSpec("cart", other, id=1), ["ann"], token)


class Count(hw.Operator[hw.Json, dict[str, Any]]):
    state_type = dict
    state_version = 2

    def migrate(self, old: Any, version: int) -> Any:
        return {"seen": old["count"]}

    def on_event(self, state: dict[str, Any], event: hw.Json, ctx: hw.Context) -> None:
        state["seen"] = state.get("seen", 0) + 1


class Spend(hw.Operator[hw.Json, Second]):
    def on_event(self, state: Second, event: hw.Json, ctx: hw.Context) -> None:
        state.cents += 1


def carried(operator: hw.Operator[Any, Any, Any], old: Any, version: int = 1) -> Any:
    """What an operator makes of stored builtins, as a state that it is given."""
    found = of_operator(operator)
    assert found.migrate is not None
    return msgspec.msgpack.decode(msgspec.msgpack.encode(found.migrate(old, version)), type=operator.state_type)


def test_an_operator_migrates_what_its_state_does_or_it_itself() -> None:
    assert of_operator(Spend()).version == 2
    assert carried(Spend(), {"total": 2.0, "note": ""}) == Second(200)
    assert carried(Count(), {"count": 3}) == {"seen": 3}
    assert of_operator(hw.Silence(after="1m").bind(hw.Json)) == (1, None)
    waiting: Any = hw.Silence(after="1m").with_migration(4, lambda old, version: {**old, "last": {"v": version}})
    assert of_operator(waiting).version == 4


def test_a_time_to_live_keeps_its_end_through_a_migration() -> None:
    for operator in (Expiring(Spend(), ttl("1d")), Expiring(Spend(), ttl("1d", clock="wall"))):
        assert of_operator(operator).version == 2
        assert carried(operator, {"total": 2.0, "note": ""}).cents == 200
    kept = carried(operator, {"total": 2.0, "note": "", "ttl_until_ms": 77})
    assert (kept.cents, kept.ttl_until_ms) == (200, 77)
    counting = Expiring(Count(), ttl("1d", clock="wall"))
    assert carried(counting, {"count": 3, "ttl_until_ms": 77}) == {"seen": 3, "ttl_until_ms": 77}


def test_a_state_machine_migrates_the_data_inside() -> None:
    machine = StateMachine("m", states=("new", "paid"), initial="new", final=("paid",), events="kind", data=Second)
    operator: Any = RunStateMachine(machine.on("new", "pay", to="paid"))
    made = carried(operator, {"state": "new", "since": 5, "data": {"total": 1.0, "note": "x"}})
    assert (made.state, made.since, made.data) == ("new", 5, Second(100, "x"))


class Unraised(hw.State):
    @classmethod
    def migrate(cls, old: Any, version: int) -> Any:
        return old


class Field(hw.State):
    state_version: int = 2  # type: ignore[misc]


class Method(hw.State):
    state_version: ClassVar[int] = 2

    def migrate(self, old: Any, version: int) -> Any:
        return old


class Zero(hw.State):
    state_version: ClassVar[int] = 0


@pytest.mark.parametrize(
    ("state_type", "fault"),
    [
        (Unraised, "Unraised has a migrate, which is never called for states of version 1: say state_version = 2"),
        (Field, r"Field.state_version is a field: for the version of the state write state_version: ClassVar\[int\]"),
        (Method, "Method.migrate makes a state that is not there yet: write @classmethod above it"),
        (Zero, "Zero: state_version = 0 must be a number from 1 to 65535"),
    ],
)
def test_what_is_no_version_is_refused_where_it_is_declared(state_type: Any, fault: str) -> None:
    class Wrong(hw.Operator[hw.Json, hw.State]):
        def __init__(self) -> None:
            self.state_type = state_type

    flow = hw.Flow("wrong")
    source = flow.source("source", hw.Json, hw.items([]), time="at")
    with pytest.raises(FlowError, match=fault):
        source.key_by("user").process("wrong", Wrong())


def test_a_state_without_a_version_is_of_the_first() -> None:
    assert of_type(First) == of_type(dict) == of_type(hw.State) == Versioned(1, None)
    named = msgspec.defstruct("Named", [("migrate", int, 0)])
    assert of_type(named) == Versioned(1, None), "a field of that name is no migration"
