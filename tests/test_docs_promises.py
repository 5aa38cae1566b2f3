"""The page of promises names all of them, and tests that exist; the soak, in short, finds no difference."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests import soak

from headway.testing import oracle

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
PROMISE = re.compile(r"^(\d+)\. \*\*(.+?)[.,]?\*\*", re.MULTILINE)


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+\. ", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_all_promises_are_there_in_their_words() -> None:
    promised = PROMISE.findall((ROOT / "README.md").read_text())
    assert len(promised) == 10
    told = [row[0].partition(". ") for row in rows()]
    assert [number for number, _, _ in told] == [number for number, _ in promised]
    for (_, _, short), (_, words) in zip(told, promised):
        assert words.startswith(short), f"{short!r} is not how the README says it: {words!r}"


def test_the_tests_exist() -> None:
    for row in rows():
        found = re.findall(r"\(\.\./(tests/\w+\.py)\)((?: `\w+`)*)", row[1])
        assert found, row
        for path, names in found:
            text = (ROOT / path).read_text()
            for name in re.findall(r"`(\w+)`", names):
                assert f"def {name}(" in text, f"{path} has no {name}"


def test_a_short_soak_finds_nothing_and_tells_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "RUNS", 2)
    report = soak.Report(7)
    soak.soak(report, lambda: report.cycles >= 1, tmp_path, lambda told: None)
    assert (report.cycles, report.difference) == (1, None)
    assert report.runs >= 6
    assert report.lines >= 5
    told = json.loads(json.dumps(report.as_json()))
    assert told["use"]["memory_bytes"] > 1 << 20
    assert "differences: 0" in report.text()


def test_a_soak_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle that says something else stands for an engine that does something else."""
    honest = oracle.run_oracle

    def lying(*arguments: object, **options: object) -> object:
        result: Any = honest(*arguments, **options)  # type: ignore[arg-type]
        for lines in result.outputs.values():
            del lines[:1]
        return result

    report = soak.Report(8)
    monkeypatch.setattr(oracle, "run_oracle", lying)
    soak.soak(report, lambda: False, tmp_path, lambda told: None)
    assert report.difference is not None
    assert "differences: 0" not in report.text()
    assert report.cycles == 1
