"""What `headway prove` reads, what it compares, and what it refuses to do or says that it has not done."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.planted_faults import GOOD, flow_text

import headway as hw
from headway.cli.prove import proof_text
from headway.connectors.base import Chunk, Input, PartitionReader, Position, Tell, unheard
from headway.connectors.memory import ItemsChunk
from headway.connectors.reading import PATIENCE_S, chunks_of, impatient
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import InputError, InternalError, UsageError
from headway.proving import lanes
from headway.proving.crashes import Kill
from headway.proving.lanes import Lane
from headway.proving.plans import Ending, Life, Trial
from headway.proving.replay import Pace, rewired
from headway.proving.sample import given_sample, logged_sample, taken_sample
from headway.proving.scope import scope_of
from headway.testing import prove

STEPS = """
import headway as hw
from headway import durable_workflow
from pathlib import Path

@durable_workflow
async def greet(context, name: str) -> str:
    return await context.call("wave", name)

flow = hw.Functions("greetings", [greet])

@flow.step
def wave(name: str) -> str:
    Path(__file__).with_name("waved").touch()
    return f"hello {name}"

placed = [{"at": n, "id": f"n{n}"} for n in range(6)]
orders = flow.source("orders", hw.Json, hw.items(placed), time="at", idle_after="1s")
orders.start(greet, id="id", args=lambda order: (order["id"],))
flow.ended.trigger("greeted", hw.to_jsonl("greeted.jsonl"), name="written")
flow.ended.trigger("greeted", hw.call(print), name="delivered")
"""
WALL = """
import headway as hw

class Seen(hw.State):
    count: int = 0

class Count(hw.Operator[hw.Json, Seen]):
    def on_event(self, state, event, ctx):
        state.count += 1
        ctx.emit({"count": state.count})

class Stamped(hw.Operator[hw.Json, Seen]):
    wall_clock = True
    def on_event(self, state, event, ctx):
        ctx.emit({"at": ctx.wall_ms})

flow = hw.Flow("walls")
keyed = flow.source("steps", hw.Json, hw.items([{"at": n, "user": f"u{n % 3}"} for n in range(30)]), time="at")
by_user = keyed.key_by("user")
by_user.process("count", Count()).to("counted", hw.to_jsonl("counted.jsonl"))
by_user.process("stamp", Stamped()).to("stamped", hw.to_jsonl("stamped.jsonl"))
"""
DELIVERIES = """
import headway as hw

flow = hw.Flow("told")
steps = flow.source("steps", hw.Json, hw.items([{"at": n, "user": f"u{n % 3}"} for n in range(40)]), time="at")
made = steps.key_by("user")
made.trigger("stepped", hw.call(print), name="stepped")
made.deliveries("stepped").to("outcomes", hw.to_jsonl("outcomes.jsonl"))
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "proven.py"
    path.write_text(text)
    return path


def headway(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=240)


def test_steps_are_not_run_without_leave(tmp_path: Path) -> None:
    path = written(tmp_path, STEPS)
    done = headway(tmp_path, "prove", "proven.py")
    assert done.returncode == 2
    assert "wave" in done.stderr
    assert "--run-steps" in done.stderr
    with pytest.raises(UsageError, match="run_steps=True"):
        prove(path)
    assert not (tmp_path / "waved").exists()


def test_what_ends_functions_is_the_same_whenever_they_end(tmp_path: Path) -> None:
    """Triggers of ended functions have times and ids by the clock: their values are compared."""
    proof = prove(written(tmp_path, STEPS), runs=1, run_steps=True)
    assert (tmp_path / "waved").exists()
    assert {"written", "delivered"} <= proof.scope.by_clock
    assert proof.said == 10, "of five functions, written and delivered; the sixth order waits for a newer one"


def test_workers_elsewhere_take_no_part(tmp_path: Path) -> None:
    text = STEPS.replace("[greet])", '[greet], queues=[hw.Queue("far", runs_on="workers")])')
    with pytest.raises(UsageError, match=r"'far'.*served by workers elsewhere"):
        prove(written(tmp_path, text), run_steps=True)


def test_what_reads_the_wall_clock_is_told_and_not_compared(tmp_path: Path) -> None:
    proof = prove(written(tmp_path, WALL), runs=1)
    assert proof.scope.left_out.keys() == {"stamp", "stamped"}
    assert proof.said == 33, "30 lines and 3 rows of the other one"
    told = proof_text(proof, 0, None)
    assert "not compared: 'stamp', 'stamped', as operator 'stamp' reads the wall clock" in told


