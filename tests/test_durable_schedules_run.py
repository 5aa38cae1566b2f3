"""Schedules in runs: each time once, over kills; those that change, are gone, and come back; commands."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import Started, await_true
from tests.durable_harness import Group, start

from headway import durable_workflow
from headway.basics.times import format_time
from headway.cli.main import main
from headway.declare.loading import FlowSpec, load_flow
from headway.runtime.job_options import wall_ms
from headway.state.reader import StateReader


@durable_workflow
async def quick(context: Any, at: str) -> str:
    return str(await context.call("one", at))


async def one(at: str) -> str:
    return at


def scheduled(state: Path, **options: Any) -> Group:
    group = Group(state, quick, steps=[one])
    group.flow.schedule("often", quick, every="50ms", args=lambda due: due.isoformat(), **options)
    return group


def test_runs_start_each_once(tmp_path: Path) -> None:
    ended: list[Any] = []
    for _ in range(3):
        group = scheduled(tmp_path, overlap="allow", catch_up="all")
        group.run_until_ended(4)
        ended += group.ended
    last = scheduled(tmp_path, overlap="allow", catch_up="all")
    last.run(lambda: len(last.ended) >= 4 and follow_each_other(ended + last.ended))
    ids = [one["id"] for one in ended + last.ended]
    assert len(ids) == len(set(ids)), "none is started twice"


def follow_each_other(ended: list[Any]) -> bool:
    """Whether none is left out, also where no run was there."""
    moments = sorted(datetime.fromisoformat(json.loads(one["result"])) for one in ended)
    return {later - earlier for earlier, later in pairwise(moments)} == {timedelta(milliseconds=50)}


def test_ends_come_back_to_a_run(tmp_path: Path) -> None:
    group = scheduled(tmp_path, overlap="buffer_one")
    group.run_until_ended(6)
    assert len({one["id"] for one in group.ended}) == len(group.ended) >= 6


def test_one_that_is_gone_starts_nothing(tmp_path: Path) -> None:
    scheduled(tmp_path, overlap="allow").run_until_ended(2)
    gone = f"often-{format_time(wall_ms())}"
    ended: list[Any] = []
    for count in (10, 5):
        without = Group(tmp_path, quick, steps=[one])
        without.flow.schedule("other", quick, every="20ms", args=("other",), overlap="allow")
        without.run_until_ended(count)
        ended += without.ended
    # What was started before may end now.
    late = [one["id"] for one in ended if one["result"] != '"other"']
    assert all(name.startswith("often-") and name < gone for name in late), (late, gone)
    with StateReader(tmp_path) as reader:
        assert [row.key for row in reader.rows("schedules")] == ["~schedules/other"]


def test_a_flow_may_lose_its_last_schedule(tmp_path: Path) -> None:
    scheduled(tmp_path, overlap="allow").run_until_ended(2)
    without = Group(tmp_path, quick, steps=[one])
    without.tell(("quick/1", start("x")))
    without.run(lambda: any(one["id"] == "1" for one in without.ended))


FLOW = """
import headway as hw
from headway import durable_workflow

@durable_workflow
async def tick(context, at: str) -> str:
    return await context.call("note", at)

flow = hw.Functions("ticks", [tick])

@flow.step
async def note(at: str) -> str:
    return at

flow.schedule("often", tick, every="100ms", args=lambda due: due.isoformat(), overlap="buffer_all", catch_up="all")
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment(tmp_path: Path, workers: int) -> None:
    (tmp_path / "flow.py").write_text(FLOW)

    def ended() -> list[Any]:
        path = tmp_path / "ended.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    arguments = ("flow.py", "--follow", "--quiet", "--state", "state", "--epoch", "100ms", "--workers", workers)
    chance = random.Random(workers)
    known = 0
    for _ in range(4):
        started = Started(tmp_path, *arguments)
        enough = known + chance.randrange(1, 8)
        await_true(lambda least=enough: len(ended()) > least, "more that have ended")  # type: ignore[misc]
        started.end()
        known = len(ended())
    started = Started(tmp_path, *arguments)
    await_true(lambda: len(ended()) > known + 20, "more that have ended")
    started.process.terminate()
    assert started.outcome()[0] == 0
    found = ended()
    moments = [datetime.fromisoformat(json.loads(one["result"])) for one in found]
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(milliseconds=100)}, "in their order"
    assert len({one["id"] for one in found}) == len(found)


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The flow writes a file here.
    file = tmp_path / "ticks.py"
    file.write_text(FLOW.replace('every="100ms"', 'cron="0 3 * * *", tz="Europe/Berlin"'))
    state = tmp_path / "state"

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["functions", "schedules", arguments[0], str(file), *arguments[1:], "--state", str(state)])
        return code, *capsys.readouterr()

    def told() -> Any:
        [line] = run("ls", "--json")[1].splitlines()
        return json.loads(line)

    assert told()["status"] == "new: it begins with the next run"
    group = Group(state)
    group.flow = load_flow(FlowSpec(str(file)))  # type: ignore[assignment]
    group.run(lambda: told()["status"] == "active")
    following = [datetime.fromisoformat(text) for text in told()["next"]]
    assert len(following) == 3 and all((one.hour, one.minute) == (3, 0) for one in following)
    assert run("pause", "often") == (0, "taken: ~schedules/often\n", "")
    assert "there is no schedule 'other': there are often" in run("pause", "other")[2]
    group.run(lambda: told()["status"] == "paused")
    assert told()["next"] == []
    run("trigger", "often")
    group.run(lambda: told()["started"] == 1 and told()["running"] == [])
    assert run("resume", "often")[0] == 0
    group.run(lambda: told()["status"] == "active")
    shown = run("ls")[1]
    assert "often" in shown and "0 3 * * * Europe/Berlin" in shown and "started   1" in shown
    file.write_text(file.read_text().replace("0 3 * * *", "0 4 * * *"))
    assert told()["status"] == "changed: until the next run it is 0 3 * * * Europe/Berlin"
