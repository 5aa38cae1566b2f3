"""`hw.to_parquet`: which rows are in which file, and that they are there exactly once, whatever ends the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway as hw
from headway.connectors.base import OutputWriter, Position
from headway.connectors.columns import writer as writer_module
from headway.errors import FlowError, OutputError, UsageError
from headway.proving.crashes import Crashes, Kill

parquet = pytest.importorskip("pyarrow.parquet")

HOUR_MS = 3_600_000

FLOW = """
import headway as hw

class Order(hw.Event):
    at: hw.Time
    user: str
    n: int

class Total(hw.State):
    seen: int = 0

class Seen(hw.Event):
    user: str
    placed: hw.Time
    n: int
    seen: int

class Count(hw.Operator[Order, Total, Seen]):
    def on_event(self, state, event, ctx):
        state.seen += 1
        ctx.emit(Seen(ctx.key, event.at - event.n % 5 * 2_000_000, event.n, state.seen))

flow = hw.Flow("orders")
orders = flow.source("orders", Order, hw.files("orders-*.jsonl"), time="at", out_of_order="1m")
seen = orders.key_by("user").process("count", Count())
seen.to("by-hour", hw.to_parquet("hours"))
seen.trigger("order.seen", hw.to_parquet("triggers", time="placed", by="user", wait="30m"))
"""


class Row(hw.Event):
    n: int
    at: hw.Time = 0
    kind: Optional[str] = None


def feed(directory: Path, count: int, first: int = 0) -> None:
    """Orders of some ten hours, in two partitions."""
    (directory / "flow.py").write_text(FLOW)
    for part in range(2):
        with (directory / f"orders-{part}.jsonl").open("a") as log:
            for n in range(first + part, first + count, 2):
                log.write(json.dumps({"at": n * 40_000, "user": f"u{n % 3}", "n": n}) + "\n")


def run(directory: Path, *options: object, crashes: Optional[Crashes] = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", *map(str, options)]
    environment = None if crashes is None else crashes.environment
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def found_in(directory: Path) -> dict[str, bytes]:
    """The complete files, byte by byte."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.parquet"))}


def all_files(directory: Path) -> dict[str, bytes]:
    found = {
        f"{name}/{file}": data for name in ("hours", "triggers") for file, data in found_in(directory / name).items()
    }
    assert found
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.ParquetFile(path).read().to_pylist()
    return rows


def opened(
    directory: Path, position: Optional[Position] = None, mark: Optional[str] = None, **options: Any
) -> OutputWriter:
    output = hw.to_parquet(directory, **options).of_values(Row, in_triggers=False)
    return output.open(position, mark=mark)


def lines(*rows: Row) -> list[bytes]:
    return [json.dumps({"n": row.n, "at": row.at, "kind": row.kind}).encode() for row in rows]


