"""Groups of functions whose processes are killed at any moment: all end, with the results of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import durable_flow
from tests.cluster_harness import PATIENCE_S, Started

from headway.durable.inputs import PATH
from headway.durable.messages import Start, message
from headway.functions.history import Answered, Called, Failed, decode
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.state.reader import StateReader

ORDERS = 40


def ask(state: Path, numbers: range) -> None:
    """Start orders, as a client would."""
    inbox = Inbox(state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    for number in numbers:
        start = message(f"order/{number}", Start(msgspec.Raw(json.dumps([number]).encode())))
        inbox.commit([[item_of(start, f"k{number}")]])
    inbox.close()


def ended(directory: Path) -> list[dict[str, Any]]:
    path = directory / "ended.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def effects_of(directory: Path) -> int:
    path = directory / "effects.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def run_to_the_end(directory: Path, *arguments: object, kills: list[int]) -> None:
    """Run until all orders have ended; the processes are killed at so many effects of steps."""
    for count in kills:
        started = Started(directory, *arguments)
        until = time.monotonic() + PATIENCE_S
        while effects_of(directory) < count and time.monotonic() < until:
            started.check_running()
            time.sleep(0.002)
        started.end()
    started = Started(directory, *arguments)
    until = time.monotonic() + PATIENCE_S
    while sum(one["function"] == "order" for one in ended(directory)) < ORDERS and time.monotonic() < until:
        started.check_running()
        time.sleep(0.02)
    started.process.terminate()
    code, told = started.outcome()
    assert code == 0, told


@pytest.mark.parametrize(("workers", "live"), [(1, 1_000), (1, 1), (2, 5)])
def test_killed_at_any_moment(tmp_path: Path, workers: int, live: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few instances kept live, nearly each happening makes one anew from its history."""
    monkeypatch.setenv("LIVE", str(live))
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    chance = random.Random(seed)
    shutil.copy(durable_flow.__file__, tmp_path / "flow.py")
    ask(tmp_path / "state", range(ORDERS))
    arguments = ("flow.py", "--follow", "--quiet", "--state", "state", "--epoch", "100ms", "--key-groups", 5)
    kills = sorted(chance.randrange(1, 70) for _ in range(4))
    run_to_the_end(tmp_path, *arguments, "--workers", workers, kills=kills)
    check_all_is_done(tmp_path)


def check_all_is_done(directory: Path) -> None:
    """Each has ended once, as it should; steps were recorded once, and only those ran that the code has reached."""
    found = ended(directory)
    assert Counter(one["function"] for one in found) == {"order": ORDERS, "total": ORDERS, "refund_order": ORDERS}
    assert {one["status"] for one in found} == {"completed"}
    assert len({(one["function"], one["id"]) for one in found}) == 3 * ORDERS
    results = {one["id"]: json.loads(one["result"]) for one in found if one["function"] == "order"}
    for number in range(ORDERS):
        result = results[str(number)]
        assert result["total"] == sum(2 * part for part in range(number % 5))
        assert result["approved"] == ("timed out" if number % 3 == 0 else None)
    assert len({result["id"] for result in results.values()}) == ORDERS
    effects = Counter((directory / "effects.txt").read_text().split("\n"))
    for number in range(ORDERS):
        assert effects[f"cancel o-{number}"] >= 1
        assert effects[f"refund o-{number}"] >= (3 if number % 10 == 7 else 1)
        assert (effects[f"escalate o-{number}"] >= 1) == (number % 10 == 7)
    with StateReader(directory / "state") as reader:
        rows = [(row.timers, list(row.state["history"])) for row in reader.rows("functions")]
        waiting = [queue.waiting for queue in reader.deliveries(reader.manifest.outputs["call"].id)]
    assert len(rows) == 3 * ORDERS
    assert sum(waiting) == 0
    for timers, history in rows:
        entries = [decode(data) for data in history]
        answered = [entry.call for entry in entries if isinstance(entry, (Answered, Failed))]
        called = [entry.number for entry in entries if isinstance(entry, Called)]
        assert sorted(answered) == sorted(called), "each call has one answer"
        assert set(timers) == {"retention"}
