"""Steps in processes: kept for the next one, crashed alone, killed where they do not end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests import process_steps
from tests.cluster_harness import await_true, is_alive

import headway as hw
from headway.steps import local
from headway.steps.attempt import Ran, StepCall
from headway.steps.hub import Hub

PATIENCE_S = 30


def in_hub(story: Callable[[Hub, Callable[..., asyncio.Task[Ran]]], Awaitable[None]], concurrency: int = 2) -> None:
    """Tell a story of a hub in real time."""
    flow = hw.Functions("group", steps=[process_steps.steps], queues=[hw.Queue("processes", concurrency=concurrency)])

    async def told() -> None:
        hub = Hub(flow.callees, flow.queues)
        hub.open()
        calls: list[asyncio.Task[Ran]] = []

        def call(name: str, *arguments: Any, attempt: int = 1, details: str = "", **options: Any) -> Any:
            made = StepCall(
                key=f"f/1#0.{len(calls)}",
                name=name,
                function="f",
                id="1",
                run=0,
                arguments=json.dumps(arguments).encode(),
                options=hw.CallOptions(**{"queue": "processes", **options}),
                at_ms=time.time_ns() // 1_000_000,
            )
            calls.append(asyncio.ensure_future(hub.run(made, attempt, details)))
            return calls[-1]

        try:
            await asyncio.wait_for(story(hub, call), PATIENCE_S)
        finally:
            for one in calls:
                one.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await hub.close()

    asyncio.run(told())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def began(folder: Path) -> int:
    path = folder / "began"
    return int(path.read_text() or 0) if path.exists() else 0


def test_a_process_is_kept_for_the_next_step() -> None:
    found: list[Any] = []

    async def story(hub: Hub, call: Any) -> None:
        ran = await call("who", "a", attempt=2, details='"where it stood"')
        found.extend(json.loads(ran.value))
        assert json.loads((await call("who_async")).value) == found[0], "one process for both"
        both = await asyncio.gather(call("who", "b"), call("who", "c"))
        assert {json.loads(ran.value)[1] for ran in both} == {"b", "c"}
        assert found[0] in {json.loads(ran.value)[0] for ran in both}

    in_hub(story)
    assert found[0] != os.getpid()
    assert found[1:] == ["a", "f/1#0.0", 2, "where it stood"]
    await_true(lambda: not is_alive(found[0]), "the end of the process with its hub")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ProcessDied: the process of step 'crash' has ended with the exit code 3"),
        ("kill", "ProcessDied: the process of step 'crash' has ended by SIGKILL"),
        ("sys.exit", "SystemExit: no"),
        ("ctrl-c", "KeyboardInterrupt"),
    ],
)
def test_a_crash_fails_its_attempt_and_no_other(how: str, said: str) -> None:
    async def story(hub: Hub, call: Any) -> None:
        other, crashed = call("who", "other"), call("crash", how)
        ran = await crashed
        assert ran.retry and said in ran.retry.reason
        assert json.loads((await other).value)[1] == "other"
        assert json.loads((await call("who", "next")).value)[1] == "next"

    in_hub(story)


def test_large_values_and_values_that_cannot_be() -> None:
    async def story(hub: Hub, call: Any) -> None:
        ran = await call("large", 10_000_000)
        assert len(ran.value) == 10_000_002
        assert (await call("who", "y" * 10_000_000)).value.count(b"y") == 10_000_000
        failed = (await call("wrong")).failure
        assert failed and failed.non_retryable and "the result of step 'wrong'" in failed.message
        failed = (await call("who", 7)).failure
        assert failed and "argument 'text'" in failed.message

    in_hub(story)


@pytest.mark.parametrize("step", ["patient", "patient_async"])
def test_cancelled_steps_are_told(tmp_path: Path, step: str) -> None:
    async def story(hub: Hub, call: Any) -> None:
        cancelled = call(step, str(tmp_path))
        await until(lambda: began(tmp_path) > 0)
        hub.cancel("f/1#0.0")
        failed = (await cancelled).failure
        assert failed and failed.type == "CancelledError"
        await until((tmp_path / "told").exists)
        await until(lambda: hub._rooms["processes"].running == 0)
        assert json.loads((await call("who", "again")).value)[0] == began(tmp_path), "its process lives on"

    in_hub(story)


def test_heartbeats_come_through_and_silence_is_noticed(tmp_path: Path) -> None:
    async def story(hub: Hub, call: Any) -> None:
        beating = call("patient", str(tmp_path), heartbeat_timeout="20s")
        await asyncio.sleep(0)
        [under_way] = hub._attempts.values()
        await until(lambda: under_way.details not in ("", '{"done":0}'))
        hub.cancel("f/1#0.0")
        assert (await beating).failure
        silent = await call("deaf", str(tmp_path), heartbeat_timeout="50ms")
        assert silent.retry and "no heartbeat for 50ms" in silent.retry.reason

    in_hub(story)


def test_a_step_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.Local.__init__, "__defaults__", (0.05,))

    async def story(hub: Hub, call: Any) -> None:
        call("deaf", str(tmp_path))
        await until(lambda: began(tmp_path) > 0)
        waiting = call("who", "next")
        hub.cancel("f/1#0.0")
        assert json.loads((await waiting).value)[0] != began(tmp_path)
        assert not is_alive(began(tmp_path))

    in_hub(story, concurrency=1)


def test_processes_end_with_the_one_that_has_started_them(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom tests import test_steps_processes as t\n"
        "async def story(hub, call):\n    await call('deaf', sys.argv[1])\nt.in_hub(story)\n"
    )
    root = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    try:
        await_true(lambda: process.poll() is not None or began(tmp_path) > 0, "the step")
        assert is_alive(began(tmp_path))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await_true(lambda: not is_alive(began(tmp_path)), "the end of the step's process")
