"""Patterns at their bound: what is given up is counted, told at the end, and not made where nobody reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, Logs, check
from tests.pattern_harness import Event, StubContext
from tests.test_patterns_model import AFTER, QUICK, chains, patterns, streams, timed

import headway as hw
from headway.cli.main import main
from headway.connectors.base import Input, Output
from headway.errors import FlowError, UsageError, UserCodeError
from headway.operators.patterns.match import MatchPattern
from headway.operators.patterns.pattern import Pattern, pattern
from headway.operators.patterns.results import PartialMatch
from headway.operators.patterns.skip import AfterMatch
from headway.testing import FlowTest

COMBINATIONS = pattern("a", kind="a").one_or_more().allow_combinations().followed_by("c", kind="c")
PAIRS = pattern("a", kind="a").followed_by("c", kind="c")


def taken(operator: MatchPattern[Any], events: list[Event], *, unread: set[str]) -> StubContext:
    """The events alone, without timers."""
    ctx, state = StubContext(), operator.state_type()
    ctx.unread = unread
    for event in events:
        ctx.time = event["at"]
        operator.on_event(state, event, ctx)
    return ctx


@settings(QUICK, max_examples=150)
@given(
    made=st.one_of(patterns(steps=3).flatmap(timed), chains()),
    events=streams(10),
    after=st.sampled_from(AFTER),
    bound=st.integers(1, 4),
)
def test_what_is_given_up_is_counted_whether_it_is_read_or_not(
    made: Pattern, events: list[Event], after: AfterMatch, bound: int
) -> None:
    try:
        operator: MatchPattern[Any] = MatchPattern(made, after=after, max_partial_matches=bound).bind(dict)
    except FlowError:
        assume(False)
        raise
    read = taken(operator, events, unread=set())
    unread = taken(operator, events, unread={"overflow", "timed_out"})
    assert unread.lost == read.lost
    assert read.lost.get("overflow", 0) == sum(side == "overflow" for side, *_ in read.out)
    assert unread.out == [told for told in read.out if told[0] == "main"]


@pytest.mark.parametrize("made", [COMBINATIONS.within(100), PAIRS.within(100)], ids=["general", "chain"])
def test_what_nobody_reads_is_not_made(made: Pattern, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, *args: Any) -> PartialMatch[Any]:
        pytest.fail("a partial match was made for nobody")

    operator: MatchPattern[Any] = MatchPattern(made, max_partial_matches=4).bind(dict)
    monkeypatch.setattr(type(operator._matcher), "_partial", refuse)
    events = [{"at": at, "n": at, "kind": "a"} for at in (*range(12), 300)]
    assert taken(operator, events, unread={"overflow", "timed_out"}).lost["overflow"] >= 8


def flow(looked_for: Pattern, *, read: bool) -> Callable[[Callable[[str], Input], Callable[[str], Output]], hw.Flow]:
    def declare(input_of: Callable[[str], Input], output_of: Callable[[str], Output]) -> hw.Flow:
        declared = hw.Flow("bounded")
        events = declared.source("events", hw.Json, input_of("events"), time="at", out_of_order=30).key_by("key")
        found = events.match("found", looked_for, max_partial_matches=2)
        found.to("out", output_of("out"))
        if read:
            found.side("overflow").to("overflow", output_of("overflow"))
        return declared

    return declare


LOGS = st.lists(
    st.fixed_dictionaries({"at": st.integers(0, 30), "key": st.sampled_from("xyz"), "kind": st.sampled_from("aaac")}),
    max_size=20,
)


@settings(SLOW, max_examples=15)
@given(log=LOGS, where=conditions(), made=st.sampled_from([COMBINATIONS, PAIRS]), read=st.booleans())
def test_the_count_survives_crashes_restarts_and_other_workers(
    log: list[dict[str, Any]], where: Conditions, made: Pattern, read: bool
) -> None:
    """`check` compares the counts of the engine with those of the oracle."""
    logs: Logs = {"events": {"0": log}}
    check(flow(made.within(20), read=read), logs, where)


FLOW = """
import headway as hw

