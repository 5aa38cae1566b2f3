"""The compiler: what fuses, where an exchange stands, and in which order inputs are taken."""

from __future__ import annotations

from typing import Any

import pytest

import headway as hw
from headway.graph import DEAD_LETTERS, LATE, MAIN, Port
from headway.plan.planner import compile_plan
from headway.plan.stages import Apply, Plan, Segment, SourceStage, ToOperator, ToSink, ToStage
from headway.results import Absent


class Seen(hw.State):
    n: int = 0


class Pass(hw.Operator[hw.Json, Seen]):
    """Any operator will do: nothing runs here."""

    sides = {"side": hw.Json}


class Declaring:
    """A flow in the making."""

    def __init__(self) -> None:
        self.flow = hw.Flow("f")

    def source(self, name: str = "s") -> hw.SourceStream[hw.Json]:
        return self.flow.source(name, hw.Json, hw.items([]), time="at")

    @property
    def plan(self) -> Plan:
        return compile_plan(self.flow.graph)


@pytest.fixture
def declaring() -> Declaring:
    return Declaring()


def out() -> Any:
    return hw.to_list([])


def stages(plan: Plan) -> list[list[str]]:
    """The names of the operators of each keyed stage."""
    return [[node.name for node in stage.operators] for stage in plan.stages]


def edges(plan: Plan) -> list[tuple[str, str, int, list[int]]]:
    """Every exchange: producer, target, rank there, and ranks of the operators that take its values."""
    return [
        (str(edge.producer), edge.target, edge.rank, [entry.rank for entry in edge.entries]) for edge in plan.edges()
    ]


def shape(segment: Segment) -> list[Any]:
    """A segment as nested lists: a step is `[name, what follows ...]`, an end says where it leads."""
    found: list[Any] = []
    for branch in segment.branches:
        if isinstance(branch, Apply):
            found.append([branch.node.name, *shape(branch.then)])
        elif isinstance(branch, ToOperator):
            found.append(f"operator {branch.entry.rank}")
        else:
            assert isinstance(branch, (ToStage, ToSink))
            found.append(f"{'stage' if isinstance(branch, ToStage) else 'sink'} {branch.edge.target}")
    return found


def main(source: SourceStage) -> list[Any]:
    return shape(source.ports[MAIN])


def test_stateless_steps_fuse_into_their_source(declaring: Declaring) -> None:
    mapped = declaring.source().map(dict, name="m").filter(bool, name="f")
    mapped.flat_map(lambda event: [event], name="fm").to("one", out())
    mapped.to("two", out())
    plan = declaring.plan
    assert (len(plan.sources), plan.stages, [sink.name for sink in plan.sinks]) == (1, [], ["one", "two"])
    assert main(plan.sources[0]) == [["m", ["f", ["fm", "sink one"], "sink two"]]]


def test_stateless_steps_fuse_into_the_operator_before_them(declaring: Declaring) -> None:
    first = declaring.source().key_by("k", name="k").process("op", Pass())
    first.map(dict, name="m").to("out", out())
    first.side("side").filter(bool, name="f").to("aside", out())
    stage = declaring.plan.stages[0]
    assert shape(stage.outputs[Port("op")]) == [["m", "sink out"]]
    assert shape(stage.outputs[Port("op", "side")]) == [["f", "sink aside"]]


def test_operators_on_one_key_run_together_with_one_exchange_before_them(declaring: Declaring) -> None:
    first = declaring.source().key_by("k", name="k").process("a", Pass())
    first.filter(bool, name="f").process("b", Pass()).process("c", Pass()).to("out", out())
    plan = declaring.plan
    assert stages(plan) == [["a", "b", "c"]]
    assert edges(plan) == [("s", "a", 0, [0]), ("c", "out", 0, [])]
    assert shape(plan.stages[0].outputs[Port("a")]) == [["f", "operator 1"]]
    assert shape(plan.stages[0].outputs[Port("b")]) == ["operator 2"]


def test_operators_that_read_one_key_by_share_the_stage_and_the_exchange(declaring: Declaring) -> None:
    keyed = declaring.source().key_by("k", name="k")
    keyed.process("a", Pass()).to("out", out())
    keyed.process("b", Pass()).to("out2", out())
    plan = declaring.plan
    assert stages(plan) == [["a", "b"]]
    assert edges(plan)[0] == ("s", "a", 0, [0, 1])
    assert main(plan.sources[0]) == [["k", "stage a"]]


def test_steps_before_an_operator_part_the_exchange(declaring: Declaring) -> None:
    keyed = declaring.source().key_by("k", name="k")
    keyed.process("a", Pass())
    keyed.filter(bool, name="f").process("b", Pass())
    plan = declaring.plan
    assert stages(plan) == [["a", "b"]]
    assert edges(plan) == [("s", "a", 0, [0]), ("s", "a", 1, [1])]
    assert main(plan.sources[0]) == [["k", "stage a", ["f", "stage a"]]]


def test_two_key_bys_are_two_stages(declaring: Declaring) -> None:
    events = declaring.source()
    events.key_by("k", name="k1").process("a", Pass())
    events.key_by("l", name="k2").process("b", Pass())
    plan = declaring.plan
    assert stages(plan) == [["a"], ["b"]]
    assert main(plan.sources[0]) == [["k1", "stage a"], ["k2", "stage b"]]


