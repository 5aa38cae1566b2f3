"""The page docs/changing.md, followed step by step: each edit of the flow does what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from headway.cli.main import main
from headway.flows import abandoned_carts
from headway.state.reader import StateReader

PAGE = Path(__file__).parent.parent / "docs" / "changing.md"
INPUT = ("--set", "input=log/*.jsonl")
HALF = 1_200


def blocks() -> list[tuple[str, str]]:
    """The edits of the page and what is said of them, in order."""
    walk = PAGE.read_text().partition("## A walk")[2].partition("\n## ")[0]
    return re.findall(r"```(diff|text)\n(.*?)```", walk, re.DOTALL)


def edited(text: str, edit: str) -> str:
    """A file after an edit, all of whose lines stand together."""
    lines = edit.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(old) == 1, old
    return text.replace(old, new)


def append(lines: slice) -> None:
    for path in sorted(Path("demo").glob("shop-*.jsonl")):
        with (Path("log") / path.name).open("a") as file:
            file.writelines(path.read_text().splitlines(keepends=True)[lines])


def test_each_step_of_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert abandoned_carts.__file__ is not None
    flow = Path("carts.py")
    flow.write_text(Path(abandoned_carts.__file__).read_text())
    assert main(["generate", "shop", "demo", "--events", "10000"]) == 0
    Path("log").mkdir()
    append(slice(HALF))
    run = ["run", "carts.py", "--quiet", *INPUT]
    assert main(run) == 0
    with StateReader(".headway/abandoned-carts") as reader:
        kept = len(list(reader.rows("abandonment")))
    assert kept > 100
    assert len(blocks()) > 15
    position = HALF
    for number, (language, text) in enumerate(blocks()):
        if language == "diff":
            flow.write_text(edited(flow.read_text(), text))
            continue
        capsys.readouterr()
        refused = text.startswith("refused")
        assert main(["state", "check", "carts.py", *INPUT]) == (3 if refused else 0)
        said = capsys.readouterr().out
        assert said.startswith(text) or said == text, f"step {number}"
        append(slice(position, position + 100))
        position += 100
        assert main(run) == (3 if refused else 0)
        if refused:
            assert main(["state", "drop", "carts.py", "sold", "--yes"]) == 0
            assert main(run) == 0
        with StateReader(".headway/abandoned-carts") as reader:
            name = "waiting-carts" if "waiting-carts" in reader.operators() else "abandonment"
            assert len(list(reader.rows(name))) > 100
