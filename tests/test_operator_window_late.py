"""Late events in windows: the engine against the oracle, and the oracle against plain Python."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check, oracle_run, values
from tests.windows_harness import Row, events, logs_of, window_flow

import headway as hw
from headway.operators.windows.windowers import Aligned, Cumulative, Session, Sliding, Tumbling, Windower
from headway.testing import FlowTest

OUT_OF_ORDER = 3
ALIGNED: list[Aligned] = [
    hw.tumbling(10),
    hw.tumbling(7, offset=2),
    hw.sliding(10, every=5),
    hw.sliding(9, every=4, offset=1),
    hw.cumulative(12, step=4),
]
WINDOWERS: list[Windower] = [*ALIGNED, hw.session(2), hw.session(6)]
ALLOWED = st.sampled_from([0, 4, 15, 200])
EARLY: list[Any] = [None, 3, hw.every(2)]


@settings(SLOW, max_examples=8)
@given(
    found=events(40, size=40),
    windower=st.sampled_from(WINDOWERS),
    allowed=ALLOWED,
    early=st.sampled_from(EARLY),
    where=conditions(),
)
def test_the_engine_does_as_the_oracle(
    found: list[Row], windower: Windower, allowed: int, early: Any, where: Conditions
) -> None:
    make_flow = window_flow(windower, out_of_order=OUT_OF_ORDER, late_time="at", allowed_lateness=allowed, early=early)
    check(make_flow, logs_of(found), where)


class Arrival(NamedTuple):
    """An event, at the time at which it counts; sorted, late ones come before others."""

    time: int
    on_time: bool
    number: int
    at: int
    key: str
    value: int


def arrivals(found: list[Row]) -> list[Arrival]:
    latest = -(10**9)
    taken = []
    for number, row in enumerate(found):
        limit = latest - OUT_OF_ORDER
        on_time = row["at"] >= limit
        taken.append(Arrival(row["at"] if on_time else limit, on_time, number, row["at"], row["key"], row["value"]))
        latest = max(latest, row["at"])
    return sorted(taken)


def windows_of(windower: Aligned) -> list[tuple[int, int]]:
    if isinstance(windower, Tumbling):
        return [
            (n * windower.size_ms + windower.offset_ms, (n + 1) * windower.size_ms + windower.offset_ms)
            for n in range(-9, 20)
        ]
    if isinstance(windower, Sliding):
        starts = [n * windower.every_ms + windower.offset_ms for n in range(-20, 40)]
        return [(start, start + windower.size_ms) for start in starts]
    assert isinstance(windower, Cumulative)
    steps = range(windower.step_ms, windower.size_ms + 1, windower.step_ms)
    return [(n * windower.size_ms, n * windower.size_ms + step) for n in range(-9, 20) for step in steps]


def expected_aligned(found: list[Row], windower: Aligned, allowed: int) -> tuple[list[Any], list[Any]]:
    """All results and the events that are too late, window by window."""
    taken = arrivals(found)
    results: list[Any] = []
    accepted = {a.number for a in taken if a.on_time}
    for key in "ab":
        for start, end in windows_of(windower):
            members = [a for a in taken if a.key == key and start <= a.at < end]
            members = [a for a in members if a.on_time or end - 1 + allowed >= a.time]
            accepted |= {a.number for a in members}
            in_time = [a for a in members if a.time <= end - 1]
            counts = [len(in_time)] if in_time else []
            counts += range(len(in_time) + 1, len(members) + 1)
            results += [
                (key, start, end, revision, n, sum(a.value for a in members[:n])) for revision, n in enumerate(counts)
            ]
    return sorted(results), sorted(a.at for a in taken if a.number not in accepted)


def run(found: list[Row], windower: Windower, allowed: int) -> dict[str, list[Row]]:
    make_flow = window_flow(windower, out_of_order=OUT_OF_ORDER, late_time="at", allowed_lateness=allowed)
    result = oracle_run(make_flow, logs_of(found))
    return {output: values(result, output) for output in result.outputs}


@settings(SLOW, max_examples=120)
@given(found=events(30, least=10, size=50), windower=st.sampled_from(ALIGNED), allowed=ALLOWED)
def test_late_events_change_the_windows_that_still_take_them(found: list[Row], windower: Aligned, allowed: int) -> None:
    written = run(found, windower, allowed)
    results, too_late = expected_aligned(found, windower, allowed)
    assert results == sorted(
        (r["user"], r["start"], r["end"], r["revision"], r["events"], r["total"]) for r in written["out"]
    )
    assert too_late == sorted(row["at"] for row in written["too_late"])
    assert all(r["final"] for r in written["out"])


class Spans:
    """Sessions of one key, each a sorted list of times, and what was written of them."""

    def __init__(self, gap: int, allowed: int) -> None:
        self.gap, self.allowed = gap, allowed
        self.spans: list[list[int]] = []
        self.out: list[Any] = []
        self.replaced: list[Any] = []
        self.too_late: list[int] = []
        self.revisions: dict[int, int] = {}
        self.open: set[int] = set()
        """Starts of the sessions that go out when they end."""

    def emit(self, span: list[int]) -> None:
        revision = self.revisions.get(span[0], 0)
        self.revisions[span[0]] = revision + 1
        self.out.append((span[0], span[-1] + self.gap, revision, span))

    def time_passes(self, before: int) -> None:
        for span in self.spans:
            if span[0] in self.open and span[-1] + self.gap - 1 < before:
                self.open.remove(span[0])
                self.emit(span)

    def take(self, arrival: Arrival) -> None:
        self.time_passes(arrival.time)
        for span in list(self.spans):
            if span[-1] + self.gap - 1 + self.allowed < arrival.time:
                # Nothing is known of it any more; late events may even make another of the same start.
                self.spans.remove(span)
                self.revisions.pop(span[0])
        alive = [s for s in self.spans if not arrival.on_time or s[-1] + self.gap > arrival.time]
        near = [s for s in alive if s[0] - self.gap < arrival.at < s[-1] + self.gap]
        if not near and arrival.at + self.gap - 1 + self.allowed < arrival.time:
            self.too_late.append(arrival.at)
            return
        merged = sorted([arrival.at, *(at for span in near for at in span)])
        for span in near:
            if span[0] != merged[0] and span[0] in self.revisions:
                self.replaced.append((span[0], span[-1] + self.gap, self.revisions.pop(span[0]), span))
        self.spans = [s for s in self.spans if s not in near] + [merged]
        self.open -= {span[0] for span in near}
        if merged[-1] + self.gap - 1 < arrival.time:
            self.emit(merged)
        else:
            self.open.add(merged[0])


SESSIONS = st.sampled_from([hw.session(2), hw.session(6)])


@settings(SLOW, max_examples=200)
@given(found=events(30, least=10, size=50), windower=SESSIONS, allowed=ALLOWED)
def test_late_events_extend_and_join_sessions(found: list[Row], windower: Session, allowed: int) -> None:
    found = [{**row, "key": "a"} for row in found]
    written = run(found, windower, allowed)
    model = Spans(windower.gap_ms, allowed)
    for arrival in arrivals(found):
        model.take(arrival)
    model.time_passes(10**9)
    for output, expected in (("out", model.out), ("replaced", model.replaced)):
        got = [(r["start"], r["end"], r["revision"], sorted(r["times"])) for r in written[output]]
        assert sorted(got) == sorted(expected), output
    assert sorted(row["at"] for row in written["too_late"]) == sorted(model.too_late)


@settings(SLOW, max_examples=100)
@given(found=events(30, least=10, size=50), windower=SESSIONS)
def test_whoever_keeps_the_last_revisions_has_the_sessions_of_all_events(found: list[Row], windower: Session) -> None:
    written = run(found, windower, 1000)
    kept: dict[tuple[str, int], Row] = {}
    for row in sorted(written["out"], key=lambda row: row["revision"]):
        kept[row["user"], row["start"]] = row
    for row in written["replaced"]:
        if kept[row["user"], row["start"]]["revision"] < row["revision"]:
            del kept[row["user"], row["start"]]
    expected: dict[tuple[str, int], list[int]] = {}
    for key in "ab":
        spans: list[list[int]] = []
        for at in sorted(row["at"] for row in found if row["key"] == key):
            if spans and at - spans[-1][-1] < windower.gap_ms:
                spans[-1].append(at)
            else:
                spans.append([at])
        expected |= {(key, span[0]): span for span in spans}
    assert {session: sorted(row["times"]) for session, row in kept.items()} == expected


def test_an_example() -> None:
    make_flow = window_flow(hw.tumbling(10), out_of_order=0, late_time="at", allowed_lateness=10, times=False)
    test = FlowTest(make_flow(lambda name: hw.items([]), lambda name: hw.to_list([])))
    for at in (1, 12, 5, 30, 6):
        test.send("events", {"at": at, "key": "a", "value": at})
    test.advance(to=31)
    results = [(r["start"], r["end"], r["revision"], r["final"], r["total"]) for r in test.triggers("out")]
    assert results == [(0, 10, 0, True, 1), (0, 10, 1, True, 6), (10, 20, 0, True, 12)]
    assert [row["at"] for row in test.triggers("too_late")] == [6]


@pytest.mark.parametrize("windower, field", [(hw.tumbling(10), "panes"), (hw.session(2), "ended")])
def test_what_no_late_event_can_change_is_dropped(windower: Windower, field: str) -> None:
    make_flow = window_flow(windower, out_of_order=0, late_time="at", allowed_lateness=20, times=False)
    test = FlowTest(make_flow(lambda name: hw.items([]), lambda name: hw.to_list([])))
    kept = []
    for at in range(0, 300, 5):
        test.send("events", {"at": at, "key": "a", "value": at})
        test.send("events", {"at": at - 12, "key": "a", "value": 1})
        kept.append(len(getattr(test.state("windows", "a"), field)))
    assert max(kept) <= 8
    if field == "panes":
        assert max(kept) == 4  # The open window and what ended in the last 20 ms.
        assert len(test.state("windows", "a").revised) <= 3
    test.drain()
    assert test.keys("windows") == []
