"""Functions beside other engines: what is measured of Headway, what is left out, and how figures are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from benchmarks.peers.__main__ import table
from benchmarks.peers.known import ENGINES, Headway
from benchmarks.peers.notes import Notes
from benchmarks.peers.rounds import Killed, Round, Work, measured
from benchmarks.processes import BenchmarkError


def test_a_round_of_headway(tmp_path: Path) -> None:
    found = measured(Headway(tmp_path, tmp_path), Work(alone=5, many=40, in_flight=10, killed=10))
    assert 0 < found.p50_ms <= found.p99_ms and found.per_second > 0
    assert found.killed.under_way == 10 and found.killed.steps_again >= 10, "each was in its second step"
    assert 0 < found.killed.first_step_s <= found.killed.all_done_s


def test_what_is_not_installed_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    told = {name: engine.missing(tmp_path) for name, engine in ENGINES.items()}
    assert told["headway"] == ""
    assert all("pip install -r" in told[name] for name in ("restate", "temporal", "dbos"))
    assert "npm install --prefix" in told["restate"]


def test_ratios_are_those_of_the_same_round() -> None:
    def round_of(figure: float) -> Round:
        return Round(figure, figure, figure, figure, Killed(1, figure, figure, figure, 0))

    own = [round_of(figure) for figure in (10.0, 40.0, 30.0)]
    other = [round_of(figure) for figure in (20.0, 20.0, 30.0)]
    lines = table({"headway": own, "dbos": other}, {"commit": "abc"}).splitlines()
    assert lines[2].startswith("| Headway | 30 (10 to 40) |") and lines[3].startswith("| DBOS | 20 (20 to 30) |")
    assert lines[4].startswith("| Headway / DBOS | 1.00 |")


def test_notes_are_read_line_by_line_and_the_first_of_a_step_counts(tmp_path: Path) -> None:
    path = tmp_path / "times"
    notes = Notes(path)
    notes.look()
    path.write_bytes(b"7 1 1000000000\n7 1 2000000000\n7 3 30")
    notes.look()
    assert (notes.counts, notes.begun, notes.times) == ({1: 1}, 2, {(7, 1): 1.0})
    with path.open("ab") as file:
        file.write(b"00000000\n")
    notes.look()
    assert notes.times[7, 3] == 3.0
    with pytest.raises(BenchmarkError, match="waited 0 s in vain for more"):
        notes.await_true(lambda: False, "more", 0)