flow = hw.Flow("bounded")
events = flow.source("events", hw.Json, hw.files("events.jsonl"), time="at").key_by("key")
looked_for = hw.pattern("a", kind="a").one_or_more().allow_combinations().followed_by("c", kind="c")
found = events.match("found", looked_for, max_partial_matches=2)
found.to("out", hw.to_jsonl("out.jsonl"))
if flow.param("read", False):
    found.side("overflow").to("overflow", hw.to_jsonl("overflow.jsonl"))
"""


def append(first: int, count: int) -> None:
    with Path("events.jsonl").open("a") as log:
        for at in range(first, first + count):
            log.write(json.dumps({"at": at, "key": f"k{at % 2}", "kind": "a"}) + "\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bounded.py").write_text(FLOW)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_says_at_its_end_what_was_given_up(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    append(0, 6)
    assert main(["run", "bounded.py", "--workers", workers]) == 0
    said = capsys.readouterr().err
    # Of two keys with 3 and 2 events: the second event of a key makes 3 partial matches, the third 5.
    assert "  found, overflow  5\n" in said
    [note] = [line for line in said.splitlines() if line.startswith("  note: found: ")]
    assert note.startswith("  note: found: 5 partial matches were given up") and "max_partial_matches=" in note
    append(6, 1)
    assert main(["run", "bounded.py", "--workers", workers, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["losses"] == {"found": {"overflow": 8}}
    assert [notice for notice in told["notices"] if notice.startswith("found: 8 partial matches")]
    kept = json.loads(Path(".headway/bounded/last-run.json").read_text())
    assert kept["losses"] == {"found": {"overflow": 8}}
    assert main(["run", "bounded.py", "--workers", workers, "--quiet"]) == 0
    assert capsys.readouterr().err.startswith("headway: note: found: 8 partial matches were given up")


@pytest.mark.usefixtures("here")
def test_there_is_no_note_where_the_flow_takes_what_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    append(0, 6)
    assert main(["run", "bounded.py", "--set", "read=true", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["losses"] == {"found": {"overflow": 5}} and told["notices"] == []
    assert told["outputs"]["overflow"]["count"] <= 5


def test_the_kit_tells_it_too_also_of_an_operator_that_expires() -> None:
    operator: Any = MatchPattern(COMBINATIONS, max_partial_matches=2)
    declared = hw.Flow("bounded")
    events = declared.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    events.process("found", hw.Expiring(operator, hw.ttl(100))).to("out", hw.to_list([]))
    test = FlowTest(declared)
    for at in range(3):
        test.send("events", {"at": at, "key": "k", "kind": "a"})
    assert test.losses("found") == {"overflow": 1}
    test.advance(to=10)
    assert test.losses("found") == {"overflow": 4}
    with pytest.raises(UsageError):
        test.losses("lost")


def test_only_declared_losses_can_be_counted() -> None:
    class Wrong(hw.Operator[hw.Json, hw.State]):
        def on_event(self, state: hw.State, event: hw.Json, ctx: hw.Context[Any]) -> None:
            ctx.lose("overflow", 1)

    declared = hw.Flow("wrong")
    events = declared.source("events", hw.Json, hw.items([]), time="at").key_by("key")
    events.process("wrong", Wrong()).to("out", hw.to_list([]))
    test = FlowTest(declared)
    test.send("events", {"at": 0, "key": "k"})
    with pytest.raises(UserCodeError, match="takes losses"):
        test.advance(to=10)


def test_a_lower_bound_gives_up_many_at_once() -> None:
    ctx = StubContext()
    many: MatchPattern[Any] = MatchPattern(PAIRS).bind(dict)
    few: MatchPattern[Any] = MatchPattern(PAIRS, max_partial_matches=2).bind(dict)
    state = many.state_type()
    for at in range(5):
        ctx.time = at
        many.on_event(state, {"at": at, "kind": "a"}, ctx)
    ctx.time = 5
    few.on_event(state, {"at": 5, "kind": "a"}, ctx)
    assert ctx.lost == {"overflow": 4}
    assert [match.start for side, _, match in ctx.out if side == "overflow"] == [0, 1, 2, 3]
