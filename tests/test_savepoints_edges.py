"""What a savepoint has of the logs that a flow cannot read elsewhere, and of the triggers that wait for delivery."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable_harness import Group, start
from tests.evolve_harness import SEEN, part, write
from tests.savepoints_harness import run_and_save, whereabouts
from tests.test_delivery_runs import Script

import headway as hw
from headway import durable_workflow
from headway.durable.messages import Signal
from headway.errors import IncompatibleStateError
from headway.inbox.log import Batch, InboxLog
from headway.runtime.directory import StateDirectory
from headway.runtime.job import Job
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.savepoints.automatic import AutomaticSavepoints
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.files import CLUSTER_NAME
from headway.state.group import GroupStore
from headway.state.reader import StateReader
from headway.targets.base import DONE, Answer, Outcome


def posts(directory: Path) -> hw.Flow:
    flow = hw.Flow("posts")
    source = flow.source("posts", hw.Json, hw.http_source("/posts"), time="at")
    source.to("out", hw.to_jsonl(directory / "out.jsonl"))
    return flow


def post(state: Path, *numbers: int, segment_bytes: int = 1) -> None:
    """Each in a file of its own, unless that may be larger; what nobody needs is deleted at once."""
    with InboxLog(state / "inbox" / "posts" / "0", segment_bytes=segment_bytes) as log:
        for number in numbers:
            log.append([Batch(json.dumps({"at": number, "n": number}).encode() + b"\n", 1)])


def go_on(directory: Path, state: str = "state") -> list[int]:
    """Run to the end of the log; returns what is in the output."""
    run_flow(posts(directory), RunOptions(directory / state, key_groups=2, epoch_ms=5, sync=False))
    return [json.loads(line)["n"] for line in (directory / "out.jsonl").read_text().splitlines()]


def at(directory: Path, state: str = "state") -> StateDirectory:
    return StateDirectory(directory / state)


def test_what_was_posted_since_is_read_again(tmp_path: Path) -> None:
    post(tmp_path / "state", *range(10))
    assert go_on(tmp_path) == list(range(9))  # The last one waits for time to pass it.
    create_savepoint(at(tmp_path), "a")
    post(tmp_path / "state", *range(10, 20))
    assert go_on(tmp_path) == list(range(19))
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    post(tmp_path / "state", *range(20, 25))
    assert go_on(tmp_path) == list(range(24))


def test_what_was_not_read_yet_goes_elsewhere_too(tmp_path: Path) -> None:
    post(tmp_path / "state", *range(10))
    go_on(tmp_path)
    post(tmp_path / "state", *range(10, 20), segment_bytes=200)
    create_savepoint(at(tmp_path), "a")
    post(tmp_path / "state", *range(90, 95))
    shutil.move(tmp_path / "state", tmp_path / "gone")
    restore_savepoint(Shelf(tmp_path / "gone").path("a"), at(tmp_path), outputs="back")
    post(tmp_path / "state", *range(20, 25))
    assert go_on(tmp_path) == list(range(24))


def test_files_that_were_deleted_since_come_back(tmp_path: Path) -> None:
    post(tmp_path / "state", *range(10))
    go_on(tmp_path)
    post(tmp_path / "state", *range(10, 20))
    create_savepoint(at(tmp_path), "a")
    go_on(tmp_path)
    before = len(list((tmp_path / "state" / "inbox" / "posts" / "0").glob("*.log")))
    post(tmp_path / "state", 20)
    assert len(list((tmp_path / "state" / "inbox" / "posts" / "0").glob("*.log"))) < before
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    post(tmp_path / "state", 21)
    assert go_on(tmp_path) == list(range(21))


def test_a_log_that_is_another_one_is_refused(tmp_path: Path) -> None:
    post(tmp_path / "state", *range(10))
    go_on(tmp_path)
    create_savepoint(at(tmp_path), "a")
    savepoint = Shelf(tmp_path / "state").path("a")
    for name, numbers in (("other", range(50, 70)), ("shorter", range(5))):
        post(tmp_path / name, *numbers, segment_bytes=1 << 20)
        with pytest.raises(IncompatibleStateError, match=r"inbox .* does not go on from the one in the savepoint"):
            restore_savepoint(savepoint, at(tmp_path, name), outputs="new")
        assert not (tmp_path / name / "flow.json").exists()


def test_a_log_that_lost_what_is_needed_is_refused(tmp_path: Path) -> None:
    post(tmp_path / "state", *range(10))
    go_on(tmp_path)
    create_savepoint(at(tmp_path), "a")
    for first in range(10, 50, 10):
        post(tmp_path / "state", *range(first, first + 10))
        go_on(tmp_path)
    post(tmp_path / "state", 50)
    with pytest.raises(IncompatibleStateError, match=r"has events before 10: it has those from \d+ on"):
        restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    assert go_on(tmp_path) == list(range(50))


def delivering(target: hw.Target, last: int) -> hw.Flow:
    flow = hw.Flow("deliveries")
    items = [{"at": at_ms, "user": f"u{at_ms % 5}"} for at_ms in range(last)]
    flow.source("events", hw.Json, hw.items(items), time="at").key_by("user").trigger("happened", target)
    return flow


def deliver(directory: Path, target: hw.Target, last: int, stop: Any = None, state: str = "state") -> None:
    options = RunOptions(directory / state, key_groups=2, epoch_ms=5, sync=False)
    run_flow(delivering(target, last), options, stop=stop)


def waiting(directory: Path) -> list[tuple[str, int, tuple[str, ...]]]:
    """Under which place and number each trigger is delivered, and the places that it had before."""
    with StateReader(directory) as reader:
        number = reader.manifest.outputs["happened"].id
        return [row.place(queue.place) for queue in reader.deliveries(number) for row in queue.rows()]


def test_triggers_that_wait_keep_their_numbers_in_the_former_place(tmp_path: Path) -> None:
    """A receiver that keeps the last number of each place knows what it has; what is made again has other places."""
    busy = Script(lambda delivery: Answer(Outcome.RETRY, "busy"))
    polls = iter(range(200))
    deliver(tmp_path, busy, 30, StopFlag(lambda: next(polls, 200) >= 199))
    create_savepoint(at(tmp_path), "a")
    before = waiting(tmp_path / "state")
    assert len(before) > 20
    assert waiting(tmp_path / "state" / "savepoints" / "a") == before
    for state in ("state", "other"):
        restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path, state), outputs="back")
        after = waiting(tmp_path / state)
        assert [(place.partition("<")[2], number) for place, number, _ in after] == [one[:2] for one in before]
        assert [former[0] for _, _, former in after] == [place for place, _, _ in before]
        assert not {place.partition("<")[0] for place, _, _ in after} & {place for place, _, _ in before}
    done = Script(lambda delivery: DONE)
    until = time.monotonic() + 30
    options = RunOptions(tmp_path / "other", epoch_ms=5, sync=False, follow=True)
    stop = StopFlag(lambda: len(done.got) >= 29 or time.monotonic() > until)
    run_flow(delivering(done, 30), options, stop=stop)
    assert len({delivery.id for delivery in done.got}) == len(done.got) == 29


def test_a_table_has_each_trigger_once(tmp_path: Path) -> None:
    """What it has taken of the savepoint's places it passes over; what is made again it knows by its id."""
    target = hw.sqlite(tmp_path / "shop.db", "happened")
    deliver(tmp_path, target, 30)
    create_savepoint(at(tmp_path), "a")
    deliver(tmp_path, target, 60)
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    deliver(tmp_path, target, 60)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        found = Counter(row[0] for row in connection.execute("SELECT id FROM happened"))
    assert sorted(found.values()) == [1] * 59


