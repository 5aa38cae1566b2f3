"""Runs of groups of functions to the end of their input: they end when no function is at work any more."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.durable_harness import Group, start

import headway as hw
from headway import durable_workflow


@durable_workflow
async def chain(context: Any, length: int) -> int:
    found = 0
    for number in range(length):
        found += await context.call("one", number)
    return found


async def one(number: int) -> int:
    await asyncio.sleep(0)
    return 1


@durable_workflow
async def whole(context: Any, parts: int) -> int:
    return sum(await context.gather(*(context.child(chain, 3) for _ in range(parts))))


def test_all_steps_are_waited_for(tmp_path: Path) -> None:
    group = Group(tmp_path, chain, whole, steps=[one])
    group.tell(("chain/1", start(20)), ("whole/1", start(5)))
    group.run_to_the_end()
    assert {one["id"]: one["result"] for one in group.ended if one["id"] == "1" and one["function"] == "chain"} == {
        "1": "20"
    }
    assert [one["result"] for one in group.ended if one["function"] == "whole"] == ["15"]
    assert {row.state["status"] for row in group.rows().values()} == {"completed"}


@durable_workflow
async def sleepy(context: Any) -> None:
    await context.call("one", 1)
    await context.sleep("30d")


def test_time_is_not_waited_for_and_the_next_run_goes_on(tmp_path: Path) -> None:
    group = Group(tmp_path, sleepy, chain, steps=[one])
    group.tell(("sleepy/1", start()), ("chain/1", start(2)))
    group.run_to_the_end()
    rows = group.rows()
    assert {key: row.state["status"] for key, row in rows.items()} == {"sleepy/1": "running", "chain/1": "completed"}
    assert rows["sleepy/1"].state["waits"][0].startswith("until ")
    group.tell(("chain/2", start(3)))
    group.run_to_the_end()
    assert [one["result"] for one in group.ended] == ["2", "3"]


def test_attempts_that_come_soon_are_waited_for_and_others_are_not(tmp_path: Path) -> None:
    attempts: list[str] = []

    async def soon() -> None:
        attempts.append("soon")
        if attempts.count("soon") < 3:
            raise OSError("down")

    async def later() -> None:
        attempts.append("later")
        raise OSError("down")

    @durable_workflow
    async def call(context: Any, step: str) -> None:
        await context.call(step)

    group = Group(tmp_path, call)
    group.flow.step(retry=hw.RetryPolicy(initial="50ms", coefficient=1.0))(soon)
    group.flow.step(retry=hw.RetryPolicy(initial="1h"))(later)
    group.tell(("call/soon", start("soon")), ("call/later", start("later")))
    group.run_to_the_end()
    assert sorted(attempts) == ["later", "soon", "soon", "soon"]
    assert {key: row.state["status"] for key, row in group.rows().items()} == {
        "call/soon": "completed",
        "call/later": "running",
    }


def test_functions_that_a_bounded_stream_starts(tmp_path: Path) -> None:
    found: list[Any] = []
    flow = hw.Functions("carts", [chain])
    flow.step(one)
    items = [{"at": at, "cart": f"c{at}"} for at in range(50)]
    carts = flow.source("carts", hw.Json, hw.items(items), time="at").key_by("cart")
    carts.start(chain, id="cart", args=lambda cart: (cart["at"] % 4,))
    flow.ended.to("ended", hw.to_list(found))
    hw.run(flow, state=tmp_path, epoch="20ms")
    # The last event waits for others of its time, which the next run may bring.
    assert sorted((one["id"], one["result"]) for one in found) == sorted((f"c{at}", str(at % 4)) for at in range(49))


FLOW = """
import os, time
import headway as hw
from headway import durable_workflow

@durable_workflow
async def chain(context, number):
    for part in range(5):
        await context.call("work", number, part)
    return number

flow = hw.Functions("chains", [chain])

@flow.step
def work(number, part):
    time.sleep(0.001)

orders = flow.source("orders", hw.Json, hw.files("orders.jsonl"), time="at").key_by("order")
orders.start(chain, id="order", args=lambda order: (order["at"],))
flow.ended.to("ended", hw.to_jsonl("ended.jsonl"))
"""


@pytest.mark.parametrize("workers", [1, 3])
def test_the_command_ends_by_itself(tmp_path: Path, workers: int) -> None:
    import subprocess
    import sys

    (tmp_path / "flow.py").write_text(FLOW)
    orders = [{"at": at, "order": f"o{at}"} for at in range(60)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    command = [
        sys.executable,
        "-m",
        "headway",
        "run",
        "flow.py",
        "--workers",
        str(workers),
        "--epoch",
        "50ms",
        "--quiet",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, timeout=90, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ended = [json.loads(line) for line in (tmp_path / "ended.jsonl").read_text().splitlines()]
    assert sorted(int(one["result"]) for one in ended) == list(range(59))
