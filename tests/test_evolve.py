"""A flow that changes keeps its state: what an operator gives does not depend on what is changed around it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Optional
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine_harness import Crash
from tests.operator_harness import SLOW

import headway as hw
from headway.errors import IncompatibleStateError
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.state.database import Database
from headway.state.manifest import Manifest
from headway.state.positions import Positions

FEW = settings(SLOW, max_examples=8)
MANY = settings(SLOW, max_examples=300)
OUT_OF_ORDER_MS = 30
OPERATORS = ("seen", "quiet", "total", "after")


class SeenState(hw.State):
    last: list[int] = []
    count: int = 0


class Seen(hw.Operator[hw.Json, SeenState, hw.Json]):
    """Says of each event which ones came before: any change of their order shows. A timer follows the last one."""

    event_type = output_type = hw.Json
    state_type = SeenState

    def on_event(self, state: SeenState, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.last = [*state.last[-3:], event["n"]]
        state.count += 1
        ctx.timer("alone", ctx.time + 11)
        ctx.emit({"u": ctx.key, "n": event["n"], "last": state.last, "count": state.count})

    def on_timer(self, state: SeenState, timer: hw.Timer, ctx: hw.Context[hw.Json]) -> None:
        ctx.emit({"u": ctx.key, "n": -1, "last": state.last, "count": state.count})


class Shape(NamedTuple):
    """A flow: its operators in the order of their declaration, each on a key of its own or on one for all."""

    operators: tuple[str, ...]
    own_keys: frozenset[str]
    mapped: frozenset[str]
    """Those before which a step stands that changes nothing."""
    chained: bool
    """Whether `after` reads what `seen` emits; else it is left out."""


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    operators = draw(st.lists(st.sampled_from(OPERATORS[:3]), min_size=1, unique=True))
    chained = "seen" in operators and draw(st.booleans())
    subsets = st.frozensets(st.sampled_from(OPERATORS[:3]))
    return Shape(tuple(operators), draw(subsets), draw(subsets), chained)


def same(event: hw.Json) -> hw.Json:
    return event


def flow_of(shape: Shape, directory: Path) -> hw.Flow:
    flow = hw.Flow("changing")
    source = flow.source(
        "events", hw.Json, hw.files(directory / "in-*.jsonl"), time="at", out_of_order=f"{OUT_OF_ORDER_MS}ms"
    )
    shared: Optional[Any] = None
    for name in shape.operators:
        if name in shape.own_keys:
            keyed: Any = source.key_by("u", name=f"key-of-{name}")
        else:
            shared = keyed = shared or source.key_by("u", name="key")
        if name in shape.mapped:
            keyed = keyed.map(same, name=f"before-{name}")
        if name == "seen":
            made = keyed.process("seen", Seen())
        elif name == "quiet":
            made = keyed.silence("quiet", after="7ms")
        else:
            made = keyed.aggregate("total", count=hw.count(), most=hw.max("n"))
        made.to(f"{name}-out", hw.to_jsonl(directory / f"{name}.jsonl"))
        if name == "seen" and shape.chained:
            made.process("after", Seen()).to("after-out", hw.to_jsonl(directory / "after.jsonl"))
    return flow


Lines = list[tuple[int, bytes]]


@st.composite
def logs(draw: st.DrawFn) -> list[Lines]:
    """Records of two partitions, none of them late: their times go up but for less than `OUT_OF_ORDER_MS`."""
    found: list[Lines] = []
    number = 0
    for _ in range(draw(st.integers(1, 2))):
        lines: Lines = []
        at_ms = 1_000
        for step in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=2, max_size=25)):
            at_ms += step[0]
            number += 1
            event = {"u": f"u{draw(st.integers(0, 3))}", "n": number, "at": at_ms - step[1]}
            lines.append((number, json.dumps(event).encode() + b"\n"))
        found.append(lines)
    return found


def write(directory: Path, parts: list[Lines]) -> None:
    for number, lines in enumerate(parts):
        (directory / f"in-{number}.jsonl").write_bytes(b"".join(line for _, line in lines))


def options(directory: Path, *, drain: bool, groups: int = 2, threads: int = 1, bound: int = 50_000) -> RunOptions:
    return RunOptions(
        directory / "state",
        key_groups=groups,
        threads=threads,
        drain=drain,
        epoch_ms=1,
        sync=False,
        chunk_bytes=64,
        waiting_bound=bound,
        slice_records=7,
    )


def events_in(lines: bytes) -> list[int]:
    """The numbers of the events that `seen` has seen."""
    return [n for line in lines.splitlines() if (n := json.loads(line)["n"]) >= 0]


def given_alone(shape: Shape, parts: list[Lines]) -> dict[str, bytes]:
    """What a flow gives that is never changed."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, parts)
        run_flow(flow_of(shape, directory), options(directory, drain=True))
        return outputs(directory)


