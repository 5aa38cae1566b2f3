"""Changes of outputs that are delivered: what becomes of what waits."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests import cluster_harness as cluster
from tests.changes_harness import changes, told

import headway as hw
from headway.cli.main import main
from headway.runtime.triggerbox import Triggerbox, Wanted


def take(trigger: hw.Trigger[dict[str, int]]) -> None:
    """Never called here."""


def flow(*, name: str = "seen", target: Any = None, **options: Any) -> hw.Flow:
    made = hw.Flow("clicks")
    clicks = made.source("clicks", hw.Json, hw.items([]), time="at").key_by("user")
    quiet = clicks.silence("quiet", after="30m")
    quiet.trigger(name, target or hw.call(take, name="call mail"), **options)
    return made


def without() -> hw.Flow:
    made = hw.Flow("clicks")
    made.source("clicks", hw.Json, hw.items([]), time="at").key_by("user").silence("quiet", after="30m")
    return made


def test_nothing_changes() -> None:
    assert changes(flow(edge="indirect"), flow(edge="indirect")) == []


def test_another_target_gets_what_waits() -> None:
    assert told(changes(flow(), flow(target=hw.webhook("https://b.example")))) == [
        "output 'seen': parameters differ from the last run: target call mail -> http https://b.example; what waits "
        "goes to the new one"
    ]


def test_options_hold_for_what_waits() -> None:
    [change] = changes(flow(), flow(edge="indirect", on_failure="skip", give_up_after="2h", waiting_max=5))
    assert str(change) == (
        "output 'seen': parameters differ from the last run: edge direct -> indirect, on_failure block -> skip, "
        "waiting_max 1,000,000 -> 5, give_up_after not given -> 2h; it holds for what waits as well"
    )


@pytest.mark.parametrize("turned", [False, True])
def test_written_and_delivered_are_two_things(turned: bool) -> None:
    delivered, written = flow(), flow(target=hw.to_jsonl("seen.jsonl"))
    ways = ["delivered to call mail", "written to file seen.jsonl"]
    flows = (written, delivered) if turned else (delivered, written)
    was, now = reversed(ways) if turned else ways
    expected = (
        f"! output 'seen': it was {was}, now it is {now}: what it has of the one cannot go on as the other; to go on: "
        "give the output another name"
    )
    assert told(changes(*flows)) == [expected]
    back = told(changes(flows[0], without(), flows[1]))
    assert expected in back, "also behind a time in which the flow did not have it"


def test_what_is_gone_and_comes_back() -> None:
    assert told(changes(flow(), without())) == [
        "output 'seen': the flow has it no more; what waits stays, and is delivered to nobody until it is dropped: "
        "headway state drop FLOW seen"
    ]
    assert told(changes(flow(), without(), flow())) == ["output 'seen': it is back, and what waits is delivered"]
    renamed = told(changes(flow(), flow(name="heard", was="seen")))
    assert (
        "output 'heard': it was called 'seen': it goes on with what waits for that; new triggers have other ids"
        in renamed
    )


def test_a_renamed_trigger_of_a_stream_without_state_is_no_new_one() -> None:
    def plain(name: str, **options: Any) -> hw.Flow:
        made = hw.Flow("clicks")
        clicks = made.source("clicks", hw.Json, hw.items([]), time="at")
        clicks.trigger(name, hw.call(take, name="call mail"), **options)
        return made

    found = told(changes(plain("seen"), plain("heard", was="seen")))
    assert not any("is new" in line or "no more" in line for line in found), found


FLOW = """
import os
import headway as hw

def take(trigger):
    if os.path.exists("down"):
        raise RuntimeError("down")
    with open("taken.txt", "a") as file:
        file.write(f"{trigger.value['n']}\\n")

