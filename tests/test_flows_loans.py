"""The flow of stalled loans on a year of real applications, against a few lines of Python."""

from __future__ import annotations

import gzip
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, Started, await_true, run

from headway.flows.stalled_loans import FINAL

WEEK_MS = 7 * 86_400_000
DATA = os.environ.get("HEADWAY_DATA")

pytestmark = pytest.mark.skipif(DATA is None, reason="HEADWAY_DATA names no folder with loans.jsonl.gz")


def stalled(lines: list[bytes]) -> list[tuple[int, str, str]]:
    """(due, case, activity) of each wait of more than a week that is over by the time of the last event."""
    waiting: dict[str, tuple[int, str]] = {}
    found = []
    newest = 0
    for event in map(json.loads, lines):
        assert event["time"] >= newest, "the log is in order"
        newest = event["time"]
        since, activity = waiting.pop(event["case"], (newest, ""))
        if newest - since > WEEK_MS:
            found.append((since + WEEK_MS, event["case"], activity))
        if event["activity"] not in FINAL:
            waiting[event["case"]] = (newest, event["activity"])
    # What is due at the very time of the last event could still be met by another one of that time.
    open_ends = [(since + WEEK_MS, case, activity) for case, (since, activity) in waiting.items()]
    return sorted(found + [end for end in open_ends if end[0] < newest])


def told(trigger: dict[str, Any]) -> tuple[int, str, str]:
    due = round(datetime.fromisoformat(trigger["time"].replace("Z", "+00:00")).timestamp() * 1000)
    return due, trigger["subject"], trigger["data"]["activity"]


def arguments(output: str, state: str, workers: int) -> list[object]:
    settings = ("--set", f"input={DATA}/loans.jsonl.gz", "--set", f"output={output}")
    return [FLOWS / "stalled_loans.py", *settings, "--state", state, "--workers", workers, "--epoch", "50ms"]


def test_the_stalls_are_those_of_a_few_lines_of_python(tmp_path: Path) -> None:
    summary = run(tmp_path, *arguments("one.jsonl", "one", 1))
    with gzip.open(f"{DATA}/loans.jsonl.gz") as file:
        lines = file.readlines()
    triggers = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert sorted(map(told, triggers)) == stalled(lines)
    assert (len(triggers), summary["triggers"], summary["events"]) == (13_222, 13_222, len(lines))
    assert [trigger["time"] for trigger in triggers] == sorted(trigger["time"] for trigger in triggers)

    killed = Started(tmp_path, *arguments("two.jsonl", "two", 2), "--quiet")
    try:
        output = tmp_path / "two.jsonl"
        await_true(lambda: output.exists() and output.stat().st_size > 1_000_000, "a part of the output")
        killed.check_running()
    finally:
        killed.end()
    assert run(tmp_path, *arguments("two.jsonl", "two", 2))["resumed"]
    assert output.read_bytes() == (tmp_path / "one.jsonl").read_bytes()
