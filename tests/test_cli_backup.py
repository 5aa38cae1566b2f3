"""`headway backup` and the options of `headway run`: what they say, and what they refuse."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.backups_harness import claimed
from tests.evolve_harness import SEEN, keep, part

from headway.backups.store import open_store
from headway.cli.main import main

FLOW = """
import headway as hw

class Seen(hw.State):
    count: int = 0

class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        ctx.emit({"user": ctx.key, "count": state.count})

flow = hw.Flow("counts")
steps = flow.source("steps", hw.Json, hw.files("steps.jsonl"), time="at")
steps.key_by("user").process("count", Count()).to("counted", hw.to_jsonl("counted.jsonl"))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flow with two backups, `a` and `b`, in `kept`; the lease was given back."""
    monkeypatch.chdir(tmp_path)
    keep(tmp_path, SEEN, part(0, 20))
    backups = claimed(open_store("file:kept"), tmp_path)
    with backups.leased():
        backups.create("a")
        keep(tmp_path, SEEN, part(0, 40))
        backups.create("b")
    return tmp_path


def test_create_and_list(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "create", "file:kept", "state", "c"]) == 0
    assert "made the backup c of 2" in capsys.readouterr().out
    assert main(["backup", "create", "file:kept", "state", "c"]) == 2
    assert "has a savepoint 'c' already" in capsys.readouterr().err
    assert main(["backup", "list", "file:kept"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["a", "b", "c"]
    assert main(["backup", "list", "file:kept", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["name"], last["events"]) == ("c", 40)
    assert 0 < last["sent_bytes"] < last["bytes"]


def test_verify_names_what_is_damaged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "verify", "file:kept", "--all"]) == 0
    assert capsys.readouterr().out.count("all objects are as they were sent") == 2
    damaged = max((place / "kept" / "files").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["backup", "verify", "file:kept", "--all", "--json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["name"] for one in told] == ["a", "b"]
    assert any(damaged.name in text for one in told for text in one["damaged"])
    assert main(["backup", "verify", "file:kept", "a", "--all"]) == 2


def test_restore_elsewhere_asks_what_becomes_of_outputs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "restore", "file:kept", "other"]) == 2
    assert "--outputs back" in capsys.readouterr().err
    assert not Path("other").exists(), "refused before anything was fetched"
    assert main(["backup", "restore", "file:kept", "other", "a", "--outputs", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"]["events"] == 20
    assert main(["backup", "restore", "file:kept", "other", "z", "--yes"]) == 2
    assert "has no backup 'z': expected one of a, b" in capsys.readouterr().err


def test_prune_asks_first(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.confirm", lambda text, **options: exit(text))
    assert main(["backup", "prune", "file:kept", "--keep", "1"]) != 0
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert main(["backup", "prune", "file:kept", "--keep", "1", "--yes"]) == 0
    assert "dropped: a" in capsys.readouterr().out
    assert main(["backup", "list", "file:kept"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["b"]


def test_a_run_comes_back_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.py").write_text(FLOW)
    lines = [f'{{"at": {at}, "user": "u{at % 7}"}}\n' for at in range(600)]
    Path("steps.jsonl").write_text("".join(lines[:300]))
    command = ["run", "flow.py", "--backup-to", "file:kept"]
    assert main(command) == 0
    assert "counts: file:kept has no backups yet; the flow begins with nothing" in capsys.readouterr().err
    shutil.rmtree(".headway")
    Path("steps.jsonl").write_text("".join(lines))
    assert main([*command, "--drain", "--quiet"]) == 0
    assert "note: counts: goes on from the backup backup-" in capsys.readouterr().err
    counted = [json.loads(line)["count"] for line in Path("counted.jsonl").read_text().splitlines()]
    assert (len(counted), max(counted)) == (600, 86)
    shutil.rmtree(".headway")
    Path("counted.jsonl").unlink()
    assert main([*command, "--backup-anew", "--quiet"]) == 0
    assert "goes on from" not in capsys.readouterr().err
    assert len(Path("counted.jsonl").read_text().splitlines()) < 601


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backup-anew"], "give that too"),
        (["--backup-take-over"], "give that too"),
        (["--backup-every", "5s"], "--backup-every and --backup-keep are about the backups of --backup-to URL"),
        (["--backup-keep", "24"], "--backup-every and --backup-keep are about the backups of --backup-to URL"),
        (["--keep", "5"], "--keep is about the savepoints of --savepoint-every DURATION: give that too"),
        (["--backup-to", "ftp://kept"], "names no place for backups"),
        (["--backup-to", "file:kept", "--backup-every", "10ms"], "it must be 1s or longer"),
        (["--backup-to", "file:kept", "--backup-keep", "0"], "0 is not in the range"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.py").write_text(FLOW)
    Path("steps.jsonl").touch()
    assert main(["run", "flow.py", *options]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / ".headway").exists()


def test_a_library_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert main(["backup", "list", "s3://kept/there"]) == 2
    assert "pip install 'headway[backup]'" in capsys.readouterr().err
