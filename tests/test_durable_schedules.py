"""Schedules: their times over changes of the clocks, what is caught up with, what overlaps, and runs that come back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Optional
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway as hw
from headway import durable_workflow
from headway.durable.calls import MESSAGES, CallRecord, options_of
from headway.durable.messages import Announced, Body, Due, Message, Pause, Resolve, Resume, Trigger, message
from headway.durable.schedule_operator import ScheduleOperator, ScheduleState
from headway.durable.schedules import ON_TIME_MS
from headway.durable.timetable import Cron, Every
from headway.errors import FlowError
from headway.testing import FlowTest

HOUR = 3_600_000
DAY = 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def times(cron: str, after: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    found = []
    now: Optional[int] = ms(after)
    for _ in range(count):
        assert now is not None
        now = Cron(cron, ZoneInfo(zone)).next_after(now)
        assert now is not None
        found.append(datetime.fromtimestamp(now / 1_000, ZoneInfo(zone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # The hour from 2 to 3 does not exist on 2024-03-31.
        ("30 2 * * *", "2024-03-30T03:00:00+01:00", ["2024-03-31T03:00:00+02:00", "2024-04-01T02:30:00+02:00"]),
        ("0,30 2 * * *", "2024-03-31T00:00:00+01:00", ["2024-03-31T03:00:00+02:00", "2024-04-01T02:00:00+02:00"]),
        ("0 3 * * *", "2024-03-31T00:00:00+01:00", ["2024-03-31T03:00:00+02:00"]),
        ("0 * * * *", "2024-03-31T01:00:00+01:00", ["2024-03-31T03:00:00+02:00", "2024-03-31T04:00:00+02:00"]),
        # It exists twice on 2024-10-27.
        ("30 2 * * *", "2024-10-27T00:00:00+02:00", ["2024-10-27T02:30:00+02:00", "2024-10-28T02:30:00+01:00"]),
        ("50 2 * * *", "2024-10-27T02:40:00+01:00", ["2024-10-28T02:50:00+01:00"]),
        ("0 3 * * *", "2024-10-27T00:00:00+02:00", ["2024-10-27T03:00:00+01:00"]),
        ("0 * * * *", "2024-10-27T01:00:00+02:00", ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"]),
        ("@monthly", "2024-01-31T12:00:00+01:00", ["2024-02-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00"]),
        ("0 9 * * MON-FRI", "2024-05-03T10:00:00+02:00", ["2024-05-06T09:00:00+02:00"]),
        ("0 0 29 2 *", "2024-03-01T00:00:00+01:00", ["2028-02-29T00:00:00+01:00"]),
    ],
)
def test_times_of_cron(cron: str, after: str, expected: list[str]) -> None:
    assert times(cron, after, len(expected)) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "0 3 * * *", "*/20 1-3 * * *", "15 * * * *", "0 0 * * SUN", "0,30 2 * * *"]),
    st.integers(ms("2024-03-29T00:00:00+01:00"), ms("2024-04-02T00:00:00+02:00"))
    | st.integers(ms("2024-10-25T00:00:00+02:00"), ms("2024-10-29T00:00:00+01:00")),
)
def test_times_go_on_and_do_not_depend_on_where_one_looks_from(cron: str, after_ms: int) -> None:
    table = Cron(cron, BERLIN)
    first = table.next_after(after_ms)
    assert first is not None and first > after_ms
    assert table.next_after(first - 1) == first, "what is due is due, wherever one looks from"
    if first - after_ms > 1:
        assert table.next_after((after_ms + first) // 2) == first


def test_every_so_often() -> None:
    table = Every(HOUR, 5 * 60_000)
    assert table.next_after(0) == 5 * 60_000
    assert table.next_after(5 * 60_000) == HOUR + 5 * 60_000
    assert table.next_after(-1) == 5 * 60_000


@durable_workflow
async def report(context: Any, day: str = "") -> str:
    await context.wait("done")
    return day


class Timed(Message):
    at: int


class World:
    """A schedule operator with the log that brings back what it tells itself; `starts` are what it has started."""

    def __init__(self, at: str, **options: Any) -> None:
        self.now = ms(at)
        self.group = hw.Functions("group", [report])
        self.group.schedule("nightly", report, **options)
        flow = hw.Flow("schedules")
        source = flow.source("messages", Timed, hw.items([]), time="at")
        done = source.key_by("to").process("due", ScheduleOperator(self.group.schedules))
        done.side(MESSAGES).to("out", hw.to_list([]))
        self.flow = flow
        self.test = FlowTest(flow)
        self.records: list[CallRecord] = []
        self.tell(Announced())

    def tell(self, body: Body) -> None:
        """Something comes through the log, now."""
        line = msgspec.json.decode(message("~schedules/nightly", body))
        self.now += 1
        self.test.send("messages", {**line, "at": self.now})
        self.pass_to(self.now)

    def pass_to(self, now: int) -> None:
        """Time goes on, and what is due comes back at once."""
        self.now = now
        self.test.advance(to=now)
        for line in self.test.new_triggers("out"):
            record = msgspec.convert(line, CallRecord)
            self.records.append(record)
            if record.kind == "due":
                self.tell(Due(int(record.arguments)))

    def until(self, text: str) -> World:
        """Time goes on in steps, as in a run."""
        end = ms(text)
        while (due := self.test.timers("due", "~schedules/nightly").get("due")) is not None and due <= end:
            self.pass_to(max(due, self.now))
        self.pass_to(end)
        return self

    def down_until(self, text: str) -> World:
        """No run is there; then time jumps."""
        self.pass_to(ms(text))
        return self

    def end(self, number: int = -1) -> None:
        """What was started last has ended."""
        started = sorted(one.call for one in self.records if one.kind == "function")
        self.tell(Resolve(0, started[number]))

    @property
    def starts(self) -> list[str]:
        started = sorted((one for one in self.records if one.kind in ("function", "start")), key=lambda one: one.call)
        return [one.to.removeprefix("nightly-") for one in started]

    @property
    def state(self) -> ScheduleState:
        found: ScheduleState = self.test.state("due", "~schedules/nightly")
        return found


def test_it_starts_at_its_times() -> None:
    world = World("2024-03-29T12:00:00+01:00", cron="30 2 * * *", tz="Europe/Berlin", overlap="allow")
    world.until("2024-04-01T12:00:00+02:00")
    assert world.starts == ["2024-03-30T01:30:00Z", "2024-03-31T01:00:00Z", "2024-04-01T00:30:00Z"]
    assert {one.kind for one in world.records} == {"due", "start"}
    assert (world.state.calls, world.state.missed, world.state.last_id) == (3, 0, "nightly-2024-04-01T00:30:00Z")


@pytest.mark.parametrize(
    ("catch_up", "window", "expected", "missed"),
    [
        ("one", "30d", ["2024-05-08T03:00:00Z"], 6),
        ("all", "30d", [f"2024-05-0{day}T03:00:00Z" for day in range(2, 9)], 0),
        ("all", "3d", [f"2024-05-0{day}T03:00:00Z" for day in range(6, 9)], 4),
        ("none", "30d", [], 7),
        ("one", "1h", [], 7),
    ],
)
def test_a_week_down(catch_up: Any, window: str, expected: list[str], missed: int) -> None:
    world = World(
        "2024-05-01T12:00:00+00:00", cron="0 3 * * *", overlap="allow", catch_up=catch_up, catch_up_window=window
    )
    world.down_until("2024-05-08T12:00:00+00:00")
    assert (world.starts, world.state.missed) == (expected, missed)
    world.until("2024-05-09T12:00:00+00:00")
    assert world.starts == [*expected, "2024-05-09T03:00:00Z"]


def test_what_is_due_a_little_late_is_on_time() -> None:
    world = World("2024-05-01T02:00:00+00:00", cron="0 3 * * *", overlap="allow", catch_up="none")
    world.pass_to(ms("2024-05-01T03:00:00+00:00") + ON_TIME_MS - 1)
    assert world.starts == ["2024-05-01T03:00:00Z"]


def test_a_year_of_minutes_is_caught_up_with_in_steps() -> None:
    world = World("2024-05-01T00:00:00+00:00", every="1m", overlap="allow", catch_up="one")
    world.down_until("2024-05-03T00:00:30+00:00")
    while world.test.timers("due", "~schedules/nightly")["due"] <= world.now:
        world.pass_to(world.now + 1)
    assert world.starts == ["2024-05-03T00:00:00Z"]
    assert world.state.missed == 2 * 24 * 60 - 1


def run_hours(overlap: Any) -> World:
    world = World("2024-05-01T00:30:00+00:00", every="1h", overlap=overlap)
    return world.until("2024-05-01T03:30:00+00:00")


def test_overlaps() -> None:
    one, two, three = (f"2024-05-01T0{hour}:00:00Z" for hour in (1, 2, 3))
    world = run_hours("skip")
    assert (world.starts, world.state.skipped) == ([one], 2)
    world.end()
    world.until("2024-05-01T04:30:00+00:00")
    assert world.starts == [one, "2024-05-01T04:00:00Z"]
    world = run_hours("buffer_one")
    assert (world.starts, world.state.skipped) == ([one], 1)
    world.end()
    assert world.starts == [one, two]
    world = run_hours("buffer_all")
    world.end()
    world.end()
    assert (world.starts, world.state.skipped) == ([one, two, three], 0)
    assert run_hours("allow").starts == [one, two, three]


@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_what_runs_is_ended_before_the_next_one_starts(how: Any) -> None:
    world = run_hours(how)
    assert world.starts == ["2024-05-01T01:00:00Z"]
    ends = [one for one in world.records if one.kind == "cancel"]
    asked = {(one.to, options.parent_close) for one in ends if (options := options_of(one)) is not None}
    assert asked == {("nightly-2024-05-01T01:00:00Z", how)}
    world.end()
    assert world.starts == ["2024-05-01T01:00:00Z", "2024-05-01T03:00:00Z"]
    assert world.state.skipped == 1


def test_paused_resumed_triggered() -> None:
    world = World("2024-05-01T00:30:00+00:00", every="1h", overlap="allow")
    world.tell(Pause("not now"))
    world.until("2024-05-01T05:30:00+00:00")
    assert (world.starts, world.state.paused, world.state.reason) == ([], True, "not now")
    world.tell(Announced())
    assert world.test.timers("due", "~schedules/nightly") == {}
    world.tell(Trigger())
    assert world.starts == ["2024-05-01T05:30:00.002Z"]
    world.tell(Resume())
    world.until("2024-05-01T06:30:00+00:00")
    assert world.starts[1:] == ["2024-05-01T06:00:00Z"]
    world.tell(Due(5))
    assert len(world.starts) == 2, "what is due no more starts nothing"


def test_changed_and_removed() -> None:
    world = World("2024-05-01T00:30:00+00:00", cron="0 0 1 1 *", overlap="allow")
    assert world.state.timetable == "0 0 1 1 * UTC"
    world.group.schedules["nightly"] = hw_schedule(every="1h")
    world.tell(Announced())
    world.until("2024-05-01T01:30:00+00:00")
    assert (world.state.timetable, world.starts) == ("every 1h", ["2024-05-01T01:00:00Z"])
    del world.group.schedules["nightly"]
    world.until("2024-05-01T02:30:00+00:00")
    assert (world.test.keys("due"), len(world.starts)) == ([], 1)


def hw_schedule(**options: Any) -> Any:
    group = hw.Functions("group", [report])
    group.schedule("nightly", report, overlap="allow", **options)
    return group.schedules["nightly"]


def test_arguments_and_ids() -> None:
    berlin: Any = {"cron": "0 3 * * *", "tz": "Europe/Berlin"}
    schedule = hw_schedule(**berlin, id="reports", args=lambda due: str(due.date()))
    assert schedule.id_at(ms("2024-05-01T01:00:00+00:00")) == "reports-2024-05-01T01:00:00Z"
    assert schedule.arguments_at(ms("2024-04-30T22:30:00+00:00")) == b'["2024-05-01"]'
    assert hw_schedule(every="1h", args={"day": "x"}).arguments_at(0) == b'["x"]'
    assert hw_schedule(every="1h", args=("x",)).arguments_at(0) == b'["x"]'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'give either cron="0 3'),
        ({"cron": "0 3 * * *", "every": "1h"}, "give either"),
        ({"cron": "61 3 * * *"}, "Bad minute"),
        ({"cron": "0 3 * *"}, "Wrong number of fields"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "0 3 * * *", "tz": "Mars/Olympus"}, "is not a time zone"),
        ({"every": "0s"}, "every"),
        ({"every": "1h", "overlap": "wait"}, "overlap='wait' is unknown: give one of skip"),
        ({"every": "1h", "catch_up": "some"}, "catch_up='some' is unknown"),
        ({"every": "1h", "args": (1, 2)}, "report"),
        ({"every": "1h", "id": ""}, "id=''"),
    ],
)
def test_what_cannot_be_declared(options: dict[str, Any], said: str) -> None:
    with pytest.raises(FlowError, match=said):
        hw.Functions("group", [report]).schedule("nightly", report, **options)


def test_names_and_functions_of_schedules() -> None:
    group = hw.Functions("group", [report])
    group.schedule("nightly", report, every="1h")
    with pytest.raises(FlowError, match="two schedules are called 'nightly'"):
        group.schedule("nightly", report, every="1h")
    with pytest.raises(FlowError, match="the functions of 'other' are none"):
        hw.Functions("other").schedule("nightly", report, every="1h")
    with pytest.raises(FlowError, match="must be text without"):
        group.schedule("night/ly", report, every="1h")