def outputs(directory: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in directory.glob("*.jsonl") if not path.stem.startswith("in-")}


@contextmanager
def crashing(where: str, after: int) -> Iterator[None]:
    """Inside of this block a function raises when it is called for the so-manieth time, before or after its work."""
    kind, _, name = where.partition(" ")
    owner: Any = {"write": Database, "create": Manifest, "store": Positions}[name]
    inner: Callable[..., Any] = getattr(owner, name)
    left = after

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1 and kind == "before":
            raise Crash
        result = inner(*args, **kwargs)
        if left == -1 and kind == "after":
            raise Crash
        return result

    with mock.patch.object(owner, name, wrapped), suppress(Crash):
        yield


CRASHES = st.tuples(
    st.sampled_from([f"{kind} {name}" for kind in ("before", "after") for name in ("write", "create", "store")]),
    st.integers(0, 30),
)


CHANGES = given(
    before=shapes(),
    now=shapes(),
    parts=logs(),
    share=st.floats(0, 1),
    crashes=st.lists(CRASHES, max_size=3),
    threads=st.integers(1, 2),
    bound=st.sampled_from([1, 50_000]),
)


def check_that_what_an_operator_gives_does_not_depend_on_changes_around_it(
    before: Shape, now: Shape, parts: list[Lines], share: float, crashes: list[Any], threads: int, bound: int
) -> None:
    cuts = [int(share * len(lines)) for lines in parts]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, [lines[:cut] for lines, cut in zip(parts, cuts)])
        run_flow(flow_of(before, directory), options(directory, drain=False, threads=threads, bound=bound))
        write(directory, parts)
        for where, after in crashes:
            with crashing(where, after):
                run_flow(flow_of(now, directory), options(directory, drain=False, bound=bound))
        result = run_flow(flow_of(now, directory), options(directory, drain=True, threads=threads, bound=bound))
        found = outputs(directory)
    whole = given_alone(now, parts)
    tail = given_alone(now, [lines[cut:] for lines, cut in zip(parts, cuts)])
    names = {*now.operators, *(["after"] if now.chained else [])}
    kept = {*before.operators, *(["after"] if before.chained else [])}
    for name in names & kept:
        assert found[name] == whole[name], name
    if "seen" in names - kept:
        # It sees what comes after the change, and perhaps what waited then, each event once.
        seen = events_in(found.get("seen", b""))
        assert len(set(seen)) == len(seen)
        assert set(events_in(tail["seen"])) <= set(seen) <= set(events_in(whole["seen"]))
    assert (result.stats.keys, result.stats.timers, result.stats.waiting)[1:] == (0, 0)
    assert result.stats.events == sum(map(len, parts))


test_what_an_operator_gives_does_not_depend_on_changes_around_it = FEW(
    CHANGES(check_that_what_an_operator_gives_does_not_depend_on_changes_around_it)
)
test_what_an_operator_gives_does_not_depend_on_changes_around_it_for_long = pytest.mark.soak(
    MANY(CHANGES(check_that_what_an_operator_gives_does_not_depend_on_changes_around_it))
)