def test_another_key_begins_another_stage(declaring: Declaring) -> None:
    first = declaring.source().key_by("k", name="k1").process("a", Pass())
    first.map(dict, name="m").key_by("l", name="k2").process("b", Pass()).process("c", Pass()).to("out", out())
    plan = declaring.plan
    assert stages(plan) == [["a"], ["b", "c"]]
    assert edges(plan) == [("s", "a", 0, [0]), ("a", "b", 0, [0]), ("c", "out", 0, [])]
    assert shape(plan.stages[0].outputs[Port("a")]) == [["m", ["k2", "stage b"]]]
    assert [edge.from_source for edge in plan.edges()] == [True, False, False]


def test_merged_sources_are_inputs_in_the_order_of_the_merge(declaring: Declaring) -> None:
    one, two = declaring.source("one"), declaring.source("two")
    two.key_by("k").merge(one.key_by("k")).process("op", Pass()).to("out", out())
    two.merge(one).to("plain", out())
    plan = declaring.plan
    assert stages(plan) == [["op"]]
    assert edges(plan) == [
        ("two", "op", 0, [0]),
        ("one", "op", 1, [0]),
        ("op", "out", 0, []),
        ("two", "plain", 0, []),
        ("one", "plain", 1, []),
    ]


def test_back_to_the_first_key_and_merged_with_its_stream(declaring: Declaring) -> None:
    a = declaring.source().key_by("a", name="a")
    x = a.process("x", Pass())
    y = x.key_by("b", name="b").process("y", Pass())
    y.key_by("a", name="again").merge(x, a).process("z", Pass()).to("out", out())
    plan = declaring.plan
    assert stages(plan) == [["x"], ["y"], ["z"]]
    assert edges(plan) == [
        ("s", "x", 0, [0]),
        ("x", "y", 0, [0]),
        ("y", "z", 0, [0]),
        ("x", "z", 1, [0]),
        ("s", "z", 2, [0]),
        ("z", "out", 0, []),
    ]
    assert main(plan.sources[0]) == [["a", "stage x", "stage z"]]


def test_operators_merged_on_one_key_stay_in_one_stage(declaring: Declaring) -> None:
    keyed = declaring.source().key_by("k", name="k")
    a, b = keyed.process("a", Pass()), keyed.process("b", Pass())
    b.merge(a, keyed).process("c", Pass()).to("out", out())
    plan = declaring.plan
    assert stages(plan) == [["a", "b", "c"]]
    assert edges(plan) == [("s", "a", 0, [0, 1, 2]), ("c", "out", 0, [])]
    assert shape(plan.stages[0].outputs[Port("b")]) == ["operator 2"]


def test_a_branch_is_two_steps_with_one_predicate(declaring: Declaring) -> None:
    met, others = declaring.source().branch(hw.where(kind="buy"), name="b")
    met.to("bought", out())
    others.to("rest", out())
    plan = declaring.plan
    assert main(plan.sources[0]) == [["b", "sink bought"], ["b.else", "sink rest"]]
    branches = [branch for branch in plan.sources[0].ports[MAIN].branches if isinstance(branch, Apply)]
    buy, view = {"kind": "buy"}, {"kind": "view"}
    assert [[branch.node.function(event) for event in (buy, view)] for branch in branches if branch.node.kind] == [  # type: ignore[union-attr]
        [True, False],
        [True, False],
    ]


def test_late_events_and_dead_letters_leave_by_their_own_ports(declaring: Declaring) -> None:
    events = declaring.source()
    events.late.to("late", out())
    events.dead_letters.map(str, name="m").to("dead", out())
    source = declaring.plan.sources[0]
    assert (main(source), shape(source.ports[LATE])) == ([], ["sink late"])
    assert shape(source.ports[DEAD_LETTERS]) == [["m", "sink dead"]]


def test_dead_letters_that_nobody_reads_go_to_the_given_output(declaring: Declaring) -> None:
    declaring.source("one").to("out", out())
    declaring.source("two").dead_letters.to("mine", out())
    declaring.source("three").to("out3", out())
    plan = compile_plan(declaring.flow.graph, dead_letters=out())
    inputs = {sink.name: [str(edge.producer) for edge in sink.inputs] for sink in plan.sinks}
    assert inputs["dead-letters"] == ["one.dead-letters", "three.dead-letters"]
    assert inputs["mine"] == ["two.dead-letters"]
    assert "dead-letters" not in declaring.flow.graph.nodes


def test_edges_know_the_type_of_their_values(declaring: Declaring) -> None:
    class Click(hw.Event):
        user: str
        at: hw.Time

    def to_click(event: hw.Json) -> Click:
        return Click(event["user"], event["at"])

    clicks = declaring.source().map(to_click)
    clicks.key_by("user").absence("gone", start=bool, end=bool, within="1h").to("gone.out", out())
    clicks.filter(bool).map(lambda click: click.user).key_by(str).process("op", AnyPass()).to("op.out", out())
    types = {(edge.target): edge.value_type for edge in declaring.plan.edges()}
    assert types["gone"] is Click
    assert types["gone.out"] == Absent[Click]
    assert types["op"] is Any


class AnyPass(hw.Operator[Any, Seen]):
    """Takes everything."""


def test_a_plan_is_the_same_each_time(declaring: Declaring) -> None:
    keyed = declaring.source().key_by("k")
    keyed.process("a", Pass()).key_by("l").process("b", Pass()).merge(keyed).to("out", out())
    assert declaring.plan == declaring.plan
    assert [edge.id for edge in declaring.plan.edges()] == list(range(len(declaring.plan.edges())))
