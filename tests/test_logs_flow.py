"""Logs in flows: the engine gives what the oracle gives, through crashes, rescales and failures. Flows may change."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine_harness import Conditions, Crash, Interruption, conditions
from tests.evolve_harness import CRASHES, crashing

import headway as hw
from headway.errors import FlowError, IncompatibleStateError
from headway.plan.planner import compile_plan
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import changes_of, drop_state, rescale
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag
from headway.state.database import ROWS, Database
from headway.state.keys import id_bytes, successor
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.reader import StateReader
from headway.testing import FlowTest
from headway.testing.oracle import run_oracle

Events = list[dict[str, Any]]


class Entry(hw.Event):
    n: int
    tags: list[str] = []


class Kept(hw.State):
    entries: hw.Log[Entry] = hw.Log()
    texts: hw.Log[str] = hw.Log()
    seen: int = 0


class Keep(hw.Operator[hw.Json, Kept]):
    """Does to its logs what the events say, and tells what is in them."""

    def on_event(self, state: Kept, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        what, n = event["what"], event["n"]
        if what == "forget":
            state = ctx.forget()
        if what in ("clear", "fail"):
            state.entries.clear()
        if what != "look":
            state.seen += 1
            state.entries.append(Entry(n, [what]))
            state.texts.extend([what, str(n)])
        ctx.emit(told(ctx, state, n))
        if what == "fail":
            ctx.forget()
            state.entries.append(Entry(n))
            state.texts.append(n)
        if what == "timer":
            ctx.timer("t", after=5)

    def on_timer(self, state: Kept, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        if len(state.entries) % 2:
            state.entries.clear()
        state.texts.append("timer")
        ctx.emit(told(ctx, state, -1))


def told(ctx: hw.Context[hw.Json], state: Kept, n: int) -> hw.Json:
    last = [state.entries[-1].n, state.entries[-1].tags] if state.entries else None
    counted = [len(state.entries), len(state.texts), state.seen]
    everything = [[entry.n for entry in state.entries], state.texts.read(-3), "".join(state.texts)]
    return {"u": ctx.key, "n": n, "counted": counted, "last": last, "all": everything}


def flow_of(parts: list[Events], out: Path) -> hw.Flow:
    flow = hw.Flow("logs", on_error=hw.dead_letter())
    inputs = hw.items({str(number): part for number, part in enumerate(parts)}, batch=3)
    events = flow.source("events", hw.Json, inputs, time="at")
    keyed = events.key_by("u")
    kept = keyed.process("keep", Keep())
    kept.to("out", hw.to_jsonl(out))
    return flow


WHATS = ("append", "append", "append", "look", "clear", "forget", "fail", "timer")
EVENT = st.tuples(st.sampled_from("abc"), st.sampled_from(WHATS), st.integers(0, 3))


def log_of(steps: list[tuple[str, str, int]], first: int) -> Events:
    at, found = 1_000, []
    for n, (key, what, step) in enumerate(steps, first):
        at += step
        found.append({"u": key, "what": what, "n": n, "at": at})
    return found


def options_of(where: Conditions, directory: Path, threads: int, *, drain: bool, groups: int) -> RunOptions:
    return RunOptions(
        directory / "state",
        epoch_ms=where.epoch_ms,
        drain=drain,
        key_groups=groups,
        threads=threads,
        sync=False,
        waiting_bound=where.waiting_bound,
        timer_window=where.timer_window,
        cache_bytes=where.cache_bytes,
        lead_records=where.lead_records,
        slice_records=where.slice_records,
    )


@settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, max_examples=40)
@given(
    steps=st.lists(st.lists(EVENT, max_size=40), min_size=1, max_size=2),
    where=conditions(),
    groups=st.lists(st.integers(1, 4), max_size=2),
)
def test_the_engine_gives_what_the_oracle_gives(
    steps: list[list[tuple[str, str, int]]], where: Conditions, groups: list[int]
) -> None:
    parts = [log_of(part, 1_000 * number) for number, part in enumerate(steps)]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        out = directory / "out.jsonl"
        result = run_oracle(flow_of(parts, out), {"events": {str(n): part for n, part in enumerate(parts)}}, drain=True)
        count = where.key_groups
        wanted = list(groups)
        for number, (kind, after) in enumerate(where.interruptions):
            threads = where.threads[number % len(where.threads)]
            given = options_of(where, directory, threads, drain=False, groups=count)
            with suppress(Crash):
                run_flow(flow_of(parts, out), given, stop=Interruption(kind, after))
            if wanted and Manifest.load(directory / "state") is not None:
                count = wanted.pop()
                rescale(StateDirectory(directory / "state"), key_groups=count, slots=None)
        run_flow(flow_of(parts, out), options_of(where, directory, 1, drain=True, groups=count), stop=StopFlag())
        assert out.read_bytes() == b"".join(line + b"\n" for line in result.outputs["out"])
        with StateReader(directory / "state") as reader:
            found = {row.key: plain(row.state) for row in reader.rows("keep")}
        assert found == {key: plain(msgspec.structs.asdict(row.state)) for key, row in result.rows["keep"].items()}
        sizes = stored(directory / "state", "entries"), stored(directory / "state", "texts")
        assert sizes == (
            sum(len(one["entries"]) for one in found.values()),
            sum(len(one["texts"]) for one in found.values()),
        )


def plain(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.to_builtins(list(value)) if isinstance(value, hw.Log) else value for name, value in state.items()
    }


def stored(state_dir: Path, name: str, number: Optional[int] = None) -> int:
    """How many entries of a log of the operator are stored in all key groups."""
    manifest = Manifest.load(state_dir)
    assert manifest is not None
    prefix = id_bytes(manifest.operators["keep"].logs[name] if number is None else number)
    count = 0
    for group in range(manifest.key_groups):
        database = Database(state_dir, group, StoreOptions())
        count += sum(1 for _ in database.scan(ROWS, prefix, successor(prefix)))
        database.close()
    return count


# What a flow may change.


def appending(state_type: Any, append: Any) -> Any:
    """An operator whose state is of a class, and what it does."""

    class Appending(hw.Operator[hw.Json, Any]):
        def on_event(self, state: Any, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
            append(state, event)

    Appending.state_type = state_type
    return Appending()


def nothing(state: Any, event: hw.Json) -> None:
    state.seen += 1


def put(state: Any, event: hw.Json) -> None:
    state.seen += 1
    state.entries.append(Entry(event["n"]))
    state.texts.append(str(event["n"]))


def changed_flow(count: int, operator: Any) -> hw.Flow:
    """One that handles so many events: one more waits until it is known that none comes before it."""
    flow = hw.Flow("logs")
    log = [{"u": "ab"[n % 2], "n": n, "at": 1_000 + n} for n in range(count + 1)]
    flow.source("events", hw.Json, hw.items(log), time="at").key_by("u").process("keep", operator)
    return flow


def run(directory: Path, count: int, operator: Any) -> dict[str, Any]:
    run_flow(changed_flow(count, operator), RunOptions(directory, key_groups=2, sync=False))
    with StateReader(directory) as reader:
        return {row.key: plain(row.state) for row in reader.rows("keep")}


def changes(directory: Path, operator: Any) -> list[str]:
    found = changes_of(compile_plan(changed_flow(0, operator).graph), StateDirectory(directory))
    assert found is not None
    return [str(change) for change in found]


def named(name: str, **fields: Any) -> Any:
    return msgspec.defstruct(name, [(one, *given) for one, given in fields.items()], bases=(hw.State,))


SEEN = (int, 0)


def test_a_log_comes_goes_and_comes_back_empty(tmp_path: Path) -> None:
    bare = named("Kept", seen=SEEN)
    assert run(tmp_path, 4, appending(bare, nothing)) == {"a": {"seen": 2}, "b": {"seen": 2}}
    assert any(
        "Kept.entries is new: it is empty in states of before" in one for one in changes(tmp_path, appending(Kept, put))
    )
    assert run(tmp_path, 8, appending(Kept, put))["b"] == {
        "seen": 4,
        "entries": [{"n": 5, "tags": []}, {"n": 7, "tags": []}],
        "texts": ["5", "7"],
    }
    number = numbers(tmp_path)["texts"]
    assert stored(tmp_path, "texts") == 4
    without = named("Kept", seen=SEEN, entries=(hw.Log[Entry], hw.Log()))
    told = changes(tmp_path, appending(without, nothing))
    assert any("Kept.texts is gone: the entries of all keys are deleted" in one for one in told)
    assert run(tmp_path, 9, appending(without, nothing))["a"]["entries"] == [{"n": 4, "tags": []}, {"n": 6, "tags": []}]
    assert stored(tmp_path, "texts", number) == 0
    back = run(tmp_path, 11, appending(Kept, put))
    assert (back["a"]["texts"], back["b"]["texts"], back["b"]["entries"][0]) == (["10"], ["9"], {"n": 5, "tags": []})
    assert numbers(tmp_path)["texts"] != number


def numbers(directory: Path) -> dict[str, int]:
    manifest = Manifest.load(directory)
    assert manifest is not None
    return manifest.operators["keep"].logs


def test_entries_of_another_type_are_refused(tmp_path: Path) -> None:
    run(tmp_path, 4, appending(Kept, put))
    other = named("Kept", seen=SEEN, entries=(hw.Log[Entry], hw.Log()), texts=(hw.Log[int], hw.Log()))
    with pytest.raises(IncompatibleStateError, match=r"Kept.texts\[\] was str, now it is int"):
        run(tmp_path, 5, appending(other, nothing))
    listed = named("Kept", seen=SEEN, entries=(hw.Log[Entry], hw.Log()), texts=(list[str], []))
    with pytest.raises(IncompatibleStateError, match=r"Kept.texts was Log\[str\], now it is list\[str\]"):
        run(tmp_path, 5, appending(listed, nothing))
    wider = named("Kept", seen=SEEN, entries=(hw.Log[Entry], hw.Log()), texts=(hw.Log[Optional[str]], hw.Log()))
    assert run(tmp_path, 5, appending(wider, put))["a"]["texts"] == ["0", "2", "4"]


def test_a_later_version_takes_its_logs_with_it(tmp_path: Path) -> None:
    run(tmp_path, 4, appending(Kept, put))
    former = numbers(tmp_path)

    class Later(hw.State):
        state_version = 2
        seen: int = 0
        count: int = 0
        sizes: hw.Log[int] = hw.Log()

        @classmethod
        def migrate(cls, old: Any, version: int) -> Any:
            return {"seen": old["seen"], "count": len(old["entries"]), "sizes": [len(text) for text in old["texts"]]}

    def put_later(state: Later, event: hw.Json) -> None:
        state.sizes.append(100)

    found = run(tmp_path, 5, appending(Later, put_later))
    assert found["a"] == {"seen": 2, "count": 2, "sizes": [1, 1, 100]}
    assert found["b"]["texts"] == ["1", "3"], "as it was stored: nothing has happened to it since"
    assert [stored(tmp_path, "", former[name]) for name in ("entries", "texts")] == [2, 2]
    rescale(StateDirectory(tmp_path), key_groups=3, slots=None)
    with StateReader(tmp_path) as reader:
        row = reader.get("keep", "b")
        assert row is not None
        assert list(row.state["texts"]) == ["1", "3"]
    run_flow(changed_flow(6, appending(Later, put_later)), RunOptions(tmp_path, sync=False))
    assert [stored(tmp_path, "", former[name]) for name in ("entries", "texts")] == [0, 0]


class Summed(hw.State):
    """A later version, which makes one log of two."""

    state_version = 2
    seen: int = 0
    sizes: hw.Log[int] = hw.Log()

    @classmethod
    def migrate(cls, old: Any, version: int) -> Any:
        return {"seen": old["seen"], "sizes": [*(entry["n"] for entry in old["entries"]), *map(len, old["texts"])]}


def put_size(state: Summed, event: hw.Json) -> None:
    state.seen += 1
    state.sizes.append(event["n"])


FEWER = named("Kept", seen=SEEN, texts=(hw.Log[str], hw.Log()))


def put_text(state: Any, event: hw.Json) -> None:
    state.texts.append(str(event["n"]))


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=25)
@given(crashes=st.lists(CRASHES, min_size=1, max_size=3), changes_to=st.sampled_from(["fewer", "later", "back"]))
def test_a_change_of_logs_that_is_interrupted(crashes: list[tuple[str, int]], changes_to: str) -> None:
    """What a crash leaves is the old form or the new one, and in the end nothing is left over."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        run(directory, 6, appending(Kept, put))
        before = numbers(directory)
        if changes_to == "back":
            run(directory, 6, appending(FEWER, put_text))
        now = {"fewer": appending(FEWER, put_text), "later": appending(Summed, put_size), "back": appending(Kept, put)}
        for where, after in crashes:
            with crashing(where, after):
                run(directory, 9, now[changes_to])
        found = run(directory, 10, now[changes_to])
        events = {"a": [0, 2, 4, 6, 8], "b": [1, 3, 5, 7, 9]}
        for key, handled in events.items():
            old, new = handled[:3], handled[3:]
            if changes_to == "later":
                assert found[key] == {"seen": 5, "sizes": [*old, 1, 1, 1, *new]}
            else:
                assert found[key]["texts"] == list(map(str, handled))
            if changes_to == "back":
                assert [entry["n"] for entry in found[key]["entries"]] == new
        for name, number in before.items():
            stays = changes_to != "later" and name == "texts"
            assert stored(directory, "", number) == (10 if stays else 0)


