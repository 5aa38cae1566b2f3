from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from headway.cli.main import main

FLOW = """
import headway as hw

class Click(hw.Event):
    user: str
    at: hw.Time

class Seen(hw.State):
    clicks: int = 0

class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        ctx.timer("idle", event.at + 1_000_000)

flow = hw.Flow("clicks")
events = [{"user": f"user{n % 30:02d}", "at": 1_000 + n} for n in range(60)]
clicks = flow.source("clicks", Click, hw.items(events), time="at")
clicks.key_by("user").process("count", Count()).trigger("counted", hw.to_list([]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    (folder / "clicks.py").write_text(FLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", sys.path[:])
        assert main(["run", "clicks.py", "--quiet", "--key-groups", "2"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", sys.path[:])


def lines(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert main(["state", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


@pytest.mark.parametrize(
    "where",
    [
        [".headway/clicks"],
        ["clicks.py"],
        ["--state", ".headway/clicks"],
        ["clicks.py", "--state", ".headway/clicks"],
        ["--state", ".headway/clicks", "clicks.py"],
    ],
    ids=str,
)
def test_operators_are_listed(capsys: pytest.CaptureFixture[str], where: list[str]) -> None:
    assert lines(capsys, "ls", *where) == ["count"]
    assert [json.loads(line) for line in lines(capsys, "ls", *where, "--json")] == [{"operator": "count"}]


def test_keys_are_listed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, "ls", "clicks.py", "count")
    assert [line.split()[0] for line in shown[:-1]] == [f"user{n:02d}" for n in range(20)]
    assert shown[0] == 'user00  {"clicks":2}  timer idle at 1970-01-01T00:16:41.030Z'
    assert shown[-1].startswith("... and more: --limit 0 shows all")
    assert len(lines(capsys, "ls", "clicks.py", "count", "--limit", "0")) == 30
    assert len(lines(capsys, "ls", "clicks.py", "count", "--limit", "30")) == 30


def test_keys_are_listed_by_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, "ls", "--state", ".headway/clicks", "count", "--prefix", "user2", "--json")
    rows = [json.loads(line) for line in shown]
    assert [row["key"] for row in rows] == [f"user2{n}" for n in range(10)]
    assert rows[0] == {"key": "user20", "state": {"clicks": 2}, "timers": {"idle": 1_001_050}, "touched_ms": 1_050}
    assert lines(capsys, "ls", "clicks.py", "count", "--prefix", "x") == [
        "count keeps nothing for keys that begin with 'x'"
    ]


def test_one_key_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, "get", "clicks.py", "count", "user07")
    assert shown[:4] == ["{", '  "clicks": 2', "}", "timer idle at 1970-01-01T00:16:41.037Z"]
    assert shown[4].startswith("last touched 1970-01-01T00:00:01.037Z, key group ")
    assert json.loads(lines(capsys, "get", "clicks.py", "count", "user07", "--json")[0])["state"] == {"clicks": 2}


def test_a_key_without_state_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "get", "clicks.py", "count", "nobody"]) == 1
    assert capsys.readouterr() == ("", "count keeps nothing for 'nobody'\n")
    assert main(["state", "get", "clicks.py", "count", "nobody", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) is None


def test_an_unknown_operator_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "get", "clicks.py", "counts", "nobody"]) == 2
    assert "no operator 'counts': expected one of count" in capsys.readouterr().err


def test_a_flow_and_its_state_directory_are_given_as_for_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--state", ".headway/clicks"]
    shown = lines(capsys, "ls", "clicks.py", "count", *at, "--limit", "0")
    assert shown == lines(capsys, "ls", "count", *at, "--limit", "0") and len(shown) == 30
    assert lines(capsys, "get", "clicks.py", "count", "user07", *at) == lines(
        capsys, "get", "clicks.py", "count", "user07"
    )


def test_a_flow_and_the_state_directory_of_another_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.py"
    other.write_text(FLOW.replace('hw.Flow("clicks")', 'hw.Flow("other")'))
    for command in (["ls", str(other)], ["get", str(other), "count", "user07"]):
        assert main(["state", *command, "--state", ".headway/clicks"]) == 2
        assert "belongs to the flow 'clicks'" in capsys.readouterr().err
    assert main(["state", "ls", ".headway/clicks", "count", "--state", ".headway/clicks"]) == 2
    assert "both name a state directory" in capsys.readouterr().err
    assert main(["state", "ls", "counts", "--state", ".headway/clicks"]) == 2
    assert "there is no file or module counts" in capsys.readouterr().err


LOGS = """
import headway as hw

class Visit(hw.State):
    pages: hw.Log[str] = hw.Log()
    count: int = 0

class Keep(hw.Operator[hw.Json, Visit]):
    def on_event(self, state, event, ctx):
        state.pages.append(event["page"])

flow = hw.Flow("visits")
pages = [{"user": "ann", "page": f"/{n}", "at": n} for n in range(6)]
visits = flow.source("visits", hw.Json, hw.items(pages), time="at")
visits.key_by("user").process("keep", Keep())
"""


def test_a_log_is_told_by_its_end_in_a_list_and_whole_of_one_key(capsys: pytest.CaptureFixture[str]) -> None:
    Path("visits.py").write_text(LOGS)
    assert main(["run", "visits.py", "--quiet"]) == 0
    capsys.readouterr()
    short = '{"pages":{"length":5,"last":["/2","/3","/4"]},"count":0}'
    assert lines(capsys, "ls", "visits.py", "keep") == [f"ann  {short}"]
    [listed] = lines(capsys, "ls", "visits.py", "keep", "--json")
    assert json.loads(listed)["state"] == json.loads(short)
    [whole] = lines(capsys, "get", "visits.py", "keep", "ann", "--json")
    assert json.loads(whole)["state"] == {"pages": ["/0", "/1", "/2", "/3", "/4"], "count": 0}
    assert '"/0"' in "".join(lines(capsys, "get", "visits.py", "keep", "ann"))
