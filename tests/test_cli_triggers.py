"""`headway triggers`: what is listed, and that what is asked for happens, on stopped flows and on running ones."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from tests import cluster_harness as cluster

from headway.cli.main import main
from headway.delivery.requests import Request, Requests
from headway.state.reader import StateReader

FLOW = """
import os
import headway as hw

def take(trigger):
    n = trigger.value["n"]
    if os.path.exists("down"):
        raise RuntimeError("mail is \\x1b[2Jdown")
    if os.path.exists("picky") and n % 10 == 3:
        raise hw.NeverDeliver("no such user")
    with open("taken.txt", "a") as file:
        file.write(f"{trigger.key} {n}\\n")

flow = hw.Flow("box")
log = flow.source("log", hw.Json, hw.files("log-*.jsonl"), time="at")
OPTIONS = dict(on_failure="skip", give_up_after="10h", retry_first="1h", retry_longest="1h")
log.key_by("key").trigger("seen", to=hw.call(take), **OPTIONS)
"""
KEYS = 5
EVENTS = 40


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(FLOW)
    for part in range(2):
        lines = [{"at": 1_000 + n, "key": f"k{n % KEYS}", "n": n} for n in range(EVENTS) if n % 2 == part]
        (tmp_path / f"log-{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def run(directory: Path, *options: object) -> dict[str, Any]:
    return cluster.run(directory, "flow.py", "--key-groups", "3", *options)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["triggers", arguments[0], "flow.py", *arguments[1:]]) == 0
    return capsys.readouterr().out


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in called(capsys, *arguments, "--json").splitlines()]


def taken(directory: Path) -> list[str]:
    path = directory / "taken.txt"
    return path.read_text().splitlines() if path.exists() else []


def in_order(lines: list[str], of: Optional[str] = None) -> list[int]:
    return [int(line.split()[1]) for line in lines if of is None or line.startswith(f"{of} ")]


def test_what_waits_is_listed_and_shown(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "down").touch()
    run(box)
    [summary] = records(capsys, "ls")
    assert (summary["output"], summary["edge"], summary["in_flow"]) == ("seen", "direct", True)
    waiting = summary["waiting"]
    assert waiting > EVENTS - KEYS and summary["retried_keys"] == KEYS and summary["dead"] == 0
    assert summary["breaker"] is None and not summary["running"]
    assert "5 keys retried" in called(capsys, "ls")
    listed = records(capsys, "ls", "--output", "seen", "--limit", "0")
    assert len(listed) == waiting
    first = {one["key"]: one for one in reversed(listed)}
    for key, one in first.items():
        assert (one["status"], one["attempts"], one["type"]) == ("retried", 1, "seen"), key
        assert "mail is" in one["reason"] and one["event"]["subject"] == key
    assert {one["status"] for one in listed} <= {"retried", "behind", "waiting"}
    assert {one["key"] for one in records(capsys, "ls", "--key", "k3", "--limit", "0")} == {"k3"}
    text = called(capsys, "ls", "--output", "seen", "--limit", "2")
    assert len(text.splitlines()) == 3 and "\x1b" not in text and "1 attempt" in text
    shown = called(capsys, "show", first["k1"]["id"])
    assert '"n": 1' in shown and "mail is" in shown and "\x1b" not in shown
    assert main(["triggers", "show", "flow.py", "0" * 32]) == 1
    assert "no trigger" in capsys.readouterr().err
    assert main(["triggers", "ls", "flow.py", "--output", "sen"]) == 2
    assert "expected one of seen" in capsys.readouterr().err


def test_a_stopped_flow_retries_redrives_and_drops(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "down").touch()
    (box / "picky").touch()
    run(box)
    waits = sorted(one["event"]["data"]["n"] for one in records(capsys, "ls", "--output", "seen", "--limit", "0"))
    assert main(["triggers", "drop", "flow.py"]) == 2
    assert "--waiting, --dead" in capsys.readouterr().err
    of_k0 = [n for n in waits if n % KEYS == 0]
    assert records(capsys, "drop", "--waiting", "--key", "k0", "--yes")[0]["dropped"] == len(of_k0)
    (box / "down").unlink()
    assert not taken(box)
    assert run(box)["outputs"]["seen"]["delivery"]["waiting"] > 0, "their time has not come"
    assert records(capsys, "retry")[0]["retried"] == KEYS - 1
    run(box)
    picky = [n for n in range(EVENTS) if n % 10 == 3]
    left = [n for n in waits if n % KEYS and n not in picky]
    assert sorted(in_order(taken(box))) == left
    dead = records(capsys, "ls", "--dead")
    assert sorted(one["event"]["data"]["n"] for one in dead) == picky
    assert {(one["status"], one["reason"]) for one in dead} == {("dead", "no such user")}
    one, *others = [each["id"] for each in dead]
    assert main(["triggers", "redrive", "flow.py"]) == 2
    capsys.readouterr()
    assert records(capsys, "redrive", one)[0]["redriven"] == 1
    assert records(capsys, "drop", others[0], "--yes")[0]["dropped"] == 1
    (box / "picky").unlink()
    assert records(capsys, "redrive", "--key", "k1", "--output", "seen")[0]["redriven"] == 0
    run(box)
    assert len(taken(box)) == len(left) + 1
    assert records(capsys, "redrive", "--all")[0]["redriven"] == len(picky) - 2
    run(box)
    [summary] = records(capsys, "ls")
    assert (summary["waiting"], summary["dead"]) == (0, 0)
    assert summary["delivered"] == len(left) + len(picky) - 1
    assert summary["dropped"] == len(of_k0) + 1


def test_dropping_asks(box: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "down").touch()
    run(box)
    before = records(capsys, "ls")
    with monkeypatch.context() as patch:
        patch.setattr("click.confirm", _refuses)
        with pytest.raises(SystemExit):
            raise SystemExit(main(["triggers", "drop", "flow.py", "--waiting"]))
    assert records(capsys, "ls") == before


def _refuses(text: str, **_: object) -> None:
    assert text.startswith("Drop ") and "waiting triggers?" in text
    raise KeyboardInterrupt


def test_rows_move_with_their_keys(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "down").touch()
    run(box)
    before = records(capsys, "ls", "--output", "seen", "--limit", "0")
    for groups in ("5", "2"):
        assert main(["state", "rescale", "flow.py", "--key-groups", groups]) == 0
        capsys.readouterr()
        after = records(capsys, "ls", "--output", "seen", "--limit", "0")
        for key in {one["key"] for one in before}:
            assert [one for one in after if one["key"] == key] == [one for one in before if one["key"] == key]
    (box / "down").unlink()
    records(capsys, "retry")
    cluster.run(box, "flow.py")
    assert sorted(taken(box)) == sorted(f"{one['key']} {one['event']['data']['n']}" for one in before)
    assert all(in_order(taken(box), f"k{key}") == sorted(in_order(taken(box), f"k{key}")) for key in range(KEYS))


def test_closed_books_are_delivered_without_a_run(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "down").touch()
    run(box, "--drain")
    assert main(["run", "flow.py"]) == 3
    capsys.readouterr()
    assert records(capsys, "deliver")[0]["seen"]["waiting"] == EVENTS
    records(capsys, "retry")
    assert "RuntimeError" in called(capsys, "ls", "--key", "k1")
    (box / "down").unlink()
    assert called(capsys, "deliver", "--wait") == f"seen: {EVENTS} delivered, 0 waiting, 0 dead, to call flow.take\n"
    assert len(taken(box)) == EVENTS


def test_there_is_no_state_yet(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["ls"], ["retry"], ["deliver"], ["drop", "--dead", "--yes"]):
        assert main(["triggers", command[0], "flow.py", *command[1:]]) == 3
        assert "holds no" in capsys.readouterr().err


def test_groups_of_before_hold_no_triggers(box: Path) -> None:
    """A directory that no run has opened since there are deliveries has no column family of them."""
    with tarfile.open(Path(__file__).parent / "fixtures" / "state-3.tar.gz") as archive:
        archive.extractall(box, filter="data")
    [place] = {path.parent for path in box.rglob("flow.json")}
    with StateReader(place) as reader:
        assert list(reader.deliveries(1)) == []


@pytest.fixture
def running(box: Path) -> Iterator[cluster.Started]:
    for name in ("down", "picky"):
        (box / name).touch()
    started = cluster.Started(box, "flow.py", "--key-groups", "3", "--workers", "2", "--follow", "--epoch", "20ms")
    yield started
    started.end()


def awaited(capsys: pytest.CaptureFixture[str], **expected: object) -> dict[str, Any]:
    """How it stands, once it is as expected."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        if not Path(".headway/box/flow.json").exists():
            return False
        found.update(dict.fromkeys(expected), **next(iter(records(capsys, "ls")), {}))
        return all(found[name] == value for name, value in expected.items())

    cluster.await_true(is_there, f"{expected}")
    return found


