"""What a failure does, one by one: stopping and going on, setting aside, the bound, and what is never set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests import cluster_harness as cluster
from tests.letters import letters_of

import headway as hw
from headway.errors import FlowError, UserCodeError
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.testing import FlowTest


class Count(hw.State):
    events: int = 0


class Counter(hw.Operator[hw.Json, Count]):
    """Counts, and fails where an event says so, after it has done what can be undone."""

    sides = {"seen": hw.Json}
    losses = {"seen": "nobody looks"}

    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.events += 1
        ctx.emit({"n": event["n"], "events": state.events})
        ctx.emit_to("seen", event)
        ctx.lose("seen", 1)
        ctx.timer("over", after="10ms")
        event["n"] = "changed"
        if event.get("fails") == "event":
            raise ValueError("as asked")
        if event.get("fails") == "interrupt":
            raise KeyboardInterrupt
        if event.get("fails") == "state":
            state.events = "many"  # type: ignore[assignment]
        if event.get("fails") == "duration":
            ctx.timer("over", after="a while")

    def on_timer(self, state: Count, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        events = state.events
        ctx.forget()
        ctx.emit({"over": events})
        if events == 3:
            raise KeyError("three")


class Follow(hw.Operator[hw.Json, Count]):
    """Stands behind the counter in the same stage."""

    def on_event(self, state: Count, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.events += 1
        ctx.emit({**event, "follow": state.events})


def flow_of(input: Any, output: Any, **options: Any) -> hw.Flow:
    flow = hw.Flow("counting", on_error=options.pop("on_error", "dead-letter"))
    counted = flow.source("log", hw.Json, input, time="at", **options).key_by("key").process("count", Counter())
    counted.process("follow", Follow()).to("out", output)
    return flow


def event(at: int, **more: Any) -> dict[str, Any]:
    return {"at": at, "key": "a", "n": at, **more}


def sent(*events: dict[str, Any], **options: Any) -> FlowTest:
    test = FlowTest(flow_of(hw.items([]), hw.to_list([]), **options))
    for one in events:
        test.send("log", one)
    return test


def run(directory: Path, events: list[dict[str, Any]], **options: Any) -> RunResult:
    lines = [json.dumps(one).encode() for one in events]
    flow = flow_of(hw.items({"p": lines}, batch=2), hw.to_jsonl(directory / "out.jsonl"), **options)
    return run_flow(flow, RunOptions(directory / "state", key_groups=2, epoch_ms=5, drain=True, sync=False))


def out(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "out.jsonl").read_text().splitlines()]


def test_a_failed_event_leaves_nothing_behind(tmp_path: Path) -> None:
    events = [event(1), event(2, fails="event"), event(3), event(4, fails="state"), event(5, fails="duration")]
    result = run(tmp_path, events)
    assert [(line.get("n"), line.get("events"), line["follow"]) for line in out(tmp_path)] == [
        (1, 1, 1),
        (3, 2, 2),
        (None, None, 3),
    ]
    first, second, third = letters_of_stage(tmp_path)
    assert first == {
        "source": "log",
        "partition": "p",
        "position": "record 1",
        "reason": "ValueError: as asked",
        "raw": '{"at":2,"key":"a","n":2,"fails":"event"}',
        "step": "count",
        "into": "count",
        "key": "a",
        "time": 2,
    }
    assert "cannot be stored" in second["reason"]
    assert "a while" in third["reason"]
    assert result.stats.losses == {"count": {"seen": 2}}
    assert result.stats.dead_letters == 3


def letters_of_stage(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "state" / "dead-letters" / "failed.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_failed_timer_is_gone_and_its_state_stays(tmp_path: Path) -> None:
    run(tmp_path, [event(1), event(2), event(3)])
    assert letters_of_stage(tmp_path) == [
        {
            "source": "",
            "partition": "",
            "position": "",
            "reason": "KeyError: 'three'",
            "raw": "",
            "step": "count",
            "into": "count",
            "key": "a",
            "time": 13,
            "timer": "over",
        }
    ]
    test = sent(event(1), event(2), event(3))
    test.drain()
    assert test.state("count", "a") == Count(events=3)
    assert test.timers("count", "a") == {}
    assert [letter.timer for letter in test.dead_letters] == ["over"]


def test_a_failed_step_takes_the_event_out_of_all_branches(tmp_path: Path) -> None:
    def half(event: hw.Json) -> hw.Json:
        event["n"] *= 2
        return {**event, "half": 6 // (event["at"] - 2)}

    flow = hw.Flow("steps")
    log = flow.source(
        "log", hw.Json, hw.items({"p": [event(at) for at in range(5)]}), time="at", on_error="dead-letter"
    )
    log.to("all", hw.to_jsonl(tmp_path / "all.jsonl"))
    log.map(half).to("halves", hw.to_jsonl(tmp_path / "halves.jsonl"))
    run_flow(flow, RunOptions(tmp_path / "state", sync=False, drain=True))
    assert [json.loads(line)["at"] for line in (tmp_path / "all.jsonl").read_text().splitlines()] == [0, 1, 3, 4]
    (letter,) = letters_of(tmp_path / "state")
    assert (letter["step"], letter["reason"][:17], letter["time"]) == ("map-1", "ZeroDivisionError", 2)
    assert "key" not in letter


def test_the_bound_counts_over_runs_and_names_the_first(tmp_path: Path) -> None:
    policy = {"on_error": hw.dead_letter(at_most=2)}
    log = [event(1, fails="event"), event(2, fails="event"), event(4)]
    lines = [json.dumps(one).encode() for one in log]

    def once(lines: list[bytes]) -> RunResult:
        flow = flow_of(hw.items({"p": lines}), hw.to_jsonl(tmp_path / "out.jsonl"), **policy)
        return run_flow(flow, RunOptions(tmp_path / "state", key_groups=2, sync=False))

    assert once(lines).stats.dead_letters == 2
    more = [*lines, json.dumps(event(5, fails="event")).encode(), json.dumps(event(6)).encode()]
    for _ in range(2):
        with pytest.raises(UserCodeError, match="failed 3 times") as caught:
            once(more)
        assert "2 failures aside at most" in str(caught.value)
        assert "key 'a', time 1, record 0 of 'p': ValueError: as asked" in str(caught.value)
    with pytest.raises(UserCodeError, match="failed 3 times"):
        sent(*log, event(5, fails="event"), **policy).drain()


def test_what_is_not_the_flow_s_stops(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError) as caught:
        run(tmp_path, [event(1, fails="interrupt")])
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)


def test_each_source_has_its_own_policy() -> None:
    def both(**options: Any) -> FlowTest:
        flow = hw.Flow("two", on_error="dead-letter")
        calm = flow.source("calm", hw.Json, hw.items([]), time="at").key_by("key")
        strict = flow.source("strict", hw.Json, hw.items([]), time="at", on_error="stop").key_by("key")
        calm.merge(strict).process("count", Counter()).to("out", hw.to_list([]))
        return FlowTest(flow)

    test = both()
    test.send("strict", event(1))
    test.send("calm", event(1, fails="event"))
    test.advance(to=1)
    assert [letter.source for letter in test.dead_letters] == ["calm"]
    test.send("strict", event(2, fails="event"))
    with pytest.raises(UserCodeError, match="as asked"):
        test.advance(to=2)


def test_the_policy_is_checked_where_it_is_declared() -> None:
    with pytest.raises(FlowError, match=r'test_on_error_examples.*"dead-letter" or hw.dead_letter'):
        hw.Flow("x", on_error="ignore")
    with pytest.raises(FlowError, match="at_most=0"):
        hw.dead_letter(at_most=0)
    flow = hw.Flow("x", on_error="dead-letter")
    flow.source("log", hw.Json, hw.items([]), time="at").to("dead-letters", hw.to_list([]))
    with pytest.raises(FlowError, match="another name"):
        FlowTest(flow)


FLOW = """
import headway as hw
from pathlib import Path

