"""Which threads may be woken late, and how often a worker looks around that has nothing to read."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from tests import cluster_harness as cluster

from headway.runtime.slack import patient, prompt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a slack of timers for each thread")

_GET_SLACK = 30


def slack_ns() -> int:
    return int(ctypes.CDLL(None).prctl(_GET_SLACK, 0, 0, 0, 0))


def in_a_thread(early: list[int], late: list[int]) -> None:
    early.append(slack_ns())
    prompt()
    late.append(slack_ns())


def test_a_worker_is_prompt_though_the_thread_that_started_it_is_not() -> None:
    early: list[int] = []
    late: list[int] = []
    with patient():
        waiting = slack_ns()
        worker = threading.Thread(target=in_a_thread, args=(early, late))
        worker.start()
        worker.join()
    assert early == [waiting], "a thread begins with the slack of the one that starts it"
    assert late == [slack_ns()] and late[0] < waiting / 100


def looks(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    lines = [
        line
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary")
    ]
    return sum(int(line.split()[1]) for line in lines)


def test_workers_of_a_calm_flow_are_seldom_awake_also_without_a_slot(tmp_path: Path) -> None:
    """One file is one slot, so one of the two workers has none."""
    (tmp_path / "flow.py").write_text(
        "import headway as hw\n"
        "flow = hw.Flow('counts')\n"
        "lines = flow.source('lines', hw.Json, hw.files('in.jsonl'), time='at')\n"
        "lines.key_by('key').aggregate('counted', n=hw.count()).to('out', hw.to_stdout())\n"
    )
    (tmp_path / "in.jsonl").write_text("".join(f'{{"at": {at}, "key": "k{at}"}}\n' for at in range(500)))
    started = cluster.Started(tmp_path, "flow.py", "--workers", 2, "--follow", "--quiet")
    try:
        cluster.await_true(lambda: len((tmp_path / "run.out").read_text().splitlines()) >= 499, "the lines")
        workers = started.await_workers(2)
        most = 300

        def are_calm() -> bool:
            before = [looks(pid) for pid in workers]
            time.sleep(1)  # What is measured is how much happens in a second.
            return all(looks(pid) - then < most for pid, then in zip(workers, before))

        cluster.await_true(are_calm, f"a second in which no worker goes to sleep {most} times")
    finally:
        cluster.send(started.pid, signal.SIGTERM)
        assert started.outcome()[0] == 0