def test_rows_are_in_the_file_of_their_hour_in_the_order_of_time(tmp_path: Path) -> None:
    feed(tmp_path, 900)
    done = run(tmp_path, "--drain")
    assert done.returncode == 0, done.stderr
    files = found_in(tmp_path / "hours")
    assert list(files)[:2] == ["1970-01-01T00.parquet", "1970-01-01T01.parquet"] and len(files) == 10
    seen = []
    for name in files:
        rows = rows_of(tmp_path / "hours" / name)
        assert {row["n"] * 40_000 // HOUR_MS for row in rows} == {int(name[11:13])}
        seen += [row["n"] for row in rows]
    assert seen == list(range(900))
    triggers = [row for path in (tmp_path / "triggers").rglob("*.parquet") for row in rows_of(path)]
    assert sorted(row["data"]["n"] for row in triggers) == list(range(900))
    assert all(row["type"] == "order.seen" and row["subject"] == row["data"]["user"] for row in triggers)
    late = [path for path in (tmp_path / "triggers").rglob("*.parquet") if ".late-" in path.name]
    assert late and {path.parent.name for path in late} == {"u0", "u1", "u2"}
    assert not list((tmp_path / "hours" / "_open").glob("*.jsonl"))


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.soak), 3])
def test_files_are_the_same_from_any_number_of_workers_and_runs(tmp_path: Path, workers: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    feed(whole, 900)
    assert run(whole, "--drain").returncode == 0
    expected = all_files(whole)
    parts = tmp_path / str(workers)
    parts.mkdir()
    for first in (0, 450):
        feed(parts, 450, first)
        done = run(parts, "--workers", workers, "--epoch", "30ms", *(["--drain"] if first else []))
        assert done.returncode == 0, done.stderr
    assert all_files(parts) == expected


def test_an_hour_appears_when_time_has_passed_it_and_an_open_one_does_not(tmp_path: Path) -> None:
    feed(tmp_path, 200)
    assert run(tmp_path).returncode == 0
    assert list(found_in(tmp_path / "hours")) == ["1970-01-01T00.parquet", "1970-01-01T01.parquet"]
    before = found_in(tmp_path / "hours")
    feed(tmp_path, 200, 200)
    assert run(tmp_path).returncode == 0
    after = found_in(tmp_path / "hours")
    assert len(after) == 4 and before.items() <= after.items()


def test_an_hour_is_closed_by_time_alone(tmp_path: Path) -> None:
    """No row needs to come behind it: the watermark passes it by events that become no rows."""
    times = [0, 1_000, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1]
    log = [{"n": n, "at": at, "kind": "row" if at < HOUR_MS else "clock"} for n, at in enumerate(times)]
    flow = hw.Flow("hours")
    rows = flow.source("rows", Row, hw.items(log), time="at").filter(hw.where(kind="row"))
    rows.to("hours", hw.to_parquet(tmp_path / "hours"))
    hw.run(flow, state=tmp_path / "state")
    assert [row["n"] for row in rows_of(tmp_path / "hours" / "1970-01-01T00.parquet")] == [0, 1, 2]


FEW_POINTS = ["columns.before", "columns.after", "output.after", "lines-sync.before"]
POINTS = [
    f"{step}.{side}" for step in ("columns", "output", "lines", "lines-sync", "mark") for side in ("before", "after")
]
POINTS += ["delta.before", "promotion.after", "settlement.before"]


@pytest.mark.parametrize("points", [FEW_POINTS, pytest.param(POINTS, marks=pytest.mark.soak)], ids=["few", "all"])
def test_a_kill_at_any_point_leaves_what_an_undisturbed_run_leaves(tmp_path: Path, points: list[str]) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    feed(undisturbed, 600)
    crashes = Crashes(tmp_path / "crashes")
    crashes.arm(None)
    assert run(undisturbed, "--drain", "--epoch", "20ms", crashes=crashes).returncode == 0
    expected, counts = all_files(undisturbed), crashes.counts()
    rng = Random(7)
    for point in points:
        killed = tmp_path / point
        killed.mkdir()
        feed(killed, 600)
        kill = Kill(point, rng.randint(1, max(1, counts[point] // 2)))
        crashes.arm(kill)
        done = run(killed, "--drain", "--epoch", "20ms", crashes=crashes)
        assert done.returncode == -signal.SIGKILL, (kill, done.stderr)
        crashes.lose_power(rng)
        crashes.arm(None)
        done = run(killed, "--drain", "--epoch", "20ms", crashes=crashes)
        assert done.returncode == 0, (kill, done.stderr)
        assert all_files(killed) == expected, kill
        assert not list(killed.rglob("*.jsonl.parquet")), kill


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(1, 12)),
        st.tuples(st.just("time"), st.integers(0, 3 * HOUR_MS)),
        st.tuples(st.just("epoch"), st.booleans()),
        st.tuples(st.just("crash"), st.booleans()),
    ),
    max_size=30,
)


@given(STEPS, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_an_epoch_that_is_done_again_leaves_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], seed: int
) -> None:
    """A writer that is ended anywhere and opened at its last position gives the files of one that is not."""
    chance, at = Random(seed), 0
    log: list[tuple[int, Row]] = []
    for step, amount in steps:
        if step == "time":
            at += amount
        for _ in range(amount if step == "rows" else 0):
            at += chance.randrange(400_000)
            log.append((at, Row(len(log), max(0, at - chance.randrange(3 * HOUR_MS)), chance.choice(["a", "b", None]))))
    end = at + 9 * HOUR_MS
    options: dict[str, Any] = {"time": "at", "by": "kind", "wait": "20m"}
    straight = tmp_path_factory.mktemp("straight")
    writer = opened(straight, **options)
    writer.write_at([at for at, _ in log], lines(*(row for _, row in log)))
    writer.pass_time(end)
    writer.position()
    writer.committed()
    writer.close()
    directory = tmp_path_factory.mktemp("broken")
    writer, position, done, done_before, mark = opened(directory, **options), None, 0, 0, None
    mark = writer.mark
    for step, amount in [*steps, ("rows", 0)]:
        if step == "rows":
            rows = log[done : done + amount] if amount else log[done:]
            writer.write_at([at for at, _ in rows], lines(*(row for _, row in rows)))
            done += len(rows)
            writer.pass_time(rows[-1][0] - 1 if rows else 0)
        elif step == "epoch":
            position, done_before = json.loads(json.dumps(writer.position())), done
            if amount:
                writer.committed()
        elif step == "crash":
            writer.close()
            writer, done = opened(directory, position, mark, **options), done_before
    writer.write_at([at for at, _ in log[done:]], lines(*(row for _, row in log[done:])))
    writer.pass_time(end)
    writer.position()
    writer.committed()
    writer.close()
    assert found_in(directory) == found_in(straight)


