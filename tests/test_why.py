"""`headway why`: what led to a trigger, made anew from the log."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.evolve_harness import OUT_OF_ORDER_MS, Lines, Seen, logs, options, write
from tests.operator_harness import SLOW

import headway as hw
from headway.cli.main import main
from headway.errors import UsageError
from headway.plan.planner import compile_plan
from headway.runtime.apart import keep_apart
from headway.runtime.run import plan_of, run_flow
from headway.testing.oracle import run_oracle
from headway.why.replay import History, history_of


def flow_of(directory: Path) -> hw.Flow:
    """Triggers of one operator, of one behind it on the same key, and of one behind both on another key."""
    flow = hw.Flow("whys")
    source = flow.source(
        "events", hw.Json, hw.files(directory / "in-*.jsonl"), time="at", out_of_order=f"{OUT_OF_ORDER_MS}ms"
    )
    seen = source.key_by("u").process("seen", Seen())
    seen.trigger("seen.told", hw.to_jsonl(directory / "seen.told.jsonl"))
    seen.process("after", Seen()).trigger("after.told", hw.to_jsonl(directory / "after.told.jsonl"))
    moved = seen.key_by(lambda value: f"n{value['n'] % 2}", name="moved")
    moved.process("moved-seen", Seen()).trigger("moved.told", hw.to_jsonl(directory / "moved.told.jsonl"))
    source.filter(hw.where(u="u0")).trigger("bare.told", hw.to_jsonl(directory / "bare.told.jsonl"))
    return flow


def plan(directory: Path) -> Any:
    found = plan_of(flow_of(directory), directory / "state")
    keep_apart(found, directory / "state")
    return found


def check_history(history: Optional[History], line: dict[str, Any], output: str) -> None:
    assert history is not None, line
    trigger = history.trigger
    assert (trigger.id, trigger.output, trigger.key, trigger.value) == (
        line["id"],
        output,
        line.get("subject"),
        line["data"],
    )
    if output == "bare.told":
        assert not history.steps
        return
    states: dict[str, Any] = {}
    timers: dict[str, dict[str, int]] = {}
    for step in history.steps:
        assert step.before == states.get(step.operator)
        before = timers.get(step.operator, {})
        if step.handler == "on_timer":
            assert before[step.subject["name"]] == step.subject["at"] == step.time_ms
        assert step.timers_before == before
        states[step.operator], timers[step.operator] = step.after, step.timers
    last = history.steps[-1]
    assert last.time_ms == trigger.time_ms
    assert ("main", trigger.value) in last.emitted
    assert [step.time_ms for step in history.steps] == sorted(step.time_ms for step in history.steps)


@settings(SLOW, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(parts=logs(ties=False), data=st.data())
def test_each_trigger_of_a_run_is_told(parts: list[Lines], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, parts)
        run_flow(flow_of(directory), options(directory, drain=True))
        for output in ("seen.told", "after.told", "moved.told", "bare.told"):
            lines = [json.loads(line) for line in (directory / f"{output}.jsonl").read_text().splitlines()]
            for line in data.draw(st.permutations(lines))[:4] if lines else []:
                history = history_of(plan(directory), line["id"], drained=True)
                check_history(history, line, output)
                with_key = history_of(plan(directory), line["id"], line.get("subject"), drained=True)
                assert with_key == history
        assert history_of(plan(directory), "0" * 32, drained=True) is None


def test_the_log_is_read_as_it_is_fed(tmp_path: Path) -> None:
    """Chunks with bad, blank and late records give what the oracle gives line by line."""
    text = b'{"u":"u0","n":1,"at":100}\n\nnot json\n{"u":"u0","n":2,"at":10}\n{"u":"u0","n":3,"at":200}\n{"at":1}\n'
    (tmp_path / "in-0.jsonl").write_bytes(text)
    expected = run_oracle(compile_plan(flow_of(tmp_path).graph), {"events": {"0": text.splitlines(keepends=True)}})
    ids = [json.loads(line)["id"] for line in expected.outputs["seen.told"]]
    assert ids
    for trigger_id in ids:
        assert history_of(plan(tmp_path), trigger_id) is not None


def test_a_flow_that_reads_the_clock_is_refused() -> None:
    flow = hw.Flow("clocks")
    source = flow.source("events", hw.Json, hw.items([{"u": "a"}]), time=hw.INGESTION_TIME)
    source.key_by("u").process("seen", Seen()).trigger("told", hw.to_list([]))
    with pytest.raises(UsageError, match="happen when they are read"):
        history_of(compile_plan(flow.graph), "0" * 32)


FLOW = """
import headway as hw

class Cart(hw.State):
    items: dict[str, int] = {}

class Abandonment(hw.Operator[hw.Json, Cart]):
    def on_event(self, cart, event, ctx):
        cart.items[event["sku"]] = cart.items.get(event["sku"], 0) + 1
        ctx.timer("abandoned", after="30m")

    def on_timer(self, cart, timer, ctx):
        ctx.emit({"items": cart.items})
        ctx.forget()

flow = hw.Flow("carts")
shop = flow.source("shop", hw.Json, hw.files("shop.jsonl"), time="at")
shop.key_by("user").process("abandonment", Abandonment()).trigger("cart.abandoned", hw.to_jsonl("triggers.jsonl"))
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("carts.py").write_text(FLOW)
    events = [("a", 0), ("b", 1_000), ("a", 60_000), ("b", 4_000_000)]
    lines = [json.dumps({"user": user, "sku": f"s{at}", "at": at}) + "\n" for user, at in events]
    Path("shop.jsonl").write_text("".join(lines))
    assert main(["run", "carts.py", "--quiet"]) == 0
    [first, second] = [json.loads(line) for line in Path("triggers.jsonl").read_text().splitlines()]
    assert second["subject"] == "a"
    capsys.readouterr()
    assert main(["why", "carts.py", second["id"]]) == 0
    assert (
        capsys.readouterr().out
        == f"""\
trigger {second["id"]} of the output cart.abandoned, key a, 1970-01-01T00:31:00.000Z
  {{"items":{{"s0":1,"s60000":1}}}}

1970-01-01T00:00:00.000Z  abandonment: event {{"user":"a","sku":"s0","at":0}}
  before  nothing is kept
  after   {{"items":{{"s0":1}}}}
  timer   abandoned set to 1970-01-01T00:30:00.000Z

1970-01-01T00:01:00.000Z  abandonment: event {{"user":"a","sku":"s60000","at":60000}}
  before  {{"items":{{"s0":1}}}}
  after   {{"items":{{"s0":1,"s60000":1}}}}
  timer   abandoned moved to 1970-01-01T00:31:00.000Z

1970-01-01T00:31:00.000Z  abandonment: timer abandoned
  before  {{"items":{{"s0":1,"s60000":1}}}}
  after   nothing is kept
  timer   abandoned has fired
  sends   {{"items":{{"s0":1,"s60000":1}}}}

the last step made the trigger
"""
    )
    assert main(["why", "carts.py", first["id"], "--key", "b", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["key"] == "b"
    assert [step["handler"] for step in told[1:]] == ["on_event", "on_timer"]
    assert main(["why", "carts.py", "0" * 32]) == 1
    assert "makes no trigger 0000" in capsys.readouterr().err
