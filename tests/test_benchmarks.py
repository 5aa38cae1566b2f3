"""The benchmarks, at sizes that tell nothing about speed: that they run, and that they see a wrong result."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from benchmarks import (
    auctions,
    backups,
    bare_clicks,
    bounds,
    clicks,
    concerns,
    decisions,
    epochs,
    exporter,
    idle,
    ingest,
    jobs,
    kafka,
    keys,
    latency,
    operators,
    savepoints,
    starts,
    targets,
    timers,
    windows,
)
from benchmarks.__main__ import ALL, CASES
from benchmarks.case import TINY, Arm, Case, Finding, Row, against, within
from benchmarks.clicks import Clicks, run_bare, run_job
from benchmarks.engine import EngineSpec, run
from benchmarks.noise import Noise
from benchmarks.plots import draw, svg
from benchmarks.processes import BenchmarkError, Run
from benchmarks.report import Outcome, markdown, put_into, save
from benchmarks.shop import run_bytewax, shop_stream
from tests.servers import kafka_server

SIZES = replace(
    TINY,
    timers=(20, 200),
    keys=(50, 200),
    checks=300,
    clicks=12_000,
    click_users=800,
    open_windows=300,
    nexmark=2_000,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def own_results(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the repository, and nothing is taken from there."""
    monkeypatch.setattr("benchmarks.cache.RESULTS", results)
    monkeypatch.setattr("benchmarks.cache._CACHE", results / "cache")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows run in this process: starting one for each takes longer than all they do."""

    def measure(arguments: Sequence[str]) -> Run:
        started_s = time.monotonic()
        spec = msgspec.json.decode(arguments[1], type=EngineSpec)
        report = run(msgspec.structs.replace(spec, sync=False))
        wall_s = time.monotonic() - started_s
        return Run(started_s, wall_s, wall_s, report.peak_bytes, 0.0, msgspec.to_builtins(report))

    monkeypatch.setattr("benchmarks.case.measure", measure)


IN_PROCESS = [
    operators.CASE,
    concerns.CASE,
    epochs.CASE,
    *(case for case in jobs.CASES if case.name != "exchange"),
    *windows.CASES,
    timers.CASE,
    keys.CASE,
    bounds.CASE,
]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", IN_PROCESS, ids=lambda case: case.name)
def test_a_case_finds_what_is_right(case: Case) -> None:
    finding = case.find(SIZES)
    assert finding.rows and all(row.arm.runs for row in finding.rows)
    assert case.about(SIZES)


@pytest.mark.usefixtures("in_process")
def test_an_exchange_over_several_files_finds_what_is_right() -> None:
    run_job(jobs.clicks_of(SIZES), "exchange", source="part-*.jsonl")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("query", auctions.QUERIES)
def test_nexmark(query: str) -> None:
    stream = auctions._stream(SIZES)
    assert orjson.loads((stream / "tables.json").read_bytes()).keys() == set(auctions.QUERIES)
    assert auctions._run(stream, query).answer["events"] == SIZES.nexmark


@pytest.mark.usefixtures("in_process")
def test_a_wrong_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auctions, "_found", lambda query, path: "other")
    with pytest.raises(BenchmarkError, match="not what SQL gives"):
        auctions._run(auctions._stream(SIZES), "q0")


@pytest.mark.parametrize("module", ["json", "orjson"])
def test_bytewax_finds_the_same_carts(module: str) -> None:
    assert run_bytewax(shop_stream(SIZES, 1), module).running_s > 0


def test_decisions() -> None:
    answers, beside = decisions.CASE.find(SIZES).rows
    assert answers.arm.told("answers") > 100
    assert beside.reference is not None


def test_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_WAYS", {"durable": (100, True)})
    [row] = latency.CASE.find(SIZES).rows
    assert row.arm.told("p50") <= row.arm.told("p99") <= row.arm.told("p99.9")
    assert 0 < row.arm.told("p50") < 20_000


def test_exporter() -> None:
    ratio, scrape = exporter.CASE.find(SIZES).rows
    assert ratio.figure > 0 and scrape.figure > 0


def test_ingest() -> None:
    rows = ingest.CASE.find(SIZES).rows
    assert [row.figure > 0 for row in rows] == [True] * 3


@pytest.mark.soak
def test_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_server()
    monkeypatch.setattr(kafka, "_RATE", 100)
    finding = kafka.CASE.find(SIZES)
    assert [row.arm.label for row in finding.rows] == [
        "abandoned carts from Kafka",
        "triggers to Kafka, exactly once",
        "from Kafka to Kafka",
    ]


def test_starts() -> None:
    rows = starts.CASE.find(SIZES).rows
    assert [row.figure > 0 for row in rows] == [True] * 2 and len(rows[0].arm.runs) == 1


@pytest.mark.usefixtures("in_process")
def test_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_CALM_S", 0.2)
    monkeypatch.setattr(idle, "_CALM", 0.9)
    for row in idle.CASE.find(SIZES).rows:
        assert 0 <= row.arm.told("idle_cores") < 1


def test_savepoints() -> None:
    whole, epoch = savepoints.CASE.find(SIZES).rows
    assert 0 < whole.figure < 60 and 0 < epoch.figure < 60


def test_backups() -> None:
    sent, first, pace = backups.CASE.find(replace(SIZES, keys=(50, 100), checks=200)).rows
    assert sent.figure > 0 and 0 < first.figure < 60 and pace.figure > 0


def test_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "PLACES", [])
    finding = targets.CASE.find(replace(SIZES, clicks=200))
    assert all(row.arm.running > 0 for row in finding.rows) and "no PostgreSQL" in finding.notes[0]


@pytest.mark.parametrize("job", sorted(bare_clicks.JOBS))
def test_a_wrong_line_is_seen(job: str, tmp_path: Path) -> None:
    stream = Clicks("wrong", 12_000, 40)
    wanted = stream.expected(job)
    path = tmp_path / "lines.jsonl"
    with stream.log.open("rb") as lines, path.open("wb") as out:
        bare_clicks.JOBS[job](lines, out)
    clicks._check(job, path, wanted)
    good = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(reversed(good)))
    clicks._check(job, path, wanted)
    for wrong in (good[:-1], [*good, good[0]], [good[1], *good[1:]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(BenchmarkError, match=f"{job} wrote"):
            clicks._check(job, path, wanted)


def test_windows_of_the_bare_loop_are_those_that_brute_force_gives(tmp_path: Path) -> None:
    stream = Clicks("brute", 12_000, 3)
    *events, end = [orjson.loads(line) for line in stream.log.read_bytes().splitlines()]
    for job, length_ms in (("tumbling", bare_clicks.PANE_MS), ("sliding", bare_clicks.WINDOW_MS)):
        expected = set()
        for end_ms in range(clicks.START_MS + bare_clicks.PANE_MS, end["at"] + 1, bare_clicks.PANE_MS):
            start_ms = end_ms - length_ms
            for user in {event["user"] for event in events}:
                inside = [e["cents"] for e in events if e["user"] == user and start_ms <= e["at"] < end_ms]
                if inside:
                    expected.add((user, start_ms, end_ms, len(inside), sum(inside)))
        with stream.log.open("rb") as lines, (tmp_path / job).open("wb") as out:
            bare_clicks.JOBS[job](lines, out)
        found = [orjson.loads(line).values() for line in (tmp_path / job).read_bytes().splitlines()]
        assert len(found) == len(expected) and {tuple(values) for values in found} == expected


def test_a_bare_loop_is_measured() -> None:
    assert run_bare(Clicks("bare", 3_000, 40), "filter").running_s > 0


def arm_of(label: str, seconds: float) -> Arm:
    answer: dict[str, Any] = {"running_s": seconds, "running_cpu_s": seconds}
    return Arm(label, lambda: pytest.fail("not run"), 1_000, [Run(0.0, seconds, seconds, 1 << 20, 0.0, answer)])


def test_a_figure_compares_what_ran_in_the_same_round() -> None:
    slow, quick = arm_of("slow", 2.0), arm_of("quick", 1.0)
    for seconds in (4.0, 40.0):
        slow.runs += arm_of("slow", seconds).runs
    for seconds in (4.0, 20.0):
        quick.runs += arm_of("quick", seconds).runs
    assert against(slow, quick).figure == 0.5
    assert slow.running == quick.running


def outcome_of(name: str, rows: Sequence[Row]) -> Outcome:
    case = Case(name, lambda sizes: "about it", lambda sizes: Finding(rows))
    return Outcome(case, SIZES, 1.0, Noise([1.0], [1.0]), Finding(rows, ["a note"]))


def test_figures_and_targets() -> None:
    slow, quick = arm_of("slow", 2.0), arm_of("quick", 1.0)
    assert against(slow, quick, 0.5).met is True
    assert against(slow, quick, 0.51).met is False
    assert against(slow, quick).met is None
    assert against(slow, quick, most_cost=1.9).met is False
    assert against(slow, quick, most_cost=2.0).text == "2.00 times the time"
    assert within(slow, 601, 600, "MiB").met is False
    assert within(slow, 1.5, 2, "%").text == "1.50 %"


def test_the_table(tmp_path: Path) -> None:
    slow, quick = arm_of("slow", 2.0), arm_of("quick", 1.0)
    wrong = replace(outcome_of("bad", []), finding=None, problem="a | b")
    text = markdown([outcome_of("good", [against(slow, quick, 0.7)]), wrong], {"commit": "abc"}, SIZES)
    assert "| good | slow | quick | 500 | 1,000 | 0.50 | >= 0.7 | no | 2.0 | 1 |" in text
    assert "| bad | a / b |" in text and "WRONG" in text
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: begin -->old<!-- figures: end -->\nafter\n")
    put_into(page, text)
    put_into(page, text)
    written = page.read_text()
    assert written.count(text) == 1 and "old" not in written
    assert written.startswith("before\n") and written.endswith("\nafter\n")
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        put_into(page, text)
    saved = orjson.loads(save([wrong], {"commit": "abc"}, SIZES, ["bad"], tmp_path).read_bytes())
    assert saved["cases"][0]["problem"] == "a | b"


def test_plots(tmp_path: Path) -> None:
    many, few = arm_of("10,000 pending", 2.0), arm_of("1,000 pending", 1.0)
    rows = [against(many, few), within(arm_of("opening 10,000 carts", 1.0), 1, 2, "MiB")]
    [path] = draw([outcome_of("timers", rows), outcome_of("carts", rows)], tmp_path / "img")
    texts = [text.text for text in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:] == ["1,000 pending", "1,000", "10,000 pending", "500"]
    assert ElementTree.fromstring(svg("a < b", [("x", 1.0)])).tag.endswith("svg")


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(CASES) == len(ALL)
