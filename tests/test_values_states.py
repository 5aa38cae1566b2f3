"""What operators make: states are what is read back, what is emitted is of its type, and errors say who made it."""

from __future__ import annotations

import enum
import json
import re
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cluster_harness import Started

import headway as hw
from headway.connectors.base import Output
from headway.errors import UserCodeError
from headway.runtime.run import RunOptions, run_flow
from headway.testing import FlowTest
from headway.types.misfits import misfit_of
from headway.types.typekinds import can_repeat
from headway.types.values import shape_of


class Kept(hw.State):
    total: float = 0.0
    rate: Optional[float] = None
    count: int = 0
    prices: dict[str, float] = {}
    names: list[str] = []
    other: list[str] = []
    any: Any = None
    more: Any = None


class Total(hw.Event):
    total: float


class Do(hw.Operator[hw.Json, Kept, Total]):
    """Does what a test says with its state."""

    sides = {"any": hw.Json}

    def __init__(self, change: Any, *, shares_values: bool = False) -> None:
        self.change = change
        self.shares_values = shares_values

    def on_event(self, state: Kept, event: hw.Json, ctx: hw.Context[Total]) -> None:
        self.change(state, event, ctx)
        ctx.timer("later", event["at"] + 1_000_000)


def flow_of(change: Any, to: Any = None, **options: Any) -> hw.Flow:
    flow = hw.Flow("f")
    done = flow.source("s", hw.Json, hw.items([{"at": 5, "k": "a"}, {"at": 9, "k": "a"}]), time="at").key_by("k")
    made = done.process("op", Do(change, **options))

    def out(name: str) -> Output:
        return hw.to_list([]) if to is None else hw.to_jsonl(to / f"{name}.out")

    made.to("plain", out("plain"))
    made.map(lambda value: {"got": value.total}).to("mapped", out("mapped"))
    made.key_by(lambda value: "z").lag("lagged").to("moved", out("moved"))
    made.side("any").key_by(lambda value: "z").to("side", out("side"))
    return flow


def on_engine(change: Any, directory: Path, **options: Any) -> None:
    run_flow(flow_of(change, directory, **options), RunOptions(directory / "state", key_groups=2, sync=False))


def on_kit(change: Any, **options: Any) -> FlowTest:
    test = FlowTest(flow_of(change, **options))
    test.send("s", {"at": 5, "k": "a"})
    test.send("s", {"at": 9, "k": "a"})
    return test


def put(**values: Any) -> Any:
    def change(state: Kept, event: hw.Json, ctx: Any) -> None:
        for name, value in values.items():
            setattr(state, name, value)

    return change


def share(state: Kept, event: hw.Json, ctx: Any) -> None:
    state.names = state.other = ["x"]


def share_in_any(state: Kept, event: hw.Json, ctx: Any) -> None:
    state.any = event
    state.more = {"last": [event]}


class Name(str, enum.Enum):
    LATER = "later"


MISFITS: list[tuple[Any, str]] = [
    (put(count=40.5), r"state.count is 40.5 \(float\), expected an int"),
    (put(count=2**64), "ints"),
    (put(count=True), r"state.count is True \(bool\)"),
    (put(total="4"), r"state.total is '4' \(str\), expected float"),
    (put(prices={"a": 4}), r"state.prices\['a'\] is 4 \(int\), expected float: write float"),
    (put(prices={1: 4.0}), r"the key 1"),
    (put(names=("a",)), r"state.names is \('a',\) \(tuple\), expected a list"),
    (put(names=[Name.LATER]), r"state.names\[0\] is <Name.LATER"),
    (put(any=(1, 2)), r"state.any is \(1, 2\) \(tuple\).*write a list"),
    (put(any={"x": [{1}]}), r"state.any\['x'\]\[0\] is \{1\} \(set\).*no order"),
    (put(any="\ud800"), "surrogates"),
    (share, "state.names and state.other are one and the same list"),
    (share_in_any, r"state.any and state.more\['last'\]\[0\] are one and the same dict"),
    (lambda state, event, ctx: ctx.timer(5, 9_000), "the name of a timer is text"),
    (lambda state, event, ctx: ctx.timer("\ud800", 9_000), "surrogates"),
    (lambda state, event, ctx: ctx.emit(Total(total="x")), r"Total\(total='x'\).*which is not a Total"),  # type: ignore[arg-type]
    (lambda state, event, ctx: ctx.emit({"total": 1, "n": {1}}), "no order"),
    (lambda state, event, ctx: ctx.emit_to("any", {"n": 10**30}), "10{30}.*ints"),
    (lambda state, event, ctx: ctx.emit_to("any", {"n": {1}}), "holds a set"),
    (lambda state, event, ctx: ctx.emit_to("any", {"n": object()}), "object"),
]