class Counter(hw.Operator[hw.Json, hw.State, hw.Json]):
    def on_event(self, state, event, ctx):
        if {condition}:
            raise ValueError(f"n is {{event['n']}}")
        ctx.emit({{"n": event["n"]}})

flow = hw.Flow("counting", on_error="{policy}")
log = flow.source("log", hw.Json, hw.files("log-*.jsonl"), time="n", out_of_order=10)
log.key_by("key").process("count", Counter()).to("out", hw.to_jsonl("out.jsonl"))
"""


def written(directory: Path, *, condition: str, policy: str) -> None:
    (directory / "flow.py").write_text(FLOW.format(condition=condition, policy=policy))


def logs(directory: Path, count: int) -> None:
    for part in range(2):
        lines = [json.dumps({"n": n, "key": f"k{n % 17}"}) for n in range(part, count, 2)]
        (directory / f"log-{part}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_has_stopped_goes_on_at_the_event(tmp_path: Path, workers: int) -> None:
    logs(tmp_path, 20_000)
    options = ["flow.py", "--workers", workers, "--epoch", "20ms"]
    written(tmp_path, condition="event['n'] == 19_007", policy="stop")
    code, told = cluster.Started(tmp_path, *options).outcome()
    assert (code, "n is 19007" in told) == (1, True)
    written(tmp_path, condition="False", policy="stop")
    state_dir = tmp_path / ".headway" / "counting"
    killed = cluster.Started(tmp_path, *options)
    cluster.await_epoch(killed, state_dir, cluster.committed_ns(state_dir))
    killed.end()
    cluster.run(tmp_path, *options, "--drain")
    assert [line["n"] for line in out(tmp_path)] == list(range(20_000))


def test_two_workers_set_aside_what_one_does(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        directory = tmp_path / str(workers)
        directory.mkdir()
        logs(directory, 3_000)
        written(directory, condition="event['n'] % 30 == 7", policy="dead-letter")
        cluster.run(directory, "flow.py", "--workers", workers, "--epoch", "20ms", "--drain")
        letters = (directory / ".headway" / "counting" / "dead-letters" / "failed.jsonl").read_bytes()
        found.append(((directory / "out.jsonl").read_bytes(), letters))
    assert found[0] == found[1]
    assert found[0][1].count(b"\n") == 100
