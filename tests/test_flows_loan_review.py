"""The flow of loan reviews: what one review does in weeks of virtual time, and that each stall gets one."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import FLOWS, PATIENCE_S, Started
from tests.test_flows_loans import stalled

from headway.declare.loading import FlowSpec, load_flow
from headway.durable.flow import Functions
from headway.testing import FunctionTest

DAY_MS = 86_400_000
REVIEW = {"case": "7", "activity": "A_ACCEPTED", "amount": 5_000, "patience": "7d"}
DATA = os.environ.get("HEADWAY_DATA")


def review() -> FunctionTest:
    flow = load_flow(FlowSpec(str(FLOWS / "loan_review.py")))
    assert isinstance(flow, Functions)
    steps = {"remind": "ann", "escalate": lambda case, officer: f"lead of {officer}", "close": None}
    return FunctionTest("review_loan", flow, steps=steps).with_crashes()


@pytest.mark.parametrize(
    ("decided_after", "result", "called"),
    [
        ("0s", "approved by ann", ["remind"]),
        ("6d", "approved by ann", ["remind"]),
        ("8d", "approved by lead of ann", ["remind", "escalate"]),
        ("15d", "closed", ["remind", "escalate", "close"]),
    ],
)
def test_a_review_reminds_waits_and_escalates(decided_after: str, result: str, called: list[str]) -> None:
    run = review().signal("decided", "approved", at=decided_after).run(REVIEW)
    assert (run.result, run.called) == (result, called)


def test_a_decision_that_is_none_fails_the_review() -> None:
    run = review().signal("decided", "maybe", at="1d").run(REVIEW)
    assert run.failure and "signal 'decided' is not what is waited for" in run.failure.message
    assert review().run(REVIEW).elapsed_ms == 14 * DAY_MS


def reviews(directory: Path, count: int, *settings: str, workers: int) -> list[dict[str, Any]]:
    """The reviews that have ended in a run of the flow as a command, which is stopped when there are so many."""
    given = [part for setting in (*settings, "patience=300ms", "output=ended.jsonl") for part in ("--set", setting)]
    options = ["--follow", "--quiet", "--state", "state", "--workers", workers, "--epoch", "100ms"]
    started = Started(directory, FLOWS / "loan_review.py", *given, *options)
    path = directory / "ended.jsonl"
    until = time.monotonic() + PATIENCE_S
    while (len(path.read_bytes().splitlines()) if path.exists() else 0) < count and time.monotonic() < until:
        started.check_running()
        time.sleep(0.02)
    started.process.terminate()
    code, told = started.outcome()
    assert code == 0, told
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_made_up_applications_in_two_processes(tmp_path: Path) -> None:
    found = reviews(tmp_path, 14, workers=2)
    assert {(one["status"], one["result"]) for one in found} == {("completed", '"closed"')}
    assert len({one["id"] for one in found}) == len(found) == 14


@pytest.mark.skipif(DATA is None, reason="HEADWAY_DATA names no folder with loans.jsonl.gz")
def test_each_stall_of_real_applications_gets_one_review(tmp_path: Path) -> None:
    with gzip.open(f"{DATA}/loans.jsonl.gz") as file:
        lines = file.readlines()[:40_000]
    (tmp_path / "loans.jsonl").write_bytes(b"".join(lines))
    expected = Counter(f"{case}-{due - 7 * DAY_MS}" for due, case, _ in stalled(lines))
    assert len(expected) > 500
    found = reviews(tmp_path, len(expected), "input=loans.jsonl", workers=1)
    assert Counter(one["id"] for one in found) == expected
