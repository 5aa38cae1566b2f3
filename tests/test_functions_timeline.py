"""Timelines: bars of a history, as text and as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.durable_harness import Group, start

from headway import durable_workflow
from headway.cli.main import main
from headway.cli.timelines import _ticks, timeline_svg, timeline_text
from headway.functions.history import (
    Answered,
    CallCancelled,
    Called,
    CancelAsked,
    Cancelled,
    Entry,
    Failed,
    Failure,
    Fired,
    Signalled,
    Started,
    TimerCancelled,
    TimerSet,
    UpdateAnswered,
    UpdateAsked,
)
from headway.functions.timeline import Bar, bars_of

HISTORY: list[Entry] = [
    Started(1_000),
    Called(1, "step", "pack"),
    TimerSet(2, 9_000),
    Called(3, "function", "ship", to="p-1"),
    Signalled(1_500, "hurry"),
    Answered(2_000, 1),
    Called(4, "step", "pay"),
    UpdateAsked(2_500, "u1", "address"),
    UpdateAnswered("u1"),
    Failed(3_000, 4, Failure("OSError", "the bank is down")),
    TimerSet(5, 60_000),
    Fired(9_000, 2),
    CancelAsked(10_000, "too late"),
    TimerCancelled(5),
    CallCancelled(3, by_close=True),
    Cancelled("too late"),
]


def test_bars_of_a_history() -> None:
    told = [(bar.label, bar.begin_ms, bar.end_ms, bar.outcome) for bar in bars_of("order", HISTORY)]
    assert told == [
        ("order", 1_000, 10_000, "cancelled"),
        ("pack", 1_000, 2_000, "done"),
        ("timer", 1_000, 9_000, "done"),
        ("function ship", 1_000, 10_000, "cancelled"),
        ("signal hurry", 1_500, 1_500, "done"),
        ("pay", 2_000, 3_000, "failed"),
        ("update address", 2_500, 2_500, "done"),
        ("timer", 3_000, 10_000, "cancelled"),
        ("asked to cancel", 10_000, 10_000, "done"),
    ]
    assert [bar.detail for bar in bars_of("order", HISTORY) if bar.detail] == [
        "too late",
        "p-1",
        "OSError: the bank is down",
        "too late",
    ]


def test_as_text() -> None:
    assert timeline_text(bars_of("order", HISTORY), 99_000, 77) == "\n".join(
        [
            "order                        ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  9s cancelled",
            "pack                         ━━━━                                  1s",
            "timer                        ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━      8s",
            "function ship                ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  9s cancelled",
            "signal hurry                   ◆",
            "pay                              ✗✗✗✗                              1s failed",
            "update address                     ━                               0ms",
            "timer                                ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  7s cancelled",
            "asked to cancel                                                 ◆",
        ]
    )


texts = st.text(max_size=60)
times = st.integers(0, 10**12)


@settings(max_examples=100, deadline=None)
@given(
    texts,
    st.lists(
        st.tuples(texts, times, st.none() | times, st.sampled_from(["done", "failed", "open"]), texts), max_size=9
    ),
    times,
    st.integers(1, 300),
)
def test_pictures_are_whole_whatever_the_names(title: str, given_bars: Any, now_ms: int, width: int) -> None:
    bars = [Bar("whole", 0)]
    for label, begin_ms, end_ms, outcome, detail in given_bars:
        end = None if end_ms is None else begin_ms + end_ms
        bars.append(Bar(label, begin_ms, end, outcome, detail, is_moment=end == begin_ms))
    picture = ElementTree.fromstring(timeline_svg(title, bars, now_ms))
    names = {"svg": "http://www.w3.org/2000/svg"}
    assert len(picture.findall("svg:g", names)) == len(bars)
    for rect in picture.findall("svg:g/svg:rect", names):
        assert float(rect.get("x", "0")) >= 240 and float(rect.get("x", "0")) + float(rect.get("width", "0")) <= 853
    lines = timeline_text(bars, now_ms, width).split("\n")
    assert len(lines) == len(bars) and all(line.isprintable() for line in lines)


def test_ticks_are_few_and_round() -> None:
    day = 86_400_000
    for length_ms in (1, 7, 950, 5_950, 61_000, 3_600_000, 5 * day, 32 * day, 400 * day, 40_000 * day):
        ticks = _ticks(length_ms)
        assert 1 <= len(ticks) <= 8 and ticks[-1] <= length_ms
    assert [list(_ticks(length))[1] for length in (5_950, 61_000, 32 * day)] == [1_000, 10_000, 5 * day]


def test_what_is_too_much_is_cut_off() -> None:
    bars = [Bar(f"step {number}", 10 * number, 10 * number + 5, "done") for number in range(1_200)]
    picture = ElementTree.fromstring(timeline_svg("x" * 500, bars, 0))
    names = {"svg": "http://www.w3.org/2000/svg"}
    assert len(picture.findall("svg:g", names)) == 1_000
    texts = ["".join(text.itertext()) for text in picture.findall("svg:text", names)]
    assert "and 200 more" in texts
    title = picture.find("svg:text[@class='title']", names)
    assert title is not None and title[0].tail == "x" * 119 + "…", "the whole of it is in what is shown on hovering"


def test_wide_characters_take_two_columns() -> None:
    wide, narrow = timeline_text([Bar("注文を発送する" * 3, 0, 5, "done"), Bar("ship", 0, 5, "done")], 9, 60).split(
        "\n"
    )
    assert wide.startswith("注文を発送する" * 2 + " ━") and narrow.startswith("ship" + " " * 24 + " ━")


@durable_workflow
async def greet(context: Any, name: str) -> str:
    return str(await context.call("<b>&write", name))


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def write(name: str) -> str:
        return name

    group = Group(tmp_path / "state", greet)
    group.flow.step(name="<b>&write")(write)
    group.tell(("greet/ann", start("ann")))
    group.run_to_the_end()
    picture = tmp_path / "ann.svg"

    def history(*options: str) -> tuple[int, str, str]:
        code = main(["functions", "history", str(group.state), "greet/ann", *options])
        return code, *capsys.readouterr()

    code, told, _ = history("--timeline", "--svg", str(picture))
    assert code == 0
    assert [line.split()[0] for line in told.splitlines()] == ["greet", "<b>&write"]
    read = ElementTree.parse(picture).getroot()
    assert read.get("aria-label") == "timeline of greet/ann"
    assert "<b>&write" in "".join(read.itertext())
    assert "the picture cannot be written" in history("--svg", str(tmp_path / "no" / "ann.svg"))[2]
    entries = [json.loads(line)["entry"] for line in history("--json")[1].splitlines()]
    assert entries == ["Started", "Called", "Answered", "Finished"]