def keep(directory: Path, shape: Shape, parts: list[Lines], *, drain: bool = False) -> RunResult:
    write(directory, parts)
    return run_flow(flow_of(shape, directory), options(directory, drain=drain))


SEEN = Shape(("seen",), frozenset(), frozenset(), chained=False)
BOTH = Shape(("total", "seen"), frozenset(), frozenset(), chained=True)
PARTS: list[Lines] = [
    [(n, json.dumps({"u": f"u{n % 3}", "n": n, "at": 1_000 + 5 * n}).encode() + b"\n") for n in range(90)]
]


def part(first: int, last: int) -> list[Lines]:
    return [lines[first:last] for lines in PARTS]


def test_an_operator_that_comes_back_goes_on_with_what_it_kept(tmp_path: Path) -> None:
    keep(tmp_path, BOTH, part(0, 30))
    keep(tmp_path, SEEN, part(0, 60))
    found = Manifest.load(tmp_path / "state")
    assert found is not None
    assert {"total", "after"} == set(found.retired.operators)
    assert found.generation == 2
    keep(tmp_path, BOTH, part(0, 90), drain=True)
    lines = [json.loads(line) for line in (tmp_path / "total.jsonl").read_bytes().splitlines()]
    # It counts on: without what was handled while it was away, and what waited for it when it went.
    away = 30
    counts = [line["count"] for line in lines if line["key"] == "u0"]
    assert counts == list(range(1, len(counts) + 1))
    assert len(lines) == 90 - away
    alone = given_alone(SEEN, PARTS)
    assert (tmp_path / "seen.jsonl").read_bytes() == alone["seen"]


def test_counts_follow(tmp_path: Path) -> None:
    first = keep(tmp_path, SEEN, part(0, 60))
    assert first.stats.keys == first.stats.rows == 3
    timers = first.stats.timers
    assert timers > 0
    both = keep(tmp_path, BOTH, part(0, 60))
    assert (both.stats.keys, both.stats.rows, both.stats.timers) == (3, 3, timers)
    apart = BOTH._replace(own_keys=frozenset({"seen"}))
    grown = keep(tmp_path, BOTH, part(0, 90))
    split = keep(tmp_path, apart, part(0, 90))
    assert split.stats.rows == grown.stats.rows == 9
    assert split.stats.keys == 6  # In each stage a key counts once.
    assert split.stats.timers == grown.stats.timers
    merged = keep(tmp_path, BOTH, part(0, 90))
    assert (merged.stats.keys, merged.stats.rows, merged.stats.timers) == (3, 9, grown.stats.timers)


def test_an_output_that_is_gone_keeps_its_file_and_goes_on(tmp_path: Path) -> None:
    def flow(*, writes: bool) -> hw.Flow:
        if writes:
            return flow_of(SEEN, tmp_path)
        other = hw.Flow("changing")
        source = other.source(
            "events", hw.Json, hw.files(tmp_path / "in-*.jsonl"), time="at", out_of_order=f"{OUT_OF_ORDER_MS}ms"
        )
        source.key_by("u", name="key").process("seen", Seen()).to("other", hw.to_jsonl(tmp_path / "other.jsonl"))
        return other

    write(tmp_path, part(0, 30))
    run_flow(flow(writes=True), options(tmp_path, drain=False))
    size = len((tmp_path / "seen.jsonl").read_bytes().splitlines())
    write(tmp_path, part(0, 60))
    run_flow(flow(writes=False), options(tmp_path, drain=False))
    assert len((tmp_path / "seen.jsonl").read_bytes().splitlines()) == size
    write(tmp_path, part(0, 90))
    run_flow(flow(writes=True), options(tmp_path, drain=True))
    lines = (tmp_path / "seen.jsonl").read_bytes().splitlines()
    other = (tmp_path / "other.jsonl").read_bytes().splitlines()
    whole = given_alone(SEEN, PARTS)["seen"].splitlines()
    assert lines[:size] == whole[:size]
    assert sorted([*lines, *other]) == sorted(whole)


