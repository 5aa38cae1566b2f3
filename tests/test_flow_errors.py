"""Every mistake in a declaration is a `FlowError` that names the user's line, the offending value and the way out."""

from __future__ import annotations

from typing import Any

import pytest

import headway as hw
from headway.graph import KeyByNode, MergeNode, OperatorNode, Port, SinkNode
from headway.operators.absence import Absence
from headway.plan.planner import compile_plan


class Shop(hw.Event):
    user: str
    at: hw.Time
    price: float = 0.0


class Cart(hw.State):
    total: float = 0.0


class Sum(hw.Operator[Shop, Cart]):
    """Adds up prices."""


class NoDefault(hw.State):
    total: float


class Careless(hw.Operator[Shop, NoDefault]):
    """Its state cannot start empty."""


def names() -> dict[str, Any]:
    """What the lines below see: a flow with some streams."""
    flow = hw.Flow("shop")
    events = flow.source("events", Shop, hw.items([]), time="at")
    return {
        **globals(),
        "__name__": "my_flow",
        "flow": flow,
        "events": events,
        "objects": flow.source("objects", hw.Json, hw.items([]), time="at"),
        "carts": events.key_by("user", name="carts"),
        "other": hw.Flow("other").source("theirs", Shop, hw.items([]), time="at"),
        "log": hw.items([]),
        "out": hw.to_list([]),
    }


MISTAKES = [
    ("flow.source('events', Shop, log, time='at')", r"'events' is used twice: first at \S+\.py:\d+; every step needs"),
    ("events.to('out', out); events.to('out', out)", r"'out' is used twice: first at my_flow\.py:7; every step needs"),
    ("events.map(len, name='a b')", "'a b' is not a name for a step: use letters"),
    ("hw.Flow('a/b')", "'a/b' is not a name for a flow: use letters"),
    ("flow.param('after', '1h'); flow.param('after', '1h')", "parameter 'after' is declared twice"),
    # Sources and outputs.
    ("flow.source('more', Shop, log)", "source 'more' has no time: say where the time of a Shop is, with time="),
    ("flow.source('more', Shop, log, time='when')", "time='when': Shop has no field 'when', its fields are user, at"),
    ("flow.source('more', Shop, log, time=5)", "time=5 is neither a field's name, nor a function, nor hw.INGESTION_"),
    ("flow.source('more', Shop, log, time='at', out_of_order='soon')", "out_of_order 'soon' is not a length of time"),
    ("flow.source('more', Shop, log, time='at', idle_after=-1)", "idle_after -1 is not a length of time"),
    ("flow.source('more', Shop, 'a.jsonl', time='at')", "'a.jsonl' is not an input: use hw.files"),
    ("events.to('all', 'a.jsonl')", "'all': 'a.jsonl' is not an output: use hw.to_jsonl"),
    ("events.trigger('bought', out, name='b/c')", "'b/c' is not a name for a step"),
    ("events.trigger('', out)", "a trigger needs a type, such as \"cart.abandoned\", not ''"),
    # Keys.
    (
        "events.process('sum', Sum())",
        r"process\(\) keeps state .* has none: write \.key_by\(\"field\"\)\.process\(",
    ),
    (
        "events.absence('gone', start=bool)",
        r"absence\(\) keeps state .* write \.key_by\(\"field\"\)\.absence\(",
    ),
    ("events.key_by('usr')", r"key_by\('usr'\): Shop has no field 'usr', its fields are user, at, price"),
    ("carts.key_by('usr')", r"key_by\('usr'\): Shop has no field 'usr', its fields are user, at, price"),
    ("events.key_by(5)", "needs the name of a field or a function of the event, not 5"),
    ("events.merge(carts)", r"merge\(\): events and carts must either both have a key or both have none"),
    ("carts.merge(events)", r"merge\(\): carts and events must either both have a key or both have none"),
    ("events.merge(other)", "the stream theirs belongs to the flow 'other', not to 'shop'"),
    ("events.merge('late')", r"merge\(\) takes streams, not 'late'"),
    # Conditions and functions.
    ("events.filter(hw.where(usr=1))", r"where\(usr=\.\.\.\): Shop has no field 'usr', its fields are user, at, price"),
    ("carts.branch(hw.where(usr=1))", r"where\(usr=\.\.\.\): Shop has no field 'usr', its fields are user, at, price"),
    ("carts.absence('gone', start=hw.where(usr=1), end=bool, within='1h')", r"where\(usr=\.\.\.\): Shop has no field"),
    ("carts.absence('gone', start=bool, end=bool, within='1 parsec')", "within '1 parsec' is not a length of time"),
    ("events.filter('user')", r"must be a function of the event or where\(field=value\), not 'user'"),
    ("events.map(5)", r"map\(\) needs a function of one event, not 5"),
    ("events.flat_map(None)", r"flat_map\(\) needs a function of one event, not None"),
    # Operators.
    ("carts.process('sum', Sum)", r"process\('sum'\): <class .*Sum'> is not an operator: pass Sum\(\.\.\.\)"),
    ("carts.process('sum', len)", r"process\('sum'\): <built-in .* is not an operator: pass an object of a class"),
    ("objects.key_by('user').process('sum', Sum())", "Sum takes Shop, but the stream key_by-1 has Json"),
    (
        "carts.process('sum', Careless())",
        "NoDefault, the state of Careless, cannot start empty.*give every field a def",
    ),
    ("carts.process('sum', Sum()).side('left')", "the operator 'sum' has no side output 'left'; it has none"),
]


@pytest.mark.parametrize(("line", "text"), MISTAKES)
def test_the_message_names_line_value_and_way_out(line: str, text: str) -> None:
    with pytest.raises(hw.FlowError, match=text) as raised:
        exec(compile("\n" * 6 + line, "my_flow.py", "exec"), names())
    assert str(raised.value).startswith("my_flow.py:7: ")


def test_a_call_over_several_lines_is_named_by_one_of_them() -> None:
    code = "events.key_by(\n    'usr',\n)"
    with pytest.raises(hw.FlowError, match=r"^my_flow\.py:[123]: key_by"):
        exec(compile(code, "my_flow.py", "exec"), names())


def test_a_flow_made_by_a_function_of_the_user_is_named_by_the_innermost_line() -> None:
    code = "def build():\n    events.key_by('usr')\n\nbuild()"
    with pytest.raises(hw.FlowError, match=r"^my_flow\.py:2: key_by"):
        exec(compile(code, "my_flow.py", "exec"), names())


def test_a_flow_needs_a_source() -> None:
    with pytest.raises(hw.FlowError, match=r"the flow 'empty' has no source: declare one with flow\.source\(\.\.\.\)"):
        compile_plan(hw.Flow("empty").graph)


def test_a_cycle_is_shown_as_it_goes() -> None:
    flow = hw.Flow("shop")
    flow.source("events", Shop, hw.items([]), time="at").key_by("user", name="carts")
    gone = Absence[Shop](start=bool, end=bool, within="1h").bind(Shop)
    nodes = flow.graph.nodes
    nodes["both"] = MergeNode("both", "flow.py:7", (Port("carts"), Port("back")))
    nodes["gone"] = OperatorNode("gone", "flow.py:8", Port("both"), gone)
    nodes["back"] = KeyByNode("back", "flow.py:9", Port("gone"), "user")
    nodes["out"] = SinkNode("out", "flow.py:10", Port("gone"), hw.to_list([]), None)
    with pytest.raises(hw.FlowError, match=r"^flow\.py:7: the flow 'shop' has a cycle, both -> back -> gone -> both: "):
        compile_plan(flow.graph)
