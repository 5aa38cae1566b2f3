"""Calls that the hub cannot begin."""

from __future__ import annotations

from typing import Any

import pytest
from tests.steps_harness import World, group, in_world

import headway as hw
from headway.steps.local import Local


def test_what_is_no_step_that_runs_here_has_failed_for_good() -> None:
    """A call that was made by former code: its step is answered by messages now, or is a function."""

    @hw.durable_workflow
    async def ship(context: Any) -> None: ...

    quote = hw.topic_step("quote", hw.to_jsonl("requests.jsonl"), hw.files("replies.jsonl"))
    queues = [hw.Queue("remote", runs_on="workers")]
    flow = hw.Functions("group", [ship], steps=[quote], queues=queues)

    async def story(world: World) -> None:
        for queue in ("default", "remote"):
            for name, said in (("quote", "<topic step 'quote'"), ("ship", "<durable function 'ship'>")):
                failure = (await world.call(name, queue=queue)).failure
                assert failure is not None and failure.non_retryable
                assert f"step '{name}' is run no longer: the flow has {said}" in failure.message
        failure = (await world.call("qoute")).failure
        assert failure is not None and failure.message == "there is no step 'qoute': there are quote"
        for queue in ("default", "remote"):
            figures = world.hub.figures(queue)
            assert figures is not None and (figures.waiting, figures.running) == (0, 0)

    in_world(flow, story)


def test_a_step_that_cannot_be_begun_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no thread can be made. Each attempt has failed, after which the next one has its turn."""
    flow = group(lambda: "done", queues=[hw.Queue("one", concurrency=1)], queue="one")
    begin, left = Local.start, [2]

    def start(self: Local, *arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        return begin(self, *arguments)

    monkeypatch.setattr(Local, "start", start)

    async def story(world: World) -> None:
        calls = [world.call("work", f"f/{number}#0.1") for number in range(4)]
        found = [await call for call in calls]
        retries = [ran.retry for ran in found if ran.retry is not None]
        assert [retry.reason for retry in retries] == 2 * ["RuntimeError: can't start new thread"]
        assert [retry.retry_after_s for retry in retries] == [1.0, 1.0], "by the step's retry policy"
        assert [ran.value for ran in found[2:]] == 2 * [b'"done"']
        figures = world.hub.figures("one")
        assert figures is not None and (figures.waiting, figures.running) == (0, 0)

    in_world(flow, story)