def test_a_new_source_begins_at_its_beginning(tmp_path: Path) -> None:
    """The time of the stages that it feeds goes back: its history is not late."""

    def flow(*, more: bool) -> hw.Flow:
        made = hw.Flow("changing")
        events: hw.Stream[hw.Json] = made.source("events", hw.Json, hw.files(tmp_path / "in-0.jsonl"), time="at")
        if more:
            events = events.merge(made.source("more", hw.Json, hw.files(tmp_path / "in-1.jsonl"), time="at"))
        events.key_by("u").process("seen", Seen()).to("seen-out", hw.to_jsonl(tmp_path / "seen.jsonl"))
        return made

    write(tmp_path, part(0, 30) + part(0, 30))
    run_flow(flow(more=False), options(tmp_path, drain=False))
    result = run_flow(flow(more=True), options(tmp_path, drain=True))
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_bytes().splitlines()]
    assert result.stats.late == 0
    assert sorted(line["n"] for line in lines if line["n"] >= 0) == sorted([*range(30), *range(30)])


def test_what_waits_and_does_not_fit_any_more_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    class Number(hw.Event):
        u: str
        n: int
        at: int

    class Text(hw.Event):
        u: str
        n: str
        at: int

    def flow(kind: type[hw.Event], *, more: bool) -> hw.Flow:
        made = hw.Flow("changing")
        events = made.source("events", kind, hw.files(tmp_path / "in-0.jsonl"), time="at", out_of_order="30ms")
        keyed = events.key_by("u", name="key")
        keyed.aggregate("total", count=hw.count()).to("total-out", hw.to_jsonl(tmp_path / "total.jsonl"))
        if more:
            keyed.silence("quiet", after="7ms").to("quiet-out", hw.to_jsonl(tmp_path / "quiet.jsonl"))
        return made

    write(tmp_path, part(0, 30))
    run_flow(flow(Number, more=False), options(tmp_path, drain=False))
    with pytest.raises(
        IncompatibleStateError, match=r"records wait for 'total', 'quiet' in .*do not fit what is taken there now"
    ):
        run_flow(flow(Text, more=True), options(tmp_path, drain=False))
    found = Manifest.load(tmp_path / "state")
    assert found is not None
    assert found.generation == 1
    run_flow(flow(Number, more=True), options(tmp_path, drain=True))


RESCALES = given(
    shape=shapes(),
    parts=logs(),
    share=st.floats(0, 1),
    groups=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    slots=st.none() | st.integers(1, 3),
    crashes=st.lists(CRASHES, max_size=3),
    bound=st.sampled_from([1, 50_000]),
)


def check_that_the_numbers_of_key_groups_and_slots_do_not_matter(
    shape: Shape,
    parts: list[Lines],
    share: float,
    groups: tuple[int, int],
    slots: Optional[int],
    crashes: list[Any],
    bound: int,
) -> None:
    cuts = [int(share * len(lines)) for lines in parts]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, [lines[:cut] for lines, cut in zip(parts, cuts)])
        run_flow(flow_of(shape, directory), options(directory, drain=False, groups=groups[0], bound=bound))
        for where, after in crashes:
            with crashing(where, after):
                rescale(StateDirectory(directory / "state"), key_groups=groups[1], slots=slots, sync=False)
        rescale(StateDirectory(directory / "state"), key_groups=groups[1], slots=slots, sync=False)
        write(directory, parts)
        result = run_flow(
            flow_of(shape, directory), options(directory, drain=True, groups=groups[1], threads=2, bound=bound)
        )
        assert outputs(directory) == given_alone(shape, parts)
    assert (result.stats.timers, result.stats.waiting) == (0, 0)
    assert result.stats.events == sum(map(len, parts))


test_the_numbers_of_key_groups_and_slots_do_not_matter = FEW(
    RESCALES(check_that_the_numbers_of_key_groups_and_slots_do_not_matter)
)
test_the_numbers_of_key_groups_and_slots_do_not_matter_for_long = pytest.mark.soak(
    MANY(RESCALES(check_that_the_numbers_of_key_groups_and_slots_do_not_matter))
)
