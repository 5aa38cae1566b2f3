"""The page of promises names all of them, and tests that exist; the soak, in short, finds no difference."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests import soak

from headway.testing import oracle

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
PROMISE = re.compile(r"^(\d+)\. \*\*(.+?)[.,]?\*\*", re.MULTILINE)


class Section(NamedTuple):
    """What the page says of one promise."""

    number: str
    title: str
    promised: str
    each_time: str
    for_long: str
    command: str


def sections() -> list[Section]:
    found = []
    for text in re.split(r"^## (?=\d+\. )", PAGE.read_text().partition("\n## Beyond")[0], flags=re.MULTILINE)[1:]:
        heading, _, rest = text.partition("\n")
        number, _, title = heading.partition(". ")
        promised, _, rest = rest.partition("\nHeld by:\n")
        held, _, own = rest.partition("\nOn your own flow")
        each_time, _, for_long = held.partition("\nFor long:")
        found.append(Section(number, title, promised.strip(), each_time, for_long, own))
    return found


def linked_tests(text: str) -> list[tuple[str, str]]:
    """The files and names of the tests that a text links to."""
    linked = re.findall(r"\(\.\./(tests/\w+\.py)\)((?:\s+`\w+`)*)", text)
    return [(path, name) for path, names in linked for name in re.findall(r"`(\w+)`", names)]


def is_of_the_soak(path: str, name: str) -> bool:
    """Whether a test runs with `make soak` alone: it is marked as a whole, and not for some of its parameters."""
    tree = ast.parse((ROOT / path).read_text())
    [found] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return "pytest.mark.soak" in map(ast.unparse, found.decorator_list)


def test_all_promises_are_there_in_their_words() -> None:
    promised = PROMISE.findall((ROOT / "README.md").read_text())
    assert len(promised) == 10
    told = sections()
    assert [section.number for section in told] == [number for number, _ in promised]
    for section, (_, words) in zip(told, promised):
        assert section.title == words, f"the README says {words!r}"
        assert len(section.promised) > 40, "it is said in full"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_each_promise_has_tests_that_run_each_time_and_a_command(section: Section) -> None:
    each_time, for_long = linked_tests(section.each_time), linked_tests(section.for_long)
    assert each_time
    assert not [found for found in each_time if is_of_the_soak(*found)]
    assert all(is_of_the_soak(*found) for found in for_long)
    assert re.search(r"^headway .*FLOW", section.command, re.MULTILINE)
    every_link = re.findall(r"\(\.\./(tests/\w+\.py)\)", section.each_time + section.for_long)
    assert {path for path, _ in [*each_time, *for_long]} == set(every_link), "a file alone proves nothing"


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