def test_what_became_of_deliveries_is_told_and_not_compared(tmp_path: Path) -> None:
    proof = prove(written(tmp_path, DELIVERIES), runs=1)
    assert proof.scope.left_out == {"outcomes": "source 'stepped.deliveries' has what became of deliveries, and when"}
    assert proof.said == 40, "what is delivered is compared"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [([], "there are no events"), ([b"no event"] * 3, "lead to dead letters, and to no output")],
)
def test_nothing_proves_nothing(tmp_path: Path, lines: list[bytes], reason: str) -> None:
    path = written(tmp_path, flow_text(GOOD))
    with pytest.raises(AssertionError, match=f"nothing was proven: .*{reason}"):
        prove(path, {"steps": {"0": lines}}, runs=0)


def test_the_command_says_that_nothing_is_proven(tmp_path: Path) -> None:
    written(tmp_path, flow_text(GOOD))
    (tmp_path / "log.jsonl").touch()
    done = headway(tmp_path, "prove", "proven.py", "--runs", "0", "--log", "steps=log.jsonl", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["holds"]
    assert "there are no events" in told["nothing_compared"]


class Trade(hw.Event):
    at: hw.Time
    symbol: str


def csv_flow(pattern: Path) -> hw.Flow:
    flow = hw.Flow("trades")
    trades = flow.source("trades", Trade, hw.files(pattern, format="csv"), time="at")
    trades.to("out", hw.to_list([]))
    return flow


def events_of(flow: hw.Flow, sample: Any) -> list[Any]:
    """The events that a run reads."""
    pace = Pace(2, 1 << 30, sample.sizes)
    flow = rewired(flow, sample, pace, Path())
    node: Any = flow.graph.nodes["trades"]
    decoder = node.input.format.decoder(Trade)
    found = []
    for name in node.input.partitions():
        for chunk in chunks_of(node.input.open(name, None, follow=False), impatient("trades")):
            decoded = chunk.decode(decoder)
            events = dict(zip(decoded.ordinals, decoded.events))
            events.update((one.ordinal, one.raw) for one in decoded.bad)
            found += [event for _, event in sorted(events.items())]
    return found


TRADES = [Trade(1, "A"), Trade(2, "B"), b"3", Trade(4, "D")]
LINES = "at,symbol\n1,A\n2,B\n3\n4,D\n"


def test_the_header_of_a_file_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LINES)
    flow = csv_flow(tmp_path / "*.csv")
    sample = taken_sample(flow, 100)
    stored = tmp_path / "sample"
    sample.store(stored)
    assert events_of(flow, sample.load(stored)) == TRADES
    again = csv_flow(tmp_path / "*.csv")
    assert events_of(again, given_sample(again, {"trades": {"0": LINES.encode().splitlines()}})) == TRADES
    again = csv_flow(tmp_path / "*.csv")
    given = {"trades": {"0": [{"at": 1, "symbol": "A"}, {"at": 2, "symbol": "B"}]}}
    assert events_of(again, given_sample(again, given)) == TRADES[:2], "dicts need no header"


def test_a_first_line_that_names_no_columns_is_a_dead_letter_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("at,at\n1,A\n")
    flow = csv_flow(tmp_path / "*.csv")
    assert events_of(flow, taken_sample(flow, 100)) == [b"at,at"]


