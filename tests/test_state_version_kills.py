"""A flow whose state has another version now, killed at any commit while rows of both versions lie side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headway.proving.crashes import Crashes, Kill

OLD = """
class Spent(hw.State):
    cents: int = 0
    orders: int = 0
"""
NEW = """
class Spent(hw.State):
    state_version = 2
    total: float = 0.0
    orders: int = 0

    @classmethod
    def migrate(cls, old, version):
        return {"total": old["cents"] / 100, "orders": old["orders"]}
"""
FLOW = """
import headway as hw


class Paid(hw.Event):
    at: int
    user: str
    cents: int

{state}

class Spending(hw.Operator[Paid, Spent, hw.Json]):
    def on_event(self, state, event, ctx):
        {add}
        state.orders += 1
        ctx.emit({{"user": event.user, "total": {total}, "orders": state.orders}})


flow = hw.Flow("spending")
paid = flow.source("paid", Paid, hw.files("paid.jsonl"), time="at")
paid.key_by("user").process("spent", Spending()).to("totals", hw.to_jsonl("totals.jsonl"))
"""
USERS, EVENTS = 60, 300


def flow_text(*, is_new: bool) -> str:
    if is_new:
        return FLOW.format(state=NEW, add="state.total += event.cents / 100", total="round(state.total, 2)")
    return FLOW.format(state=OLD, add="state.cents += event.cents", total="round(state.cents / 100, 2)")


def feed(directory: Path, part: int) -> None:
    with (directory / "paid.jsonl").open("a") as log:
        for number in range(EVENTS):
            at = part * EVENTS + number
            log.write(
                json.dumps({"at": at, "user": f"u{(at * 7) % USERS}", "cents": at % 97, "pad": "x" * 8_000}) + "\n"
            )


def run(directory: Path, nth: int | None = None) -> int:
    crashes = Crashes(directory / "crashes")
    crashes.arm(None if nth is None else Kill("database.after", nth))
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", "--key-groups", "3", "--epoch", "10ms"]
    environment = {**crashes.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def expected(parts: int) -> list[dict[str, object]]:
    cents, orders = dict.fromkeys(range(USERS), 0), dict.fromkeys(range(USERS), 0)
    made = []
    for at in range(parts * EVENTS - 1):  # The last one waits for time to pass.
        user = (at * 7) % USERS
        cents[user] += at % 97
        orders[user] += 1
        made.append({"user": f"u{user}", "total": round(cents[user] / 100, 2), "orders": orders[user]})
    return made


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_killed_at_any_write_no_state_is_lost_or_migrated_twice(tmp_path: Path, step: int) -> None:
    feed(tmp_path, 0)
    (tmp_path / "flow.py").write_text(flow_text(is_new=False))
    assert run(tmp_path) == 0
    feed(tmp_path, 1)
    (tmp_path / "flow.py").write_text(flow_text(is_new=True))
    kills = 0
    for nth in range(2, 60, step):
        if run(tmp_path, nth) == 0:
            break
        kills += 1
    assert kills >= 3
    assert run(tmp_path) == 0
    written = [json.loads(line) for line in (tmp_path / "totals.jsonl").read_text().splitlines()]
    assert written == expected(2)
