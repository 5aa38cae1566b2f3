"""The supervisor: what becomes of a cluster when a worker dies, hangs or fails, and when it is itself ended."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from tests.cluster_harness import Started, await_true, is_alive, is_stopped, run

FLOW = """
import os
import time
from pathlib import Path

import headway as hw


class Click(hw.Event):
    user: str
    at: hw.Time


class Seen(hw.State):
    clicks: int = 0


class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        if event.at == at and happens():
            HAPPENING[what](event)
        ctx.emit({"clicks": state.clicks, "at": event.at})


def happens():
    # Once where there is a marker to take away, else always.
    try:
        Path("marker").unlink()
    except FileNotFoundError:
        return not once
    return True


def hang(event):
    while True:
        time.sleep(60)


def fail(event):
    raise ValueError(f"no such user: {event.user}")


def fail_at_length(event):
    raise ValueError("no such user: " + "🛒" * 50_000)


HAPPENING = {
    "hang": hang,
    "fail": fail,
    "fail-at-length": fail_at_length,
    "die": lambda event: os._exit(9),
    "nothing": lambda event: None,
}
flow = hw.Flow("clicks")
what = flow.param("what", "nothing")
at = flow.param("at", 700)
once = flow.param("once", False)
clicks = flow.source("clicks", Click, hw.files("clicks-*.jsonl"), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl(flow.param("to", "counted.jsonl")))
"""
EVENTS = 1_000
SEEN = EVENTS - 2
"""Up to here both files have been read: the last event of the one is at 999."""
OPTIONS = ("--epoch", "20ms", "--key-groups", 4)


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Path:
    (tmp_path / "clicks.py").write_text(FLOW)
    feed(tmp_path, 1, EVENTS)
    return tmp_path


def feed(directory: Path, first: int, last: int) -> None:
    for part in range(2):
        with (directory / f"clicks-{part}.jsonl").open("a") as file:
            for at in range(first + part, last + 1, 2):
                file.write(json.dumps({"user": f"user{at % 50}", "at": at}) + "\n")


def start(here: Path, *arguments: object, state: str = "state") -> Started:
    return Started(here, "clicks.py", "--state", state, *OPTIONS, *arguments)


def expected(last: int) -> bytes:
    """What the flow writes of the events up to a time: all of them are a millisecond apart."""
    return b"".join(b'{"clicks":%d,"at":%d}\n' % ((at - 1) // 50 + 1, at) for at in range(1, last + 1))


def counted(here: Path) -> bytes:
    return (here / "counted.jsonl").read_bytes()


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_worker_is_started_again_with_the_others(here: Path) -> None:
    started = start(here, "--workers", 2, "--follow", "--json")
    try:
        first = started.await_workers(2)
        await_true(lambda: lines_of(here / "counted.jsonl") > 0, "some output")
        started.kill(first[:1])
        await_true(lambda: not any(map(is_alive, first)), "the end of the other worker")
        assert not set(started.await_workers(2)) & set(first)
        feed(here, EVENTS + 1, 2 * EVENTS)
        await_true(lambda: lines_of(here / "counted.jsonl") > EVENTS, "the rest of the output")
        os.kill(started.pid, signal.SIGTERM)
        told = started.summary()
    finally:
        started.end()
    assert (told["status"], told["restarts"], told["events_total"]) == ("stopped", 1, 2 * EVENTS)
    assert re.search(
        r"worker 0 \(process \d+\) was killed by SIGKILL; restarting all 2 workers", started.log.read_text()
    )
    assert counted(here) == expected(2 * EVENTS - 2)


def test_a_worker_that_dies_once_is_healed(here: Path) -> None:
    (here / "marker").touch()
    told = start(here, "--set", "what=die", "--set", "once=true", "--workers", 2, "--drain", "--json").summary()
    assert (told["restarts"], told["events_total"], told["workers"]) == (1, EVENTS, 2)
    assert counted(here) == expected(EVENTS)


def test_a_worker_that_hangs_is_noticed_while_the_other_has_nothing_to_do(here: Path) -> None:
    (here / "marker").touch()
    arguments = ("--set", "what=hang", "--set", "once=true", "--workers", 2, "--hang-after", "2s", "--follow", "--json")
    started = start(here, *arguments)
    try:
        await_true(lambda: lines_of(here / "counted.jsonl") == SEEN, "all output")
        os.kill(started.pid, signal.SIGTERM)
        told = started.summary()
    finally:
        started.end()
    assert (told["restarts"], told["events_total"]) == (1, EVENTS)
    assert "nothing has moved in any worker for 2 s; restarting" in started.log.read_text()
    assert counted(here) == expected(SEEN)


def test_a_worker_that_always_dies_makes_the_run_give_up(here: Path) -> None:
    started = start(here, "--set", "what=die", "--workers", 2, "--max-restarts", 2, "--quiet")
    code, told = started.outcome()
    assert code == 5
    assert re.search(
        r"error: worker \d \(process \d+\) ended with exit code 9.*; 2 restarts did not help, so the run gives up\. "
        r"What is durable stays: .* The workers' logs are in state/run",
        told,
    )
    assert (here / "state" / "run" / "worker-0.log").exists()
    run(here, "clicks.py", "--state", "state", "--workers", 2)
    assert counted(here) == expected(SEEN)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_flow_ends_the_run_at_once(here: Path, workers: int) -> None:
    code, told = start(here, "--set", "what=fail", "--workers", workers, "--quiet").outcome()
    assert code == 1
    assert "restarting" not in told
    assert re.search(r"'count'.*'user0'", told)
    assert "ValueError: no such user: user0" in told
    assert 'File "clicks.py", line' in told
    assert "runtime" not in told
    assert "Traceback (most" not in told
    run(here, "clicks.py", "--state", "state", "--workers", workers)
    assert counted(here) == expected(SEEN)


def test_an_error_of_any_length_is_told(here: Path) -> None:
    """More than a pipe holds: the worker must not wait for a supervisor that waits for the worker."""
    code, told = start(here, "--set", "what=fail-at-length", "--workers", 2, "--quiet").outcome()
    assert code == 1
    assert "restarting" not in told
    assert "ValueError: no such user: 🛒" in told


def test_workers_end_with_their_supervisor(here: Path) -> None:
    started = start(here, "--workers", 3, "--follow", "--quiet")
    try:
        workers = started.await_workers(3)
        await_true(lambda: lines_of(here / "counted.jsonl") > 0, "some output")
        started.kill([started.pid])
        assert await_true(lambda: not any(map(is_alive, workers)), "the end of all workers") < 5
        told = run(here, "clicks.py", "--state", "state", "--workers", 2)
    finally:
        started.end()
    assert told["restarts"] == 0
    assert counted(here) == expected(SEEN)


def test_a_run_waits_for_the_workers_of_a_killed_one(here: Path) -> None:
    started = start(here, "--workers", 2, "--follow", "--quiet")
    workers = started.await_workers(2)
    try:
        await_true(lambda: lines_of(here / "counted.jsonl") > 0, "some output")
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        await_true(lambda: all(map(is_stopped, workers)), "the workers to stand still")
        started.kill([started.pid])
        started.process.wait()
        following = start(here, "--json")
        try:
            with pytest.raises(AssertionError, match="in vain"):
                await_true(lambda: following.process.poll() is not None, "an end", within_s=2)
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            assert following.summary()["events_total"] == EVENTS
        finally:
            following.end()
    finally:
        started.kill(workers)
    assert counted(here) == expected(SEEN)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_graceful_stop_nothing_is_done_again(here: Path, workers: int, number: int) -> None:
    started = start(here, "--workers", workers, "--follow", "--json", "--epoch", "1m")
    try:
        await_true(lambda: lines_of(here / "counted.jsonl") > 0, "some output")
        os.kill(started.pid, number)
        before = time.monotonic()
        first = started.summary()
        assert time.monotonic() - before < 30, "the epoch of a minute was waited for"
    finally:
        started.end()
    second = run(here, "clicks.py", "--state", "state", "--workers", workers)
    assert (first["status"], second["status"]) == ("stopped", "end of input")
    assert first["events"] > 0
    assert first["events"] + second["events"] == second["events_total"] == EVENTS
    assert counted(here) == expected(SEEN)