def test_a_running_flow_of_two_workers(box: Path, running: cluster.Started, capsys: pytest.CaptureFixture[str]) -> None:
    awaited(capsys, retried_keys=KEYS, running=True)
    (box / "down").unlink()
    assert records(capsys, "drop", "--waiting", "--key", "k0", "--yes")[0]["dropped"] > 0
    assert records(capsys, "retry")[0]["retried"] == KEYS - 1
    picky = [n for n in range(EVENTS) if n % 10 == 3]
    # One event of each log is still ahead of the watermark.
    summary = awaited(capsys, waiting=0, breaker="closed")
    dead = summary["dead"]
    assert dead >= len(picky) - 1 and not [line for line in taken(box) if line.startswith("k0")]
    (box / "picky").unlink()
    assert records(capsys, "redrive", "--all")[0]["redriven"] == dead
    summary = awaited(capsys, waiting=0, dead=0)
    assert summary["delivered"] == len(taken(box)) == len(set(taken(box)))
    running.check_running()
    assert not list((box / ".headway/box/requests").iterdir())
    running.process.send_signal(signal.SIGINT)
    assert running.outcome()[0] == 0


def test_what_a_killed_run_leaves_undone_is_done_by_the_next(
    box: Path, running: cluster.Started, capsys: pytest.CaptureFixture[str]
) -> None:
    awaited(capsys, retried_keys=KEYS, running=True)
    for pid in running.workers():
        os.kill(pid, signal.SIGSTOP)
    requests = Requests(box / ".headway/box")
    number = json.loads((box / ".headway/box/flow.json").read_text())["outputs"]["seen"]["id"]
    groups = dict.fromkeys(range(3), 1_000)
    requests.put(Request(action="drop", made_ms=0, outputs={number: groups}, key="k0"))
    requests.put(Request(action="retry", made_ms=0, outputs={number: groups}))
    running.end()
    (box / "down").unlink()
    run(box)
    assert not [line for line in taken(box) if line.startswith("k0")]
    assert [line for line in taken(box) if line.startswith("k1")]
    assert not list(requests.pending())


def test_a_run_that_ends_first_leaves_it_to_the_command(
    box: Path, running: cluster.Started, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers stand still when the request comes, and are killed while the command waits."""
    awaited(capsys, retried_keys=KEYS, running=True)
    for pid in running.workers():
        os.kill(pid, signal.SIGSTOP)
    put = Requests.put

    def put_and_kill(self: Requests, request: Request) -> str:
        name = put(self, request)
        if request.action == "drop":
            running.end()
        return name

    monkeypatch.setattr(Requests, "put", put_and_kill)
    called(capsys, "drop", "--waiting", "--yes")
    assert records(capsys, "ls")[0]["waiting"] == 0