def test_files_that_are_given_may_be_packed_and_have_the_same_name(tmp_path: Path) -> None:
    for folder, text in (("one", LINES), ("two", "at,symbol\n5,E\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    flow = csv_flow(tmp_path / "*.csv")
    logs = [("trades", tmp_path / "one" / "log.csv.gz"), ("trades", tmp_path / "two" / "log.csv.gz")]
    sample = logged_sample(flow, logs, 100)
    assert len(sample.sources["trades"]) == 2
    assert sorted(map(str, events_of(flow, sample))) == sorted(map(str, [*TRADES, Trade(5, "E")]))
    with pytest.raises(UsageError, match="no source 'x'"):
        logged_sample(flow, [("x", tmp_path / "one" / "log.csv.gz")], 100)


class Slow(PartitionReader):
    """A reader as brokers have: at first there is nothing, and later too now and then."""

    def __init__(self, silences: Sequence[int], ends: bool) -> None:
        self._silences = list(silences)
        self._ends = ends
        self._read = 0

    @property
    def at_end(self) -> bool:
        return self._ends and not self._silences

    def read(self, max_bytes: int) -> Optional[Chunk]:
        if not self._silences or self._silences[0] > 0:
            if self._silences:
                self._silences[0] -= 1
            return None
        del self._silences[0]
        self._read += 1
        return ItemsChunk([{"at": self._read}], self._read - 1, "p")

    def position(self) -> Position:
        return {"item": self._read}


class Broker(Input):
    def __init__(self, reader: PartitionReader) -> None:
        self._reader = reader

    def partitions(self, tell: Tell = unheard) -> list[str]:
        return ["p"]

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        return self._reader

    def describe(self) -> str:
        return "topic carts"


def test_a_broker_that_is_silent_at_first_is_waited_for() -> None:
    now_s = [0.0]

    def pause(seconds: float) -> None:
        now_s[0] += 1.0

    def chunks(reader: PartitionReader) -> int:
        return len(list(chunks_of(reader, impatient("topic carts"), clock_s=lambda: now_s[0], pause=pause)))

    patience = int(PATIENCE_S) - 2
    assert chunks(Slow([patience, patience, patience], ends=True)) == 3
    with pytest.raises(InputError, match="topic carts: nothing has come for 30 s"):
        chunks(Slow([0, 0], ends=False))


def test_a_sample_of_a_broker_is_not_empty() -> None:
    flow = hw.Flow("carts")
    flow.source("carts", hw.Json, Broker(Slow([3, 2], ends=True)), time="at").to("out", hw.to_list([]))
    assert taken_sample(flow, 10).count == 2


def test_a_flow_object_has_its_parameters_and_stays_the_one_that_was_imported(tmp_path: Path) -> None:
    text = flow_text(GOOD).replace("range(300)", "range(30)")
    spec = FlowSpec(str(written(tmp_path, text)))
    flow = load_flow(spec)
    with pytest.raises(UsageError, match="'planted' has its parameters already"):
        prove(flow, parameters={"a": "b"})
    [module] = [name for name, one in list(sys.modules.items()) if getattr(one, "flow", None) is flow]
    prove(flow, runs=0)
    assert vars(sys.modules[module])["flow"] is flow


def test_the_command_asks_for_the_sample_of_the_run(tmp_path: Path) -> None:
    """Sources of unlike lengths: fewer events than were asked for."""
    text = flow_text(GOOD).replace('"count": state.count', '"count": state.count, "made": time.time_ns()')
    text += """
more = flow.source("more", hw.Json, hw.items(MADE[:5]), time="at")
more.to("copied", hw.to_jsonl("copied.jsonl"))
"""
    written(tmp_path, text)
    done = headway(tmp_path, "prove", "proven.py", "--events", "40", "--runs", "0", "--json")
    told = json.loads(done.stdout)
    words = shlex.split(told["command"])
    assert words[words.index("--events") + 1] == "40"
    refused = headway(tmp_path, "prove", "proven.py", "--first", "3")
    assert refused.returncode == 2
    assert "--again" in refused.stderr


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc, to see that the first run has begun")
def test_ctrl_c_tells_what_was_found(tmp_path: Path) -> None:
    written(tmp_path, flow_text(GOOD))
    command = [sys.executable, "-m", "headway", "prove", "proven.py", "--runs", "100000", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True) as process:
        watched = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not watched.read_text().split():
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(told)["difference"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_at_any_moment_is_a_good_end(tmp_path: Path, workers: int) -> None:
    spec = FlowSpec(str(written(tmp_path, flow_text(GOOD))))
    flow = load_flow(spec)
    sample = taken_sample(flow, 100)
    sample.store(tmp_path / "sample")
    lane = Lane(spec, tmp_path / "sample", sample.sizes, tmp_path / "lane", scope_of(flow))
    try:
        for after_ms in (0, 30, 90, 700):
            stopped = Life(workers=workers, share=0.5, ending=Ending("stop", after_ms=after_ms))
            run = lane.run(Trial((stopped, Life())))
            assert (run.kind, run.failure) == ("", "")
    finally:
        lane.close()


def test_books_that_are_being_closed_are_not_taken_for_closed(tmp_path: Path) -> None:
    """A life that cannot go on with them has failed, and has not been done before it began."""
    spec = FlowSpec(str(written(tmp_path, flow_text(GOOD))))
    flow = load_flow(spec)
    sample = taken_sample(flow, 60)
    sample.store(tmp_path / "sample")
    lane = Lane(spec, tmp_path / "sample", sample.sizes, tmp_path / "lane", scope_of(flow))
    killed = Life(drain=True, ending=Ending("kill", Kill("drain.after", 1, whole_run=True)))
    try:
        assert lane.run(Trial((killed, Life(drain=True)))).kind == ""
        assert lane.run(Trial((killed, Life(drain=True, key_groups=3)))).kind == "DrainedStateError"
    finally:
        lane.close()


def test_what_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_HANGS_S", 2.0)
    monkeypatch.setattr(lanes, "_LOOK_S", 0.1)
    endless = GOOD.replace("state.count += 1", "state.count += 1\n        while state.count == 3: pass")
    with pytest.raises(InternalError, match="came to no crash point for 2 s"):
        prove(written(tmp_path, flow_text(endless)), 60, runs=0)
