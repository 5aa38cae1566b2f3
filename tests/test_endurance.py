"""A flow that is followed for long: memory, open files and disk stay what they are."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from tests import cluster_harness as cluster

SECONDS = float(os.environ.get("HEADWAY_SOAK_S", "1200"))
"""How long the flow is followed; the default is what the soak asks for."""

FLOW = """
import headway as hw

flow = hw.Flow("long")
events = flow.source("events", hw.Json, hw.files("in-*.jsonl"), time="at", out_of_order="1s", idle_after="5s")
keyed = events.key_by("key")
keyed.absence("gone", start=hw.where(kind="add"), end=hw.where(kind="pay"), within="3s").trigger(
    "it.went", hw.to_jsonl("out.jsonl")
)
keyed.window("seconds", hw.tumbling("1s"), n=hw.count()).to("counts", hw.to_stdout())
"""


class Used(NamedTuple):
    """What a run uses at one moment."""

    memory_bytes: int
    files: int
    disk_bytes: int


def used(started: cluster.Started) -> Used:
    pids = [started.pid, *started.workers()]
    resident = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    disk = 0
    for path in (started.directory / "state").rglob("*"):
        try:
            disk += path.stat().st_size
        except FileNotFoundError:  # RocksDB removes what it has compacted.
            continue
    return Used(sum(resident) * os.sysconf("SC_PAGE_SIZE"), files, disk)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_a_followed_flow_uses_no_more_with_time(tmp_path: Path, workers: int) -> None:
    """Rates and the number of keys are constant: so must be all else, but for the outputs."""
    (tmp_path / "flow.py").write_text(FLOW)
    logs = [tmp_path / f"in-{number}.jsonl" for number in range(3)]
    for log in logs:
        log.touch()
    options = ("--follow", "--quiet", "--epoch", "200ms", "--workers", workers, "--state", "state")
    started = cluster.Started(tmp_path, "flow.py", *options)
    seen: list[Used] = []
    begun = time.monotonic()
    number = 0
    try:
        while time.monotonic() - begun < SECONDS / 2:
            started.check_running()
            for log in logs:
                with log.open("a") as file:
                    for _ in range(40):
                        number += 1
                        kind = "pay" if number % 3 else "add"
                        line = f'{{"at": {time.time_ns() // 1_000_000}, "key": "k{number % 500}", "kind": "{kind}"}}\n'
                        file.write(line)
            time.sleep(0.5)
            seen.append(used(started))
    finally:
        cluster.send(started.pid, signal.SIGTERM)
        code, told = started.outcome()
    assert code == 0, told
    quarter = len(seen) // 4
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    assert quarter > 4
    for name, allowed in (("memory_bytes", 1.1), ("files", 1.05), ("disk_bytes", 1.3)):
        before = statistics.median(getattr(one, name) for one in early)
        after = statistics.median(getattr(one, name) for one in late)
        assert after <= before * allowed, f"{name}: {before:,.0f} early, {after:,.0f} late"
