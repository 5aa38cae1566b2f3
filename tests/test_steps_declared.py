"""Declaring steps and their queues: what is refused, and groups of steps from other files."""

from __future__ import annotations

import pytest
from tests.steps_harness import group

import headway as hw
from headway.errors import FlowError


def broken() -> None:
    """A step that nobody calls."""


def declined() -> None:
    """Another one."""


def test_what_cannot_be_declared() -> None:
    async def waits() -> None: ...

    with pytest.raises(FlowError, match='runs_in="thread" is for an ordinary function'):
        group(waits, runs_in="thread")
    with pytest.raises(FlowError, match='runs_in="async" is for an `async def`'):
        group(broken, runs_in="async")
    with pytest.raises(FlowError, match="at the top level of a file"):
        group(lambda: None, runs_in="process")
    with pytest.raises(FlowError, match="runs_in='moon'"):
        group(broken, runs_in="moon")
    with pytest.raises(FlowError, match=r"there is no queue 'quick': give hw\.Functions queues="):
        group(broken, queue="quick")
    with pytest.raises(FlowError, match="two queues are called 'q'"):
        hw.Functions("group", queues=[hw.Queue("q"), hw.Queue("q")])
    with pytest.raises(FlowError, match="is no queue"):
        hw.Functions("group", queues=["q"])  # type: ignore[list-item]
    with pytest.raises(FlowError, match=r"neither hw\.Steps nor a step"):
        hw.Functions("group", steps=[broken])  # type: ignore[list-item]


def test_steps_of_another_file_and_a_default_queue_of_their_own() -> None:
    steps = hw.Steps(queue="mails")
    steps.step(broken)
    steps.step(name="other", queue="q")(declined)
    flow = hw.Functions("group", steps=[steps], queues=[hw.Queue("mails"), hw.Queue("q")])
    assert {name: step.options.queue for name, step in flow.callees.items() if step.options} == {
        "broken": "mails",
        "other": "q",
    }
    with pytest.raises(FlowError, match="two steps are called 'broken'"):
        steps.step(broken)
    with pytest.raises(FlowError, match="two functions or steps are called 'broken'"):
        flow.step(broken)
