"""Flows that change: random ones, what they give when they never do, and crashes on the way."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Optional
from unittest import mock

from hypothesis import strategies as st
from tests.engine_harness import Crash

import headway as hw
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.state.database import Database
from headway.state.manifest import Manifest
from headway.state.positions import Positions

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
def logs(draw: st.DrawFn, *, ties: bool = True) -> list[Lines]:
    """Records of two partitions, none of them late: their times go up but for less than `OUT_OF_ORDER_MS`.

    Without `ties` no record of one partition has a time that one of the other has.
    """
    found: list[Lines] = []
    number = 0
    for part in range(draw(st.integers(1, 2))):
        lines: Lines = []
        at_ms = 1_000
        for step in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=2, max_size=25)):
            at_ms += step[0]
            number += 1
            time_ms = at_ms - step[1] if ties else 2 * (at_ms - step[1] // 2) + part
            event = {"u": f"u{draw(st.integers(0, 3))}", "n": number, "at": time_ms}
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
