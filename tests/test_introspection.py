"""Whatever looks at an object of Headway finds it well-behaved: `hasattr`, completion, copies, pickles, help pages."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import rlcompleter
from collections.abc import Callable
from typing import Any

import pytest

import headway as hw
from headway.explain.text import explain_text
from headway.operators.base import BroadcastContext
from headway.plan.planner import compile_plan
from headway.testing import FlowTest


class Shop(hw.Event):
    user: str
    kind: str
    at: hw.Time


class Count(hw.State):
    n: int = 0


class Tally(hw.Operator[Shop, Count]):
    sides = {"odd": int}

    def on_event(self, state: Count, event: Shop, ctx: hw.Context) -> None:
        state.n += 1
        ctx.emit({"n": state.n})
        if state.n % 2:
            ctx.emit_to("odd", state.n)


def is_add(event: Shop) -> bool:
    return event.kind == "add"


def add_up(count: Count, event: Shop) -> None:
    count.n += 1


def make_objects() -> dict[str, Any]:
    """One of each kind that a user holds; all belong to one flow."""
    flow = hw.Flow("shop")
    flow.param("limit", 3)
    source = flow.source("shop", Shop, hw.items([]), time="at")
    ingested = flow.source("now", Shop, hw.items([]), time=hw.INGESTION_TIME)
    keyed = source.key_by("user")
    processed = keyed.process("tally", Tally())
    machine = hw.StateMachine("door", states=("a", "b"), initial="a", events="kind").on("a", "b", to="b")
    pattern = hw.once(kind="add").then_absent(kind="checkout", within="1h")
    found = {
        "flow": flow,
        "graph": flow.graph,
        "parameter": flow.parameters["limit"],
        "source": source,
        "ingested": ingested,
        "late": source.late,
        "dead letters": source.dead_letters,
        "stream": source.filter(is_add),
        "keyed": keyed,
        "processed": processed,
        "side": processed.side("odd"),
        "where": hw.where(kind="add"),
        "where stream": keyed.filter(hw.where(kind="add")),
        "broadcast": source.broadcast(),
        "broadcast state": source.broadcast_state(Count, add_up),
        "match": keyed.match("matched", pattern),
        "window": keyed.window("hourly", hw.tumbling("1h"), n=hw.count()),
        "aggregate": keyed.aggregate("running", n=hw.count()),
        "lookup": hw.lookup("nowhere.csv", key="user"),
        "broadcast context": BroadcastContext(3),
        "expiring": hw.Expiring(Tally(), hw.ttl("1d")),
        "operator": Tally(),
        "machine": machine,
        "pattern": pattern,
    }
    for value in (
        *(hw.tumbling("1h"), hw.sliding("1h", every="1m"), hw.session("1m"), hw.count_window(3), hw.every(3)),
        *(hw.daily("Europe/Berlin"), hw.ttl("1d"), hw.skip_to_next(), hw.count(), hw.sum("at"), hw.distinct("kind")),
        *(hw.files("*.jsonl"), hw.stdin(), hw.items([]), hw.to_jsonl("out.jsonl"), hw.to_stdout(), hw.to_list([])),
        hw.INGESTION_TIME,
    ):
        found[f"{type(value).__name__} of headway"] = value
    processed.trigger("tallied", hw.to_list([]))
    return found


NAMES = sorted(make_objects())
ATTRIBUTES = sorted(
    {name for value in make_objects().values() for name in dir(value)}
    | {"nope", "_repr_html_", "_ipython_canary_method_should_not_exist_", "__wrapped__", "__array__", "__deepcopy__"}
    | {"emit", "emit_to", "timer", "cancel", "due", "forget", "key", "shared", "wall"}
)

each_object = pytest.mark.parametrize("name", NAMES)


def shape_of(flow: hw.Flow) -> Any:
    return list(flow.graph.nodes), flow.graph.types, flow.graph.keyed, explain_text(flow, compile_plan(flow.graph))


@each_object
def test_an_attribute_is_there_or_is_not(name: str) -> None:
    """Nothing but `AttributeError` says that it is not, whatever is asked for, and `dir` names what is there."""
    value = make_objects()[name]
    for attribute in ATTRIBUTES:
        there = hasattr(value, attribute)
        assert there or getattr(value, attribute, None) is None
        assert there or attribute not in dir(value)


@each_object
def test_looking_at_it_changes_nothing(name: str) -> None:
    objects = make_objects()
    flow, value = objects["flow"], objects[name]
    before = str(shape_of(flow))
    assert repr(value)
    assert bool(value) in (True, False)
    assert inspect.getmembers(value)
    completer = rlcompleter.Completer({"it": value})
    completer.complete("it.", 0)
    assert pydoc.render_doc(value)
    assert str(shape_of(flow)) == before


@each_object
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_one_of_the_same(name: str, copied: Callable[[Any], Any]) -> None:
    value = make_objects()[name]
    again = copied(value)
    assert type(again) is type(value)
    if " at 0x" not in repr(value):
        assert repr(again) == repr(value)


def test_a_deep_copy_of_a_flow_is_a_flow_of_its_own() -> None:
    flow = make_objects()["flow"]
    again = copy.deepcopy(flow)
    shape = str(shape_of(flow))
    assert str(shape_of(again)) == shape
    again.source("more", Shop, hw.items([]), time="at").to("copied", hw.to_list([]))
    assert str(shape_of(flow)) == shape


def test_a_deep_copy_runs_as_its_original() -> None:
    """Marks such as INGESTION_TIME are the same in a copy, whatever compares them."""
    flow = hw.Flow("now")
    source = flow.source("now", Shop, hw.items([]), time=hw.INGESTION_TIME)
    source.key_by("user").process("tally", Tally()).trigger("tallied", hw.to_list([]))
    told = []
    for each in (flow, copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        test = FlowTest(each)
        test.advance(to=1_000)
        test.send("now", Shop("ann", "add", 5))
        test.drain()
        told.append([trigger["data"] for trigger in test.triggers("tallied")])
    assert told[0] == told[1] == told[2] == [{"n": 1}]


@each_object
def test_a_pickle_is_whole_or_refused_by_pickle(name: str) -> None:
    """Functions without a name of their own cannot be pickled, and some steps hold such; pickle says so itself."""
    value = make_objects()[name]
    try:
        data = pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        assert "pickle" in str(error)
    else:
        assert type(pickle.loads(data)) is type(value)


def test_a_step_that_needs_a_key_says_so_when_it_is_called() -> None:
    stream = make_objects()["source"]
    assert not hasattr(stream, "window")
    with pytest.raises(hw.FlowError, match=r'write \.key_by\("field"\)\.window\(\.\.\.\)'):
        stream.window("hourly", hw.tumbling("1h"), n=hw.count())


class Asks(hw.Operator[Shop, Count]):
    def on_event(self, state: Count, event: Shop, ctx: hw.Context) -> None:
        ctx.emit({name: hasattr(ctx, name) for name in ("shared", "wall", "key", "nope")})


def test_a_handler_may_ask_what_its_context_has() -> None:
    flow = hw.Flow("asks")
    source = flow.source("shop", Shop, hw.items([]), time="at")
    source.key_by("user").process("asks", Asks()).trigger("answers", hw.to_list([]))
    test = FlowTest(flow)
    test.send("shop", Shop("ann", "add", 5))
    test.drain()
    assert test.triggers()[0]["data"] == {"shared": False, "wall": False, "key": True, "nope": False}