flow = hw.Flow("box")
log = flow.source("log", hw.Json, hw.items([{"at": n, "key": f"k{n % 3}", "n": n} for n in range(9)]), time="at")
log.key_by("key").to("kept", hw.to_jsonl("kept.jsonl"))
"""
TRIGGER = "log.key_by('key').trigger({name!r}, to=hw.call(take), retry_first='1ms'{more})\n"


def run(directory: Path, name: str = "", more: str = "") -> dict[str, Any]:
    trigger = TRIGGER.format(name=name, more=more) if name else ""
    (directory / "flow.py").write_text(FLOW + trigger)
    return cluster.run(directory, "flow.py", "--key-groups", "2")


def waiting(directory: Path) -> int:
    with Triggerbox(directory / ".headway/box") as box:
        return sum(1 for _ in box.waiting(Wanted()))


def test_rows_stay_until_they_are_delivered_under_another_name_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").touch()
    run(tmp_path, "seen")
    made = waiting(tmp_path)
    assert made == 8
    run(tmp_path)
    assert waiting(tmp_path) == made
    assert main(["triggers", "ls", "flow.py"]) == 0
    assert "which the flow has no more" in capsys.readouterr().out
    (tmp_path / "down").unlink()
    run(tmp_path, "heard", ", was='seen'")
    assert waiting(tmp_path) == 0
    assert sorted((tmp_path / "taken.txt").read_text().split()) == [str(n) for n in range(made)]


def test_what_is_dropped_by_name_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").touch()
    run(tmp_path, "seen")
    assert main(["state", "drop", "flow.py", "seen", "--yes"]) == 2
    assert "headway triggers drop FLOW --output seen" in capsys.readouterr().err
    run(tmp_path)
    assert main(["state", "drop", "flow.py", "seen", "--yes"]) == 0
    assert "seen: 8 triggers that wait, 0 that were given up" in capsys.readouterr().out
    assert waiting(tmp_path) == 0
    (tmp_path / "down").unlink()
    run(tmp_path, "seen")
    assert waiting(tmp_path) == 0 and not (tmp_path / "taken.txt").exists()


TABLE = "log.key_by('key').trigger('seen', to=hw.sqlite('shop.db', 'seen'), retry_first='1ms')\n"


@pytest.mark.parametrize("groups", [0, 5, 1])
def test_an_exact_target_takes_what_waited_for_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], groups: int
) -> None:
    """What one took key by key, the other takes in the order of its place: it must pass over nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").touch()
    run(tmp_path, "seen")
    if groups:
        assert main(["state", "rescale", "flow.py", "--key-groups", str(groups)]) == 0
    assert main(["triggers", "retry", "flow.py"]) == 0
    (tmp_path / "flow.py").write_text(FLOW + TABLE)
    told = cluster.run(tmp_path, "flow.py")["outputs"]["seen"]["delivery"]
    assert (told["waiting"], told["delivered"]) == (0, 8)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        found = shop.execute("SELECT subject, data FROM seen ORDER BY rowid").fetchall()
    for key in {subject for subject, _ in found}:
        numbers = [json.loads(data)["n"] for subject, data in found if subject == key]
        assert numbers == sorted(numbers)
    assert sorted(json.loads(data)["n"] for _, data in found) == list(range(8))


def test_an_exact_target_stays_exact_over_other_key_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows are in, and the flow was gone before it knew: in other key groups they come again, and are passed over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").touch()
    run(tmp_path, "seen")
    (tmp_path / "flow.py").write_text(FLOW + TABLE)
    assert main(["triggers", "retry", "flow.py"]) == 0
    shutil.copytree(tmp_path / ".headway", tmp_path / "before")
    assert main(["triggers", "deliver", "flow.py"]) == 0
    for groups in ("3", "1", "4"):
        shutil.rmtree(tmp_path / ".headway")
        shutil.copytree(tmp_path / "before", tmp_path / ".headway")
        assert main(["state", "rescale", "flow.py", "--key-groups", groups]) == 0
        assert main(["triggers", "deliver", "flow.py"]) == 0
        assert waiting(tmp_path) == 0
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        assert shop.execute("SELECT count(*), count(DISTINCT id) FROM seen").fetchone() == (8, 8)