@pytest.mark.parametrize(("change", "text"), MISFITS)
def test_what_would_not_come_back_ends_the_run_and_is_named(change: Any, text: str, tmp_path: Path) -> None:
    for run in (partial(on_engine, change, tmp_path), partial(on_kit, change)):
        with pytest.raises(UserCodeError) as caught:
            run()
        told = f"{caught.value} {caught.value.__cause__}"
        assert re.search(text, told), told
        assert "'a'" in told and ("5" in told or "9" in told)


def test_integers_in_float_fields_and_results_become_floats(tmp_path: Path) -> None:
    def change(state: Kept, event: hw.Json, ctx: Any) -> None:
        state.total, state.rate = 40, 2
        ctx.emit(Total(total=40))

    on_engine(change, tmp_path)
    kit = on_kit(change)
    assert repr(kit.state("op", "a").total) == "40.0" and repr(kit.state("op", "a").rate) == "2.0"
    for name, expected in (("plain", '{"total":40.0}'), ("mapped", '{"got":40.0}')):
        assert (tmp_path / f"{name}.out").read_text().splitlines()[0] == expected
        assert repr(kit.triggers(name)[0]) == repr(json.loads(expected))
    assert '"total":40.0' in (tmp_path / "moved.out").read_text()


def test_an_operator_that_changes_nothing_in_place_may_hold_a_value_twice(tmp_path: Path) -> None:
    on_engine(share_in_any, tmp_path, shares_values=True)
    on_kit(share_in_any, shares_values=True)


def test_parts_of_an_event_may_be_held_twice() -> None:
    class Both(hw.State):
        first: Optional[Item] = None
        last: Optional[Item] = None

    item = Item([1])
    shape = shape_of(Both, "x")
    assert shape.fits(Both(item, item), set())
    assert not shape.fits(Both(item, Item([2**64])), set())


class Item(hw.Event):
    numbers: list[int]


def test_a_timer_is_named_by_plain_text() -> None:
    kit = on_kit(lambda state, event, ctx: ctx.timer(Name.LATER, 5_000))
    assert {type(name) for name in kit.timers("op", "a")} == {str}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (dict[str, int], False),
        (dict[str, list[int]], True),
        (dict, True),
        (list[tuple[int, str]], False),
        (hw.Json, True),
        (Kept, True),
        (Optional[list[Item]], False),
    ],
)
def test_where_one_object_could_stand_twice(kind: Any, expected: bool) -> None:
    assert can_repeat(kind) is expected


PARTS = st.recursive(
    st.sampled_from([1, 1.5, "a", None, True, 2**64, (1,), b"x", object]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", 1, (1,)]), inner, max_size=3),
    max_leaves=6,
)


def plain(value: Any) -> bool:
    """Whether MessagePack gives a value back; the model."""
    if isinstance(value, (list, dict)):
        keys = list(value) if isinstance(value, dict) else []
        parts = list(value.values()) if isinstance(value, dict) else value
        return all(map(plain, [*keys, *parts]))
    return value is None or (type(value) in (int, float, str, bool, bytes) and value != 2**64)


@settings(deadline=None)
@given(PARTS)
def test_what_any_holds(value: Any) -> None:
    shape = shape_of(Any, "x")
    assert shape.fits(value, None) is plain(value)
    if not plain(value):
        assert "state" in misfit_of(shape, value, "state")


FLOW = """
import headway as hw


class Sums(hw.State):
    total: int = 0


class Sum(hw.Operator[hw.Json, Sums]):
    def on_event(self, sums, event, ctx):
        sums.total += 1
        if event["at"] == 900:
            ctx.emit({"total": 10**30} if event["emits"] else {})
            sums.total = sums.total if event["emits"] else 0.5
        ctx.timer("later", event["at"] + 1_000_000)


flow = hw.Flow("f")
sums = flow.source("s", hw.Json, hw.files("in.jsonl"), time="at").key_by("k").process("sum", Sum())
sums.key_by(lambda value: "z").lag("last").to("out", hw.to_jsonl("out.jsonl"))
"""


@pytest.mark.parametrize("emits", [True, False])
def test_two_workers_end_at_once_and_say_why(emits: bool, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(FLOW)
    lines = [{"at": at, "k": f"k{at % 7}", "emits": emits} for at in range(1_000)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, told = Started(tmp_path, "f.py", "--workers", 2, "--quiet").outcome()
    assert code == 1
    assert "'sum'" in told and "key 'k4'" in told and ("at time 900" in told or "at time 998" in told)
    assert "restart" not in told and "panic" not in told