def told(name: str, value: str) -> Signal:
    return Signal(name=name, value=msgspec.Raw(msgspec.json.encode(value)))


@durable_workflow
async def waits(context: Any, name: str) -> str:
    first = await context.wait("first", returns=str)
    second = await context.wait("second", returns=str)
    return f"{name}: {first}, {second}"


def test_functions_go_back(tmp_path: Path) -> None:
    """A history is as it was; signals that came since are in the log, and are heard again."""
    group = Group(tmp_path / "state", waits)
    group.tell(("waits/a", start("a")), ("waits/a", told("first", "one")))
    group.run(lambda: group.has_state() and "waits/a" in str(group.rows()))
    create_savepoint(at(tmp_path), "a")
    group.tell(("waits/a", told("second", "two")))
    group.run_until_ended(1)
    ended = list(group.ended)
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path))
    group.ended.clear()
    group.run_until_ended(1)
    assert group.ended == ended

    other = Group(tmp_path / "other", waits)
    restore_savepoint(Shelf(tmp_path / "state").path("a"), at(tmp_path, "other"))
    other.tell(("waits/a", told("second", "another")))
    other.run_until_ended(1)
    assert "one, another" in str(other.ended)


def test_the_end_of_a_run_waits_for_no_other_savepoint(tmp_path: Path) -> None:
    """One that somebody asks for waits for the run; were an automatic one to wait for that, the run could not end."""
    post(tmp_path / "state", *range(10))
    go_on(tmp_path)
    directory = at(tmp_path)
    with Shelf(directory.path).held(time.monotonic()):
        waits = threading.Event()

        class Asked(threading.Event):
            """Set from outside while the thread waits for the shelf."""

            def is_set(self) -> bool:
                waits.set()
                return super().is_set()

            def wait(self, timeout: float | None = None) -> bool:
                return super().is_set()

        beside = AutomaticSavepoints(directory, every_ms=1_000, keep=1)
        beside._ending = Asked()
        with beside:
            assert waits.wait(30)
    assert Shelf(directory.path).names() == []


def test_what_a_host_of_a_cluster_has_is_refused_at_once_also_while_it_runs(tmp_path: Path) -> None:
    directory = at(tmp_path)
    with directory.locked():
        (directory.path / CLUSTER_NAME).write_text("{}")
        with pytest.raises(IncompatibleStateError, match="what one host of a cluster has"):
            create_savepoint(directory)


def test_a_process_shows_signs_of_life_while_it_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    write(tmp_path, part(0, 40))
    link, beat = GroupStore.checkpoint, Job.beat

    def linked(store: GroupStore, path: Path) -> None:
        done.append("link")
        link(store, path)

    def alive(job: Job) -> None:
        done.append("beat")
        beat(job)

    monkeypatch.setattr(GroupStore, "checkpoint", linked)
    monkeypatch.setattr(Job, "beat", alive)
    run_and_save(tmp_path, SEEN, whereabouts(tmp_path, "state", 1, 5, 100, groups=4), polls=40, name="a")
    links = [number for number, what in enumerate(done) if what == "link"]
    assert len(links) > 1
    assert all("beat" in done[before:after] for before, after in pairwise(links))
