"""Attempts of steps in the process of a flow: their limits, and what is tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

import headway as hw
from headway.durable.calls import CallRecord
from headway.durable.steps import LocalSteps
from headway.durable.target import Ran

STARTED_MS = 1_704_067_200_000


class Declined(Exception):
    """An error that says of itself that it is final."""

    non_retryable = True


def attempt(code: Any, number: int = 1, *, passed_ms: int = 0, called: Any = None, **declared: Any) -> Ran:
    """One attempt of a step, so long after its call."""
    flow = hw.Functions("group")
    flow.step(name="work", **declared)(code)

    async def run() -> Ran:
        steps = LocalSteps(flow.callees, now_ms=lambda: STARTED_MS + passed_ms)
        await steps.open()
        options = "" if called is None else msgspec.json.encode(called).decode()
        record = CallRecord(key="f/1#0.1", kind="step", name="work", at_ms=STARTED_MS, options=options)
        ran = await steps.run(record, number)
        await steps.close()
        return ran

    return asyncio.run(run())


async def never() -> None:
    await asyncio.Event().wait()


def broken() -> None:
    raise OSError("down")


def declined() -> None:
    raise Declined("no")


def test_an_attempt_has_its_time_limit_and_is_tried_again() -> None:
    ran = attempt(never, attempt_timeout="1ms", retry=hw.RetryPolicy(initial="3s"))
    assert ran.retry and ran.retry.retry_after_s == 3
    assert attempt(never, 2, attempt_timeout="1ms", retry=hw.RetryPolicy(maximum_attempts=2)).failure


def test_all_attempts_together_have_a_time_limit() -> None:
    late = attempt(broken, 7, passed_ms=5_000, timeout="5s")
    assert late.failure and str(late.failure) == "TimeoutError: not done in 5s"
    pause = attempt(broken, 7, passed_ms=4_000, timeout="5s").retry
    assert pause and pause.retry_after_s == 1, "not later than at the end of its time"
    cut = attempt(never, passed_ms=4_999, timeout="5s", attempt_timeout="1h").retry
    assert cut and cut.retry_after_s == 0.001
    over = attempt(broken, passed_ms=4_000, timeout="1s", called=hw.CallOptions(timeout="1h"))
    assert over.retry, "what the call says goes before what the step says"


def test_an_error_that_is_final_is_not_tried_again() -> None:
    ran = attempt(declined)
    assert ran.failure and (ran.failure.type, ran.failure.non_retryable) == ("Declined", True)
    assert "in declined" in ran.failure.traceback
    named = attempt(broken, retry=hw.RetryPolicy(non_retryable=("OSError",)))
    assert named.failure and named.failure.message == "down"


def test_options_that_mean_nothing_here_are_refused_and_not_passed_over() -> None:
    queued = attempt(broken, called=hw.CallOptions(queue="q", priority=1))
    assert queued.failure and queued.failure.non_retryable
    assert "queue, priority cannot be had here" in queued.failure.message
