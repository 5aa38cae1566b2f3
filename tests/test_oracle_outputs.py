"""The oracle against examples computed by hand: triggers, dead letters and errors of the flow's own code."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from tests.oracle_flows import Handler, Run, Tally, emit_each, event, keyed, lines, run, see, source

import headway as hw
from headway.errors import UserCodeError
from headway.testing import Oracle, run_oracle


def trigger_id(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def test_triggers_of_an_operator_are_cloud_events_with_ids_made_of_their_place() -> None:
    flow = hw.Flow("f")
    twice = emit_each(lambda event: [{"n": n} for n in (0, 1)])
    source(flow).key_by("key").process("op", twice).trigger("done", hw.to_list([]), name="out")
    found = lines(run(flow, event(1_000), event(1_001)))
    expected = [
        {
            "specversion": "1.0",
            "id": trigger_id(f"f/out/op/main/1000/{n}/a"),
            "source": "/headway/f",
            "type": "done",
            "subject": "a",
            "time": "1970-01-01T00:00:01.000Z",
            "datacontenttype": "application/json",
            "data": {"n": n},
        }
        for n in (0, 1)
    ]
    assert found == sorted(expected, key=lambda trigger: str(trigger["id"]))
    assert list(found[0]) == list(expected[0])


def test_triggers_of_a_source_have_no_subject_and_carry_their_place_in_the_log() -> None:
    flow = hw.Flow("f")
    source(flow).flat_map(lambda event: [1, 2]).trigger("done", hw.to_list([]), name="out")
    found = lines(run(flow, event(5), event(6)))
    assert {line["id"] for line in found} == {trigger_id(f"f/out/s/main/5/0.{n}/p") for n in (0, 1)}
    assert all("subject" not in line for line in found)


def test_a_rekeyed_trigger_names_the_new_key_and_is_counted_by_the_old_one() -> None:
    flow = hw.Flow("f")
    source(flow).key_by("key").process("op", see("x")).key_by("saw").trigger("done", hw.to_list([]), name="out")
    found = lines(run(flow, event(5, 7), event(6)))
    assert [(line["subject"], line["id"]) for line in found] == [("7", trigger_id("f/out/op/main/5/0/a"))]


def test_lines_are_written_in_the_order_of_time_and_id() -> None:
    flow = hw.Flow("f")
    source(flow, out_of_order=100).trigger("done", hw.to_list([]), name="out")
    found = lines(run(flow, *[event(at) for at in (7, 5, 7, 5, 6, 7)], drain=True))
    assert found == sorted(found, key=lambda line: (line["time"], line["id"]))
    assert [line["data"]["at"] for line in found] == [5, 5, 6, 7, 7, 7]


def test_side_outputs_leave_on_their_own() -> None:
    flow = hw.Flow("f")
    stream = source(flow).key_by("key").process("op", Run(lambda state, event, ctx: ctx.emit_to("side", event)))
    stream.to("out", hw.to_list([]))
    stream.side("side").trigger("beside", hw.to_list([]))
    result = run(flow, event(1, 5), event(2))
    assert result.outputs["out"] == []
    assert [line["id"] for line in lines(result, "beside")] == [trigger_id("f/beside/op/side/1/0/a")]


class Typed(hw.Event):
    key: Any
    at: hw.Time


def test_dead_letters_say_where_why_and_what() -> None:
    flow = hw.Flow("f")
    stream = flow.source("s", Typed, hw.items([]), time="at")
    stream.key_by("key").process("op", Run(lambda state, event, ctx: ctx.emit({"key": ctx.key}))).to(
        "out", hw.to_list([])
    )
    stream.dead_letters.to("dead", hw.to_list([]))
    records = [
        b'{"key": "a", "at": 1}',
        b"",
        b'{"key": "a"}',
        b"\xff{}",
        b'{"key": 2, "at": 2}',
        b'{"key": null, "at": 3}',
        {"key": "d", "at": "x"},
        Typed(key="e", at=2**62),
        b'{"key": "f", "at": 9}',
    ]
    result = run_oracle(flow, {"s": {"p": records}})
    assert [(letter.position, letter.reason, letter.raw) for letter in result.dead_letters["s"]] == [
        ("line 3, byte 23", "Object missing required field `at`", '{"key": "a"}'),
        ("line 4, byte 36", "not UTF-8: byte 0xff, number 0 of the text (invalid start byte)", "\\xff{}"),
        ("line 6, byte 60", "key_by-1: the key is None, expected text or an integer", '{"key": null, "at": 3}'),
        ("item 6", "Invalid RFC3339 encoded datetime - at `$.at`", '{"key":"d","at":"x"}'),
        ("item 7", f"time: {2**62} is not in the years 1000 to 8999", '{"key":"e","at":4611686018427387904}'),
    ]
    # A stream that a flow reads is written in the order of time and id, as all are.
    assert sorted(lines(result, "dead"), key=str) == sorted(msgspec.to_builtins(result.dead_letters["s"]), key=str)
    assert lines(result) == [{"key": "a"}, {"key": "2"}]


def test_times_are_read_from_fields_functions_and_text() -> None:
    flow = hw.Flow("f")
    stream = flow.source("s", hw.Json, hw.items([]), time=lambda event: event["meta"]["at"])
    stream.trigger("out", hw.to_list([]))
    records = [
        {"meta": {"at": "1970-01-01T00:00:00.005Z"}},
        {"meta": {}},
        {"meta": {"at": True}},
        {"meta": {"at": 7.0}},
    ]
    result = run(flow, *records, drain=True)
    assert [line["time"][-4:] for line in lines(result)] == ["005Z", "007Z"]
    assert [letter.reason for letter in result.dead_letters["s"]] == [
        "time: no field 'at'",
        "time: True is not a time: expected epoch milliseconds or RFC 3339 text",
    ]


def boom(*args: Any) -> Any:
    msg = "boom"
    raise RuntimeError(msg)


def wrong_state(state: Any, event: Any, ctx: Any) -> None:
    state.n = "text"


def test_an_error_in_a_handler_names_operator_key_time_and_event() -> None:
    with pytest.raises(
        UserCodeError, match=r"Run.on_event of the operator 'op' failed for key 'a' at time 5.*'n': 3"
    ) as e:
        run(keyed(boom), event(5, 3), event(9))
    assert isinstance(e.value.__cause__, RuntimeError)
    with pytest.raises(UserCodeError, match=r"Run.on_timer of the operator 'op' failed.*Timer\(name='t', at=8\)"):
        run(keyed(lambda state, event, ctx: ctx.timer("t", 8), boom), event(5), event(9))


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (wrong_state, "the state of the operator 'op' for key 'a' cannot be stored"),
        (lambda state, event, ctx: ctx.emit_to("sied", {}), "no side output 'sied'; its sides are: side"),
        (lambda state, event, ctx: ctx.timer("t", 1.5), "1.5 is not a time in epoch milliseconds"),
        (lambda state, event, ctx: ctx.timer("t", 2**63), "which is after the year 9999"),
        (
            lambda state, event, ctx: ctx.emit({"x": object()}),
            "output 'out' that 'a' sent at time 5 cannot be written as JSON",
        ),
    ],
)
def test_what_a_handler_may_not_do(handler: Handler, text: str) -> None:
    with pytest.raises(UserCodeError, match=text):
        run(keyed(handler), event(5), event(9))


@pytest.mark.parametrize("step", ["map", "filter", "flat_map"])
def test_an_error_in_a_step_names_step_line_and_record(step: str) -> None:
    flow = hw.Flow("f")
    getattr(source(flow), step)(boom, name="breaks").to("out", hw.to_list([]))
    with pytest.raises(
        UserCodeError,
        match=r"'breaks' \(.*test_oracle_outputs.py:\d+\) failed with RuntimeError: boom; record 1 of 'p'",
    ):
        run(flow, {"at": None}, event(5))


def test_a_missing_key_after_an_operator_is_an_error() -> None:
    flow = hw.Flow("f")
    source(flow).key_by("key").process("op", see("x")).key_by("nothing", name="again").to("out", hw.to_list([]))
    with pytest.raises(UserCodeError, match=r"'again'.*KeyError: 'nothing'; key 'a' at time 5"):
        run(flow, event(5), event(6))


def test_a_value_that_would_not_arrive_as_it_left_is_an_error() -> None:
    def typed(event: Any) -> Any:
        return Typed(key=event["key"], at=event["at"])

    flow = hw.Flow("f")
    source(flow).map(typed).key_by("key").process("op", see("x")).to("out", hw.to_list([]))
    with pytest.raises(UserCodeError, match=r"to 'op', key 'a', time 5: .*Typed.*arrive as dict"):
        run(flow, event(5), event(6))


class Count(hw.Operator[Typed, Tally]):
    def on_event(self, state: Tally, event: Typed, ctx: hw.Context[hw.Json]) -> None:
        state.n += 1


def test_a_value_of_another_type_than_declared_is_an_error() -> None:
    flow = hw.Flow("f")
    stream: hw.KeyedStream[Any] = source(flow).map(lambda event: {"at": "x"}, into=Typed).key_by(lambda event: "k")
    stream.process("op", Count()).to("out", hw.to_list([]))
    with pytest.raises(UserCodeError, match=r"to 'op', key 'k', time 5: .*\(dict\), which is not a Typed"):
        run(flow, event(5), event(6))


def test_types_that_cannot_be_told_apart_are_refused() -> None:
    class Other(hw.Event):
        at: hw.Time

    flow = hw.Flow("f")
    one: hw.Stream[Any] = flow.source("s", Typed, hw.items([]), time="at")
    two: hw.Stream[Any] = flow.source("t", Other, hw.items([]), time="at")
    one.merge(two).key_by("at").process("op", see("x")).to("out", hw.to_list([]))
    with pytest.raises(hw.FlowError, match=r"cannot be told apart.*tag=True"):
        Oracle(flow)


def test_fused_operators_share_nothing() -> None:
    kept: list[Any] = []

    def emits(state: Tally, event: Any, ctx: hw.Context[hw.Json]) -> None:
        state.names.append(str(event["n"]))
        ctx.emit({"names": state.names})
        state.names.append("later")

    flow = hw.Flow("f")
    stream = source(flow).key_by("key").process("one", Run(emits))
    stream.process("two", Run(lambda state, event, ctx: kept.append(event)))
    run(flow, event(1), event(2))
    assert kept == [{"names": ["0"]}]


def test_types_that_cannot_be_told_apart_are_refused_between_fused_operators_too() -> None:
    class Other(hw.Event):
        at: hw.Time

    flow = hw.Flow("f")
    keyed = source(flow).key_by("key").process("op", see("x"))
    one: hw.KeyedStream[Any] = keyed.map(lambda event: Typed(key="k", at=1), into=Typed)
    two: hw.KeyedStream[Any] = keyed.map(lambda event: Other(at=1), into=Other)
    one.merge(two).filter(lambda event: True).process("next", see("y"))
    with pytest.raises(hw.FlowError, match=r"to 'next': they cannot be told apart.*tag=True"):
        run(flow, event(1), event(2))