def test_an_operator_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    run(tmp_path, 4, appending(Kept, put))
    before = numbers(tmp_path)
    drop_state(StateDirectory(tmp_path), ["keep"])
    assert [stored(tmp_path, "", number) for number in before.values()] == [0, 0]
    assert run(tmp_path, 7, appending(Kept, put))["a"]["texts"] == ["6"]
    assert not set(numbers(tmp_path).values()) & set(before.values())


def test_an_operator_that_was_taken_out_keeps_its_logs(tmp_path: Path) -> None:
    run(tmp_path, 4, appending(Kept, put))
    flow = hw.Flow("logs")
    log = [{"u": "ab"[n % 2], "n": n, "at": 1_000 + n} for n in range(6)]
    flow.source("events", hw.Json, hw.items(log), time="at").key_by("u").silence("other", after="1h")
    run_flow(flow, RunOptions(tmp_path, sync=False))
    assert run(tmp_path, 7, appending(Kept, put))["a"]["texts"] == ["0", "2", "6"]


# Where there can be a log.


def test_a_log_is_a_field_of_an_operators_own_state() -> None:
    for state_type, what in (
        (
            named("Held", inner=(Optional[Kept], None)),
            r"Kept.entries \(Log\) cannot be kept.* it is a log, and only an",
        ),
        (
            named("Held", logs=(list[hw.Log[int]], [])),
            r"Held.logs\[\] \(Log\) cannot be kept.* it is a log, and only an",
        ),
        (named("Held", log=(hw.Log[int], hw.Log([1]))), "Held.log: a log begins empty"),
        (named("Held", log=(hw.Log[set[int]], hw.Log())), "the entries of Held.log: .*a set"),
    ):
        with pytest.raises(FlowError, match=what):
            changed_flow(0, appending(state_type, nothing))
    with pytest.raises(FlowError, match=r"Kept.entries is a log, which no expired state can be told with"):
        hw.Expiring(appending(Kept, nothing), hw.ttl("1h"))


def test_in_a_test_of_a_flow_logs_are_there() -> None:
    test = FlowTest(changed_flow(0, appending(Kept, put)))
    for n in range(3):
        test.send("events", {"u": "a", "n": n, "at": n})
    test.advance(by="1m")
    state = test.state("keep", "a")
    assert (state.seen, state.texts, [entry.n for entry in state.entries]) == (3, ["0", "1", "2"], [0, 1, 2])
    assert json.loads(json.dumps(state.texts.read())) == ["0", "1", "2"]
