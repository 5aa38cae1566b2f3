"""The commands that the documentation shows for what a flow keeps do what is said, in the order of the page."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from headway.cli.main import main
from headway.generate import ShopOptions, generate_shop

ROOT = Path(__file__).parents[1]
ASKS = {"delete", "restore"}
"""Commands that ask before they do anything."""
DIFFERS = {"diff"}
"""Commands whose exit code says that there is a difference."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flow that has run, with the files and the savepoint that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("flows").mkdir()
    shutil.copy(ROOT / "flows" / "abandoned_carts.py", "flows")
    generate_shop(ShopOptions(events=3_000, users=200, partitions=2, seed=1), tmp_path / "data" / "shop")
    run = ["run", "flows/abandoned_carts.py", "--set", "input=data/shop/shop-*.jsonl", "--quiet"]
    assert main(run) == 0
    return tmp_path


def commands(page: str, section: str = "") -> list[list[str]]:
    text = (ROOT / "docs" / page).read_text()
    if section:
        text = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line.removeprefix("$ "))[1:] for block in blocks for line in block.splitlines() if line]


def check(shown: list[list[str]], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown) > 5
    for words in shown:
        if words[0] == "run":
            continue
        given = [word.replace("/var/lib", str(place / "lib")) for word in words] + ["--yes"] * (words[1] in ASKS)
        code = main(given)
        told = capsys.readouterr()
        assert code == 0 or (code == 1 and words[1] in DIFFERS), f"headway {' '.join(given)}: {told.err}"
        assert told.out, f"headway {' '.join(given)} tells nothing"


def test_looking_into_the_state(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["savepoint", "create", "flows/abandoned_carts.py", "before-the-sale"]) == 0
    for key in ("u000123", "u000124"):
        state = '{"items": {"s0002": 2}, "cents": 700}'
        assert main(["state", "set", "flows/abandoned_carts.py", "abandonment", key, state]) == 0
    capsys.readouterr()
    assert main(["state", "export", "flows/abandoned_carts.py", "abandonment"]) == 0
    Path("rows.jsonl").write_text(capsys.readouterr().out)
    check(commands("operating.md", "Looking into the state"), place, capsys)


def test_savepoints(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(commands("savepoints.md"), place, capsys)


def test_a_name_that_may_mean_both(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = "flows/abandoned_carts.py"
    assert main(["savepoint", "create", flow, "monday"]) == 0
    shutil.copytree(".headway/abandoned-carts", "monday")
    assert main(["state", "diff", flow, "monday"]) == 2
    assert "write ./monday for the folder" in capsys.readouterr().err
    for name in ("./monday", ".headway/abandoned-carts/savepoints/monday"):
        assert main(["state", "diff", flow, name]) == 0
