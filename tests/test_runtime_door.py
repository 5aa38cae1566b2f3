"""At the door: what is wrong in the data becomes a dead letter, what is wrong in the flow's code stops the run."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.door_harness import GOOD, NEXT, keep, run, write
from tests.letters import letters_of

import headway as hw
from headway.basics.times import EARLIEST_MS, LATEST_MS
from headway.cli.summary import Ending, summary_json, warnings
from headway.errors import InputError, UserCodeError
from headway.runtime.run import RunOptions, RunResult, compile_flow, run_flow
from headway.runtime.stats import FirstLetter, SourceStats
from headway.runtime.stopping import StopFlag
from headway.testing import FlowTest


class Visit(hw.Event):
    user: Optional[str]
    at: int
    n: int = 0


def misspelt(event: Any) -> Any:
    return event.usr


def of_nothing(event: Any) -> Any:
    return event["user"] + 1 if isinstance(event, dict) else event.user + 1


def undefined(event: Any) -> Any:
    return nowhere  # type: ignore[name-defined]  # noqa: F821


def of_the_end(event: Any) -> Any:
    if "ann" in repr(event):
        sys.exit("no more than this")
    return 1


def of_missing_file(event: Any) -> Any:
    msg = "the table is not there"
    raise InputError(msg)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("event_type", [Visit, hw.Json])
@pytest.mark.parametrize("function", [misspelt, of_nothing, undefined, of_the_end])
@pytest.mark.parametrize("role", ["time", "key"])
def test_a_mistake_in_a_function_of_the_flow_stops_the_run(
    tmp_path: Path, role: str, function: Callable[[Any], Any], event_type: Any, threads: int
) -> None:
    write(tmp_path / "a.log", GOOD, NEXT)
    specs: dict[str, Any] = {role: function}
    with pytest.raises(UserCodeError) as stopped:
        run(tmp_path, event_type, threads=threads, **specs)
    text = str(stopped.value)
    step = "time= of the source 'log'" if role == "time" else "the step 'key_by-1'"
    assert text.startswith(f"{step} (")
    assert "door_harness.py:" in text
    assert type(stopped.value.__cause__).__name__ in text
    assert "line 1, byte 0 of 'a.log' of the source 'log'" in text
    assert "'ann'" in text


@pytest.mark.parametrize("role", ["time", "key"])
def test_an_error_that_a_function_raises_on_purpose_is_told_as_it_is(tmp_path: Path, role: str) -> None:
    write(tmp_path / "a.log", GOOD)
    specs: dict[str, Any] = {role: of_missing_file}
    with pytest.raises(InputError, match="the table is not there"):
        run(tmp_path, hw.Json, **specs)


key_values: st.SearchStrategy[Any] = st.sampled_from([None, True, 1.5, "", "ann", 7, [], {}, "missing"])
good_times = [3.0, "2024-05-01T00:00:00Z", 5, EARLIEST_MS, LATEST_MS]
bad_times: list[Any] = [
    None,
    True,
    1.5,
    "yesterday",
    "2024-05-01T00:00:00",
    EARLIEST_MS - 1,
    LATEST_MS + 1,
    2**70,
    [],
    {},
]
time_values = st.sampled_from([*good_times, *bad_times, "missing"])


def usable_key(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def usable_time(value: Any) -> bool:
    if isinstance(value, str):
        return value == "2024-05-01T00:00:00Z"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value == int(value) and EARLIEST_MS <= value <= LATEST_MS


SPECS: dict[str, tuple[Any, Any]] = {
    "names of fields": ("at", "user"),
    "functions": (lambda event: event["at"], lambda event: event["user"]),
    "functions that read text": (
        lambda event: event["at"] if event["at"] != "yesterday" else datetime.fromisoformat("yesterday"),
        lambda event: event["user"],
    ),
}


@pytest.mark.parametrize("specs", SPECS)
@given(values=st.lists(st.tuples(key_values, time_values), max_size=12))
def test_values_that_cannot_be_used_are_dead_letters(specs: str, values: list[tuple[Any, Any]]) -> None:
    time, key = SPECS[specs]
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.items([]), time=time, out_of_order="36500d")
    keep(log, key, hw.to_list([]))
    test = FlowTest(flow)
    late = dead = 0
    latest: Optional[int] = None
    for user, at in values:
        event = {name: value for name, value in (("user", user), ("at", at)) if value != "missing"}
        test.send("log", event)
        if "at" not in event or not usable_time(at):
            dead += 1
            continue
        time_ms = 1_714_521_600_000 if isinstance(at, str) else int(at)
        if latest is not None and time_ms < latest - hw.duration_ms("36500d"):
            late += 1
        else:
            dead += "user" not in event or not usable_key(user)
        latest = time_ms if latest is None else max(latest, time_ms)
    assert (len(test.late("log")), len(test.dead_letters)) == (late, dead)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_dead_letter_has_the_place_and_the_bytes_of_its_record(tmp_path: Path, threads: int) -> None:
    rows = [{"user": f"u{n}", "at": n, "n": n} for n in range(500)]
    for n in (7, 8, 499):
        rows[n]["user"] = None
    rows[100]["at"] = LATEST_MS + 1
    rows[101]["at"] = "soon"
    lines = write(tmp_path / "a.log", *rows)
    result = run(tmp_path, Visit, threads=threads)
    letters = letters_of(tmp_path / "state")
    bad = [7, 8, 100, 101, 499]
    starts = [sum(len(line) + 1 for line in lines[:n]) for n in bad]
    assert [letter["position"] for letter in letters] == [
        f"line {n + 1}, byte {start}" for n, start in zip(bad, starts)
    ]
    assert [letter["raw"].encode() for letter in letters] == [lines[n] for n in bad]
    first = FirstLetter("a.log", 7, letters[0]["position"], letters[0]["reason"])
    known = SourceStats(
        500, 5, first, bytes_read=None, bytes_total=None, partitions=1, watermark=499, holding=["a.log"]
    )
    assert result.stats.sources == {"log": known}


def test_lines_are_numbered_in_compressed_and_rotated_logs_also_where_a_run_goes_on(tmp_path: Path) -> None:
    def lines(*users: Optional[str]) -> bytes:
        return b"".join(json.dumps({"user": user, "at": 5, "n": 0}).encode() + b"\n" for user in users)

    def run_again() -> list[str]:
        flow = hw.Flow("door")
        log = flow.source("log", Visit, hw.files(tmp_path / "app*", rotated=True), time="at")
        keep(log, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
        run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
        return [letter["position"] for letter in letters_of(tmp_path / "state")]

    (tmp_path / "app-1.log.gz").write_bytes(gzip.compress(lines("a", None)))
    (tmp_path / "app-2.log").write_bytes(lines("a", "b", None))
    size = len(lines("a"))
    first = [f"app-1.log line 2, byte {size}", f"app-2.log line 3, byte {2 * size}"]
    assert run_again() == first
    with (tmp_path / "app-2.log").open("ab") as file:
        file.write(lines("c", None))
    start = len(lines("a", "b", None, "c"))
    assert run_again() == [*first, f"app-2.log line 5, byte {start}"]


def test_results_of_a_flat_map_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a.log", {"users": ["a", None, "b", 1.5], "at": 1})
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.files(tmp_path / "a.log"), time="at")
    each = log.flat_map(lambda event: [{"user": user} for user in event["users"]], into=hw.Json)
    keep(each, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
    run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    letters = letters_of(tmp_path / "state")
    assert [letter["position"] for letter in letters] == ["line 1, byte 0, result 1", "line 1, byte 0, result 3"]


def ending(directory: Path, flow: hw.Flow, result: RunResult) -> Ending:
    plan = compile_flow(flow, directory / "state")
    return Ending(plan, directory / "state", result, resumed=False, seconds=1.0)


@pytest.mark.parametrize(("bad", "of", "told"), [(0, 100, False), (1, 100, False), (2, 100, True), (1, 1, True)])
def test_the_end_says_which_sources_are_mostly_of_no_use(tmp_path: Path, bad: int, of: int, told: bool) -> None:
    write(tmp_path / "b.log", *[{**GOOD, "at": n} for n in range(of - bad)], *[{"at": of}] * bad)
    flow = hw.Flow("door")
    log = flow.source("log", hw.Json, hw.files(tmp_path / "*.log"), time="at")
    keep(log, "user", hw.to_jsonl(tmp_path / "kept.jsonl"))
    result = run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    found = list(warnings(ending(tmp_path, flow, result)))
    assert len(found) == told
    if told:
        assert f"{bad} of the {of} record" in found[0]
        assert "'log'" in found[0]
        assert f"b.log, line {of - bad + 1}, byte " in found[0]
        assert "key_by-1: no field 'user'" in found[0]
        assert "dead-letters" in found[0]
        assert "; the first: " in found[0]
        assert summary_json(ending(tmp_path, flow, result))["notices"] == found
    # A run that goes on still knows the first one; what it has read itself may be too bad although the whole is not.
    write(tmp_path / "a.log", {"at": of})
    again = run_flow(flow, RunOptions(tmp_path / "state", key_groups=1, sync=False))
    [warning] = warnings(ending(tmp_path, flow, again))
    assert "a.log, line 1, byte 0" in warning
    of_this_run = "1 of the 1 record that this run has read"
    assert (of_this_run in warning) == ("; the first of all: " in warning) == (not bad)
    sources = summary_json(ending(tmp_path, flow, again))["sources"]
    assert sources["log"]["first_dead_letter"]["partition"] == "a.log"
    assert sources["log"]["dead_letters"] == bad + 1


def test_the_first_dead_letter_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    for part in "abc":
        write(tmp_path / f"{part}.log", *[{**GOOD, "at": n} if n % 7 else {"at": n} for n in range(1, 40)])
    found = set()
    for threads in (1, 3):
        for after in (0, 1, 5):
            directory = tmp_path / f"{threads}-{after}"
            directory.mkdir()
            flow = hw.Flow("door")
            log = flow.source("log", hw.Json, hw.files(tmp_path / "*.log"), time="at")
            keep(log, "user", hw.to_jsonl(directory / "kept.jsonl"))
            options = RunOptions(directory / "state", key_groups=2, threads=threads, chunk_bytes=100, sync=False)
            run_flow(flow, options, stop=StopAfter(after))
            found.add(run_flow(flow, options).stats.sources["log"].first)
    assert len(found) == 1
    assert found.pop() == FirstLetter("a.log", 6, found_position(tmp_path / "a.log", 6), "key_by-1: no field 'user'")


def found_position(path: Path, number: int) -> str:
    return f"line {number + 1}, byte {sum(map(len, path.read_bytes().splitlines(keepends=True)[:number]))}"


class StopAfter(StopFlag):
    """Stops a run when it has been asked a number of times."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __call__(self) -> bool:
        self.left -= 1
        return super().__call__() or self.left < 0