def test_few_spools_are_open_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "OPEN_MAX", 3)
    writer = opened(tmp_path, by="kind")
    writer.write_at([0] * 40, lines(*(Row(n, 0, str(n % 20)) for n in range(40))))
    assert len(writer._spools) <= 3  # type: ignore[attr-defined]
    writer.pass_time(HOUR_MS)
    writer.position()
    writer.committed()
    writer.close()
    assert [row["n"] for row in rows_of(tmp_path / "7" / "1970-01-01T00.parquet")] == [7, 27]


def test_too_many_spans_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SPANS_MAX", 10)
    writer = opened(tmp_path, by="kind")
    with pytest.raises(OutputError, match=r"11 spans and folders are open, of at most 10: give by= a field of fewer"):
        writer.write_at([0] * 11, lines(*(Row(n, 0, str(n)) for n in range(11))))
    writer.close()


def test_files_of_others_are_not_mixed_with_ours(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "2024.parquet").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"files that this flow did not write, such as sub/2024\.parquet: expected"):
        opened(tmp_path)
    (tmp_path / "sub" / "2024.parquet").rename(tmp_path / "sub" / "2024.csv")
    opened(tmp_path).close()


def test_a_number_beyond_64_bits_is_refused_with_the_row(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    with pytest.raises(OutputError, match=r"a value that its column does not take .*\$\.n.*\"n\": 9223372036854775808"):
        writer.write_at([0], lines(Row(2**63)))
    writer.close()


def test_an_open_span_that_was_taken_away_is_told(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.write_at([0], lines(Row(1)))
    position = writer.position()
    writer.close()
    [spool] = (tmp_path / "_open").iterdir()
    spool.unlink()
    with pytest.raises(OutputError, match="is shorter than what was written to it"):
        opened(tmp_path, position, writer.mark)


def test_a_complete_file_may_be_taken_away_at_once(tmp_path: Path) -> None:
    """By whoever loads it: a start that has not heard that it was made does not make it again."""
    writer = opened(tmp_path)
    writer.write_at([0], lines(Row(1)))
    writer.pass_time(HOUR_MS)
    position = writer.position()
    writer.committed()
    writer.close()
    (tmp_path / "1970-01-01T00.parquet").unlink()
    again = opened(tmp_path, position, writer.mark)
    assert again.position() == {"open": {}, "sealed": {}} or not found_in(tmp_path)
    again.close()
    assert not found_in(tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"every": "10ms"}, "expected a second or more"),
        ({"wait": "1h"}, "goes with time="),
        ({"by": ("kind", "")}, "'' names no field"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        hw.to_parquet("lake", **options)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (hw.to_parquet("lake", time="kind"), r"time='kind'\): expected .* says when .*; the type of the values has at"),
        (hw.to_parquet("lake", by="colour"), r"by='colour'\): expected .*; the type of the values has n, kind"),
        (hw.to_parquet("lake", row=hw.Json), "no fields that are known"),
    ],
)
def test_fields_that_are_not_there_are_refused_where_the_flow_is_declared(output: Any, reason: str) -> None:
    flow = hw.Flow("rows")
    with pytest.raises(FlowError, match=reason):
        flow.source("rows", Row, hw.items([]), time="at").to("lake", output)


def test_two_outputs_do_not_share_a_directory(tmp_path: Path) -> None:
    flow = hw.Flow("rows")
    rows = flow.source("rows", Row, hw.items([]), time="at")
    rows.to("lake", hw.to_parquet(tmp_path / "lake"))
    for other in (hw.to_parquet(tmp_path / "lake" / "deeper"), hw.to_jsonl(tmp_path / "lake" / "rows.jsonl")):
        with pytest.raises(FlowError, match="is written by 'lake' already"):
            rows.to("other", other)


def test_a_flow_does_not_read_what_it_writes(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    flow = hw.Flow("rows")
    rows = flow.source("rows", Row, hw.parquet(tmp_path / "lake" / "*.parquet"), time="at")
    rows.to("lake", hw.to_parquet(tmp_path / "lake"))
    with pytest.raises(UsageError, match="would read what it writes"):
        hw.run(flow, state=tmp_path / "state")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    log = [{"n": n, "at": n * 60_000, "kind": None if n % 3 else "x"} for n in range(200)]
    flow = hw.Flow("write")
    flow.source("rows", Row, hw.items(log), time="at").to("lake", hw.to_parquet(tmp_path / "lake"))
    hw.run(flow, state=tmp_path / "state", drain=True)
    found: list[Any] = []
    back = hw.Flow("read")
    back.source("rows", Row, hw.parquet(tmp_path / "lake", one_log=True), time="at").to("found", hw.to_list(found))
    hw.run(back, state=tmp_path / "other", drain=True)
    assert found == log
