"""The kit for unit tests of flows, as a user would use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import DrainedStateError, UsageError, UserCodeError
from headway.testing import FlowTest


class Visit(hw.Event):
    user: str
    at: hw.Time
    page: str = "/"


class Open(hw.State):
    pages: list[str] = []


class Visits(hw.Operator[Visit, Open]):
    """Ends a visit after ten seconds without a page; a page called /error goes aside."""

    sides = {"errors": Visit}

    def on_event(self, visit: Open, event: Visit, ctx: hw.Context[hw.Json]) -> None:
        visit.pages.append(event.page)
        ctx.timer("end", event.at + 10_000)
        if event.page == "/error":
            ctx.emit_to("errors", event)

    def on_timer(self, visit: Open, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"pages": visit.pages})
        ctx.forget()


def visits_flow(out_of_order: str = "0") -> hw.Flow:
    flow = hw.Flow("visits")
    views = flow.source("views", Visit, hw.files("nothing/*.jsonl"), time="at", out_of_order=out_of_order)
    visits = views.key_by("user").process("visits", Visits())
    visits.trigger("visit.over", hw.to_jsonl("/nowhere/out.jsonl"))
    visits.side("errors").to("errors", hw.to_jsonl("/nowhere/errors.jsonl"))
    return flow


def view(at: int, user: str = "ann", page: str = "/") -> Visit:
    return Visit(user, at, page)


def test_timers_fire_when_the_test_lets_time_pass() -> None:
    test = FlowTest(visits_flow())
    test.send("views", view(1_000))
    test.send("views", {"user": "ann", "at": 5_000, "page": "/b"})
    test.send("views", b'{"user": "bob", "at": 6000}')
    assert test.keys("visits") == ["ann"], "bob's event waits: another one of that time may come"
    assert test.waiting == 1
    test.advance(by="8999ms")
    assert (test.triggers(), test.now) == ([], 14_999)
    assert test.timers("visits", "ann") == {"end": 15_000}
    assert test.state("visits", "ann") == Open(pages=["/", "/b"])
    test.advance(by=1)
    [trigger] = test.triggers("visit.over")
    assert (trigger["subject"], trigger["time"], trigger["data"]) == (
        "ann",
        "1970-01-01T00:00:15.000Z",
        {"pages": ["/", "/b"]},
    )
    assert test.keys("visits") == ["bob"]
    assert test.state("visits", "ann") == Open()
    assert test.timers("visits", "ann") == {}


def test_events_at_the_time_that_was_let_pass_are_late() -> None:
    test = FlowTest(visits_flow())
    test.advance(to=5_000)
    test.send("views", view(5_000))
    test.send("views", view(5_001))
    assert test.late("views") == [view(5_000)]
    assert test.now == 5_001


def test_out_of_order_events_wait_for_each_other() -> None:
    test = FlowTest(visits_flow("2s"))
    for at, page in [(3_000, "/c"), (1_000, "/a"), (2_000, "/b"), (999, "/late")]:
        test.send("views", view(at, page=page))
    assert (test.waiting, test.keys("visits"), test.late("views")) == (3, [], [view(999, page="/late")])
    test.send("views", view(5_001, "bob"))
    assert test.state("visits", "ann").pages == ["/a", "/b", "/c"]


def test_new_triggers_are_those_since_the_last_call() -> None:
    test = FlowTest(visits_flow())
    for at in (0, 20_000, 40_000):
        test.send("views", view(at, page="/error"))
        test.advance(by="10s")
        assert len(test.new_triggers("visit.over")) == 1
        assert [line["at"] for line in test.new_triggers("errors")] == [at]
        assert test.new_triggers("errors") == []
    assert len(test.triggers()) == len(test.new_triggers()) == 6
    assert len(test.triggers("errors")) == 3


def test_drain_fires_what_is_armed_and_closes_the_books() -> None:
    test = FlowTest(visits_flow("1h"))
    test.send("views", view(1_000))
    test.drain()
    assert [trigger["data"] for trigger in test.triggers()] == [{"pages": ["/"]}]
    assert test.keys("visits") == []
    with pytest.raises(DrainedStateError, match="closed"):
        test.send("views", view(2_000))
    with pytest.raises(DrainedStateError, match="closed"):
        test.advance(by="1s")


def test_dead_letters_are_kept_with_their_reason() -> None:
    test = FlowTest(visits_flow())
    test.send("views", {"user": "ann"})
    test.send("views", b"{nonsense")
    assert [(letter.source, letter.partition, letter.raw) for letter in test.dead_letters] == [
        ("views", "0", '{"user":"ann"}'),
        ("views", "0", "{nonsense"),
    ]
    assert "missing required field `at`" in test.dead_letters[0].reason


def test_partitions_that_are_named_hold_time_together() -> None:
    test = FlowTest(visits_flow(), partitions={"views": ["eu", "us"]})
    test.send("views", view(50_000, "eve"), partition="eu")
    test.send("views", view(1_000), partition="us")
    assert (test.keys("visits"), test.late("views")) == ([], [])
    test.send("views", view(2_000), partition="us")
    assert test.keys("visits") == ["ann"]
    test.send("views", view(2_000, "zoe"), partition="new")
    assert test.late("views") == []
    test.send("views", view(1_999, "zoe"), partition="new")
    assert test.late("views") == [view(1_999, "zoe")]


def test_streams_that_meet_wait_for_both_sources() -> None:
    flow = hw.Flow("two")
    views = flow.source("views", Visit, hw.items([]), time="at")
    more = flow.source("more", Visit, hw.items([]), time="at")
    views.merge(more).key_by("user").process("visits", Visits()).trigger("visit.over", hw.to_list([]))
    test = FlowTest(flow)
    test.send("views", view(1_000))
    test.send("views", view(2_000))
    assert test.keys("visits") == []
    test.advance(to=1_000)
    assert test.keys("visits") == ["ann"]
    test.send("more", view(1_500, "bob"))
    test.send("more", view(1_501, "bob"))
    assert test.keys("visits") == ["ann", "bob"]


def test_ingestion_time_is_the_clock_of_the_test() -> None:
    flow = hw.Flow("pings")
    flow.source("pings", hw.Json, hw.items([]), time=hw.INGESTION_TIME).trigger("ping", hw.to_list([]))
    test = FlowTest(flow)
    test.advance(to="2024-05-01T10:00:00Z")
    test.send("pings", {"n": 1})
    test.advance(by="1m")
    assert [trigger["time"] for trigger in test.triggers()] == ["2024-05-01T10:00:00.001Z"]


def test_a_flow_is_loaded_with_parameters(tmp_path: Path) -> None:
    path = tmp_path / "late_answers.py"
    path.write_text(
        "import headway as hw\n"
        "flow = hw.Flow('answers')\n"
        "after = flow.param('after', '1h')\n"
        "loud = flow.param('loud', False)\n"
        "asked = flow.source('asked', hw.Json, hw.items([]), time='at').key_by('id')\n"
        "absent = asked.absence('silence', start=hw.where(kind='ask'), end=hw.where(kind='answer'), within=after)\n"
        "absent.trigger('LOUD' if loud else 'quiet', hw.to_list([]))\n"
    )
    test = FlowTest.load(str(path), after="5s", loud=True)
    test.send("asked", {"id": 7, "kind": "ask", "at": 0})
    test.advance(by="5s")
    assert [trigger["subject"] for trigger in test.triggers("LOUD")] == ["7"]
    with pytest.raises(UsageError, match="has no parameter 'aftre'"):
        FlowTest.load(str(path), aftre="5s")
    with pytest.raises(hw.FlowError, match=r"no file .*missing\.py"):
        FlowTest.load(str(tmp_path / "missing.py"))


def test_the_returned_state_is_a_copy() -> None:
    test = FlowTest(visits_flow())
    test.send("views", view(1_000))
    test.advance(by=0)
    test.state("visits", "ann").pages.append("changed by the test")
    assert test.state("visits", "ann").pages == ["/"]


def test_errors_of_the_flow_are_raised_where_the_test_sends() -> None:
    flow = hw.Flow("broken")
    flow.source("s", Visit, hw.items([]), time="at").map(lambda visit: 1 / 0, name="divide").to("out", hw.to_list([]))
    with pytest.raises(UserCodeError, match=r"'divide' .*ZeroDivisionError"):
        FlowTest(flow).send("s", view(1))


def no_time_yet(test: FlowTest) -> None:
    FlowTest(visits_flow()).advance(by="1s")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda test: test.send("clicks", {}), "no source 'clicks', its sources are: views"),
        (lambda test: test.late("clicks"), "no source 'clicks', its sources are: views"),
        (lambda test: test.triggers("over"), "no output 'over', its outputs are: visit.over, errors"),
        (lambda test: test.new_triggers("over"), "no output 'over', its outputs are: visit.over, errors"),
        (lambda test: test.state("visit", "ann"), "no operator 'visit', its operators are: visits"),
        (lambda test: test.keys("visit"), "no operator 'visit', its operators are: visits"),
        (lambda test: test.timers("visits", 7), "the key 7 is not text"),
        (lambda test: test.advance(), "needs either to=TIME or by=DURATION"),
        (lambda test: test.advance(to=5, by=5), "needs either to=TIME or by=DURATION"),
        (lambda test: test.advance(by="soon"), "by 'soon' is not a length of time"),
        (lambda test: test.advance(to="2024-05-01"), r"advance\(to='2024-05-01'\)"),
        (lambda test: test.advance(to=998), r"advance to 1970-01-01T00:00:00.998Z \(998\): time has come to .*999Z"),
        (no_time_yet, "no time yet to count from; send an event first"),
    ],
)
def test_mistakes_are_told(act: Any, text: str) -> None:
    test = FlowTest(visits_flow())
    test.send("views", view(1_000))
    with pytest.raises(UsageError, match=text):
        act(test)


def test_the_kit_shows_where_it_stands() -> None:
    test = FlowTest(visits_flow())
    assert repr(test) == "FlowTest('visits', no time yet, 0 written, 0 waiting)"
    test.send("views", view(1_000))
    assert repr(test) == "FlowTest('visits', 1970-01-01T00:00:01.000Z, 0 written, 1 waiting)"
