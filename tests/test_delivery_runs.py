"""Runs that deliver: what presses back, what a receiver's faults come to, and how a run ends meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

import headway as hw
from headway.errors import FlowError, UserCodeError
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stats import RunStats
from headway.runtime.stopping import StopFlag
from headway.targets.base import DONE, Answer, Delivery, Outcome, Target


class Script(Target):
    """Answers as a function says; notes all that it is given."""

    def __init__(self, answer: Callable[[Delivery], Any] = lambda delivery: DONE, **limits: Any) -> None:
        self.limits = hw.Limits(**limits)
        self.got: list[Delivery] = []
        self._answer = answer

    @property
    def name(self) -> str:
        return "script"

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        self.got += batch
        return [self._answer(delivery) for delivery in batch]


def flow_of(target: Target, events: int, **options: Any) -> hw.Flow:
    flow = hw.Flow("deliveries")
    items = [{"at": at, "user": f"u{at % 5}"} for at in range(events + 1)]
    source = flow.source("events", hw.Json, hw.items(items), time="at")
    source.key_by("user").trigger("happened", target, **options)
    return flow


def run(
    flow: hw.Flow,
    directory: Path,
    stop: Optional[StopFlag] = None,
    observe: Optional[Callable[[RunStats], None]] = None,
    **options: Any,
) -> RunResult:
    options = {"key_groups": 3, "epoch_ms": 20, **options}
    return run_flow(flow, RunOptions(directory, **options), stop=stop, observe=observe)


def test_each_trigger_is_delivered_once_and_says_what_it_is(tmp_path: Path) -> None:
    target = Script()
    result = run(flow_of(target, 40), tmp_path)
    assert sorted(delivery.time_ms for delivery in target.got) == list(range(40))
    assert len({delivery.id for delivery in target.got}) == 40
    for delivery in target.got:
        assert (delivery.type, delivery.source) == ("happened", "/headway/deliveries")
        assert delivery.subject == f"u{delivery.time_ms % 5}"
        assert delivery.data == b'{"at":%d,"user":"%s"}' % (delivery.time_ms, delivery.subject.encode())
    by_key: dict[Any, list[tuple[str, int]]] = {}
    for delivery in target.got:
        by_key.setdefault(delivery.subject, []).append((delivery.sequence, delivery.time_ms))
    assert all(sorted(found) == found for found in by_key.values())
    stats = result.stats.deliveries["happened"]
    assert (stats.delivered, stats.waiting, stats.dead) == (40, 0, 0)
    again = run(flow_of(Script(), 40), tmp_path)
    assert again.stats.outputs["happened"] == 40


def test_without_keys_triggers_have_no_subject(tmp_path: Path) -> None:
    target = Script()
    flow = hw.Flow("keyless")
    source = flow.source("events", hw.Json, hw.items([{"at": at % 3} for at in range(9)]), time="at")
    source.filter(lambda event: True).trigger("happened", target)
    run(flow, tmp_path, drain=True)
    assert {delivery.subject for delivery in target.got} == {None}
    assert len({delivery.id for delivery in target.got}) == len(target.got) > 0


def test_a_trace_is_carried_on_where_the_value_has_one(tmp_path: Path) -> None:
    target = Script()
    flow = hw.Flow("traced")
    traces: list[Any] = ["00-" + "a" * 32 + "-" + "b" * 16 + "-01", "nonsense", 7, None]
    items = [{"at": at, "user": "ann", "traceparent": trace} for at, trace in enumerate(traces)] + [{"at": 9}]
    source = flow.source("events", hw.Json, hw.items(items), time="at")
    source.filter(lambda event: "user" in event).key_by("user").trigger("happened", target)
    run(flow, tmp_path, drain=True)
    assert [delivery.traceparent for delivery in target.got] == [traces[0], None, None, None]


def test_the_end_of_a_run_waits_for_what_only_the_rate_holds_back(tmp_path: Path) -> None:
    target = Script(per_second=100.0)
    result = run(flow_of(target, 130), tmp_path)
    assert len(target.got) == 130
    assert result.stats.deliveries["happened"].waiting == 0


def test_the_same_log_gives_the_same_triggers(tmp_path: Path) -> None:
    found = []
    for number, epoch_ms in enumerate([1, 10_000]):
        target = Script()
        run(flow_of(target, 60), tmp_path / str(number), epoch_ms=epoch_ms)
        found.append(sorted((d.subject, d.sequence, d.id, d.data) for d in target.got))
    assert found[0] == found[1]


def test_what_fails_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    down = Script(lambda delivery: Answer(Outcome.RETRY, "503"))
    result = run(flow_of(down, 20, retry_first="1ms", retry_longest="1ms"), tmp_path)
    assert result.stats.deliveries["happened"].waiting > 0
    up = Script()
    waiting = 20
    for _ in range(50):
        waiting = run(flow_of(up, 20), tmp_path).stats.deliveries["happened"].waiting
        if not waiting:
            break
    assert waiting == 0
    assert len({delivery.id for delivery in up.got}) == 20


@pytest.mark.parametrize("answer", [lambda delivery: 1 / 0, lambda delivery: "fine"], ids=["raises", "no answer"])
def test_a_target_with_a_fault_is_one_that_failed(tmp_path: Path, answer: Callable[[Delivery], Any]) -> None:
    target = Script(answer)
    result = run(flow_of(target, 3, on_failure="skip", give_up_after="1ms", retry_first="1ms"), tmp_path)
    attempts = result.stats.deliveries["happened"].attempts
    assert attempts["done"] == 0 < attempts["retry"]


def test_a_direct_edge_that_is_full_stops_the_reading_and_an_indirect_one_does_not(tmp_path: Path) -> None:
    down = Script(lambda delivery: Answer(Outcome.RETRY, "503"))
    stop = StopFlag()

    def stop_when_it_presses(stats: RunStats) -> None:
        if stats.deliveries["happened"].is_pressing:
            stop.set()

    direct = run(flow_of(down, 200_000, waiting_max=100), tmp_path / "direct", stop, stop_when_it_presses)
    assert direct.stopped
    assert 100 < direct.stats.deliveries["happened"].waiting < 200_000
    assert direct.stats.events < 200_000
    indirect = run(flow_of(down, 5_000, waiting_max=100, edge="indirect"), tmp_path / "indirect")
    assert not indirect.stopped
    stats = indirect.stats.deliveries["happened"]
    assert (stats.waiting, stats.dead) == (100, 4_900)
    assert "the oldest are given up" in " ".join(indirect.notices)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"edge": "both"}, "edge='both'"),
        ({"on_failure": "retry"}, "on_failure='retry'"),
        ({"give_up_after": "1h"}, 'goes with on_failure="skip"'),
        ({"waiting_max": 0}, "waiting_max=0"),
        ({"retry_first": "2h"}, "less than retry_first"),
        ({"retry_first": "soon"}, "soon"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(FlowError, match="test_delivery_runs") as raised:
        flow_of(Script(), 1, **options)
    assert said in str(raised.value)


def test_options_of_delivery_do_not_go_with_an_output() -> None:
    flow = hw.Flow("written")
    source = flow.source("events", hw.Json, hw.items([]), time="at")
    with pytest.raises(FlowError, match="edge, waiting_max belong to delivery"):
        source.trigger("happened", hw.to_list([]), edge="direct", waiting_max=3)
    with pytest.raises(FlowError, match="takes triggers"):
        source.to("plain", Script())  # type: ignore[arg-type]


def test_an_error_of_a_target_that_is_not_the_receivers_ends_the_run(tmp_path: Path) -> None:
    def fail(delivery: Delivery) -> Any:
        raise UserCodeError("the function is broken")

    with pytest.raises(UserCodeError, match="broken"):
        run(flow_of(Script(fail), 3), tmp_path)
