"""Closing the books of flows with functions: streams go to their end, functions work and live by the clock."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster_harness import Started, run
from tests.durable_harness import PATIENCE_S, Group, start

import headway as hw
from headway import durable_workflow
from headway.durable.inputs import PATH
from headway.durable.messages import Signal, message
from headway.errors import DrainedStateError
from headway.inbox.commits import Inbox, item_of
from headway.inbox.settings import InboxSettings
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.manifest import Manifest
from headway.state.reader import StateReader

DAY_MS = 86_400_000


@durable_workflow
async def remind(context: Any, cart: str, hour: int) -> str:
    await context.call("mail", cart)
    if cart.endswith("3"):
        await context.wait("paid")
    if cart.endswith("4"):
        await context.sleep("30d")
    await context.call("mail", f"{cart} again")
    return cart


def carts(count: int) -> list[dict[str, Any]]:
    """Nobody checks out: with an hour of silence each, most of it lies behind the last event."""
    return [{"at": 60_000 * number, "cart": f"c{number}", "kind": "add"} for number in range(count)]


def flow_of(events: list[Any], mails: list[str], ended: list[Any]) -> hw.Functions:
    flow = hw.Functions("carts", [remind])

    @flow.step
    async def mail(text: str) -> None:
        mails.append(text)

    source = flow.source("carts", hw.Json, hw.items(events), time="at").key_by("cart")
    lost = source.absence("lost", start=hw.where(kind="add"), end=hw.where(kind="checkout"), within="1h")
    lost.start(remind, id=lambda found: found.start["cart"], args=lambda found: (found.start["cart"], 1))
    flow.ended.to("ended", hw.to_list(ended))
    return flow


def drained(flow: hw.Functions, state: Path) -> RunResult:
    until = time.monotonic() + PATIENCE_S

    def stops() -> bool:
        assert time.monotonic() < until, "it does not end"
        return False

    return run_flow(flow, RunOptions(state, key_groups=2, epoch_ms=20, drain=True), stop=StopFlag(stops))


def statuses(state: Path) -> dict[str, str]:
    with StateReader(state) as reader:
        return {row.key.partition("/")[2]: row.state["status"] for row in reader.rows("functions")}


def tell(state: Path, to: str, signal: str) -> None:
    inbox = Inbox(state / "inbox" / PATH[1:].replace("/", ".") / "0", InboxSettings())
    inbox.commit([[item_of(message(to, Signal(signal)))]])
    inbox.close()


def test_what_the_end_of_a_stream_starts_is_done_and_what_sleeps_sleeps_on(tmp_path: Path) -> None:
    mails: list[str] = []
    ended: list[Any] = []
    result = drained(flow_of(carts(10), mails, ended), tmp_path)
    assert result.drained and result.cut_off == 0
    expected = {f"c{n}": "running" if n in (3, 4) else "completed" for n in range(10)}
    assert statuses(tmp_path) == expected
    assert Counter(mails) == Counter(
        [f"c{n}" for n in range(10)] + [f"c{n} again" for n in range(10) if n not in (3, 4)]
    )
    assert sorted(json.loads(one["result"]) for one in ended) == sorted(
        key for key, status in expected.items() if status == "completed"
    )
    with StateReader(tmp_path) as reader:
        [asleep] = [row for row in reader.rows("functions") if row.key == "remind/c4"]
    [due_ms] = asleep.timers.values()
    assert 29 * DAY_MS < due_ms - time.time() * 1_000 < 31 * DAY_MS, "its time is that of the clock"

    with pytest.raises(DrainedStateError, match="run it with --drain to go on with what is left"):
        run_flow(flow_of(carts(11), mails, ended), RunOptions(tmp_path))
    tell(tmp_path, "remind/c3", "paid")
    before = len(mails)
    again = drained(flow_of(carts(12), mails, ended), tmp_path)
    assert again.drained
    assert mails[before:] == ["c3 again"], "functions go on, and nothing is read of a stream that is closed"
    assert statuses(tmp_path) == {**expected, "c3": "completed"}
    manifest = Manifest.load(tmp_path)
    assert manifest is not None and manifest.drain is not None
    assert (manifest.drain.to_ms, manifest.drain.done) == (9 * 60_000 + 3_600_000, False)


def test_a_group_without_streams_has_no_books(tmp_path: Path) -> None:
    async def mail(text: str) -> None: ...

    group = Group(tmp_path, remind, steps=[mail])
    group.tell(("remind/1", start("c1", 1)), ("remind/3", start("c3", 1)))
    assert drained(group.flow, tmp_path).drained
    assert statuses(tmp_path) == {"1": "completed", "3": "running"}
    group.tell(("remind/3", Signal("paid", msgspec.Raw(b"1"))), ("remind/2", start("c2", 1)))
    group.run_to_the_end()
    assert set(statuses(tmp_path).values()) == {"completed"}


FLOW = """
import os
import headway as hw
from headway import durable_workflow

@durable_workflow
async def remind(context, cart):
    for part in range(3):
        await context.call("mail", cart, part)
    return cart

flow = hw.Functions("carts", [remind])

@flow.step
def mail(cart, part):
    file = os.open("mails.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{cart} {part}\\n".encode())
    os.close(file)

carts = flow.source("carts", hw.Json, hw.files("carts.jsonl"), time="at").key_by("cart")
lost = carts.absence("lost", start=hw.where(kind="add"), end=hw.where(kind="checkout"), within="1h")
lost.start(remind, id=lambda found: found.start["cart"], args=lambda found: (found.start["cart"],))
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
"""


def mails_of(directory: Path) -> list[str]:
    path = directory / "mails.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_while_the_books_are_closed(tmp_path: Path, workers: int) -> None:
    seed = int(os.environ.get("HEADWAY_SEED", "0")) or random.randrange(1 << 30)
    sys.stdout.write(f"HEADWAY_SEED={seed}\n")
    count = 60
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "carts.jsonl").write_text("".join(json.dumps(cart) + "\n" for cart in carts(count)))
    arguments = ("flow.py", "--drain", "--epoch", "50ms", "--workers", workers, "--state", "state")
    for kill_at in sorted(random.Random(seed).sample(range(1, 3 * count), 2)):
        started = Started(tmp_path, *arguments, "--quiet")
        until = time.monotonic() + PATIENCE_S
        while len(mails_of(tmp_path)) < kill_at and started.process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        started.end()
    assert run(tmp_path, *arguments)["status"] == "drained"
    ended = [json.loads(line) for line in (tmp_path / "ended.jsonl").read_text().splitlines()]
    assert sorted(one["id"] for one in ended) == sorted(f"c{n}" for n in range(count))
    assert {one["status"] for one in ended} == {"completed"}
    assert set(mails_of(tmp_path)) == {f"c{n} {part}" for n in range(count) for part in range(3)}


def test_the_command_says_what_goes_on(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW.replace("for part", 'await context.wait("go")\n    for part'))
    (tmp_path / "carts.jsonl").write_text("".join(json.dumps(cart) + "\n" for cart in carts(2)))
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--drain", "--epoch", "50ms", "--state", "state"]
    done = subprocess.run(command, cwd=tmp_path, timeout=90, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the books are closed; 2 functions go on with the next run, by --drain" in done.stderr + done.stdout
