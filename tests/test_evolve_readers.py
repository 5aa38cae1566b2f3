"""A source whose partitions become more gets more reader slots at the next start, and nothing else is different."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evolve_harness import (
    BOTH,
    CRASHES,
    OUT_OF_ORDER_MS,
    SEEN,
    Lines,
    Shape,
    crashing,
    flow_of,
    given_alone,
    options,
    outputs,
    shapes,
    write,
)
from tests.operator_harness import SLOW

from headway.plan.layout import MAX_SLOTS
from headway.runtime.run import RunResult, run_flow
from headway.runtime.settle import Committed
from headway.runtime.slot_options import kept_before
from headway.state.changes import Change
from headway.state.manifest import Manifest, SourceEntry
from headway.state.positions import Positions


@st.composite
def growing(draw: st.DrawFn) -> list[Lines]:
    """Logs of two to five partitions. Of no two has a record the same time; some of the later ones are late."""
    count = draw(st.integers(2, 5))
    found: list[Lines] = []
    number = 0
    for part in range(count):
        at = draw(st.integers(100, 300))
        lines: Lines = []
        for step, back in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=15)):
            at += step
            number += 1
            event = {"u": f"u{draw(st.integers(0, 3))}", "n": number, "at": count * (at - back) + part}
            lines.append((number, json.dumps(event).encode() + b"\n"))
        found.append(lines)
    return found


def run(
    directory: Path, shape: Shape, workers: int, *, drain: bool = False, told: list[Change] | None = None
) -> RunResult:
    """A run of one process that is laid out for so many."""
    chosen = replace(options(directory, drain=drain), workers=workers)
    return run_flow(flow_of(shape, directory), chosen, tell=([] if told is None else told).append)


def story(
    shape: Shape, parts: list[Lines], share: float, workers: Sequence[int], crashes: Sequence[tuple[str, int]]
) -> tuple[dict[str, bytes], tuple[int, int, int], int]:
    """What comes of a first run over a part of one log, and of others over all logs; and how many slots there are."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, [parts[0][: int(share * len(parts[0]))]])
        run(directory, shape, workers[0])
        write(directory, parts)
        for where, after in crashes:
            with crashing(where, after):
                run(directory, shape, workers[1])
        for count in workers[1:]:
            run(directory, shape, count)
        stats = run(directory, shape, 1, drain=True).stats
        manifest = Manifest.load(directory / "state")
        assert manifest is not None
        slots = manifest.sources["events"].slots
        return outputs(directory), (stats.events, stats.late, stats.dead_letters), slots


@settings(SLOW, max_examples=12)
@given(
    shape=shapes(),
    parts=growing(),
    share=st.floats(0, 1),
    workers=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    crashes=st.lists(CRASHES, max_size=2),
)
def test_more_readers_change_nothing_else(
    shape: Shape, parts: list[Lines], share: float, workers: list[int], crashes: list[Any]
) -> None:
    grown, counted, slots = story(shape, parts, share, workers, crashes)
    assert (grown, counted) == story(shape, parts, share, [1, 1], [])[:2]
    assert slots == (len(parts) if max(workers[1:]) > 1 else 1)


def test_the_start_that_adds_readers_says_so_and_the_next_one_is_silent(tmp_path: Path) -> None:
    parts: list[Lines] = [[(n, b'{"u": "a", "n": %d, "at": %d}\n' % (n, 1_000 + n))] for n in range(4)]
    write(tmp_path, parts[:1])
    told: list[Change] = []
    run(tmp_path, SEEN, 4, told=told)
    write(tmp_path, parts)
    run(tmp_path, SEEN, 1, told=told)
    assert told == []
    run(tmp_path, SEEN, 2, told=told)
    assert [str(change) for change in told] == ["source 'events': it has 4 partitions: 4 readers share them, before 1"]
    run(tmp_path, SEEN, 4, told=told)
    assert len(told) == 1


def test_a_record_of_a_new_partition_does_not_hold_time_back_when_it_has_a_reader_of_its_own(tmp_path: Path) -> None:
    """Time stood at 2,000 less what may be out of order: what is older comes too late with any number of readers."""
    first: Lines = [(1, b'{"u": "a", "n": 1, "at": 2000}\n')]
    old: Lines = [(2, b'{"u": "a", "n": 2, "at": %d}\n' % (2_000 - OUT_OF_ORDER_MS - 1))]
    write(tmp_path, [first])
    run(tmp_path, SEEN, 1)
    write(tmp_path, [first, old])
    assert run(tmp_path, SEEN, 2).stats.late == 1


def test_a_flow_that_grows_and_changes_at_once_gives_what_it_would_have_given(tmp_path: Path) -> None:
    parts: list[Lines] = [
        [(n, b'{"u": "u%d", "n": %d, "at": %d}\n' % (n % 3, n, 1_000 + n)) for n in range(part, 60, 3)]
        for part in range(3)
    ]
    write(tmp_path, [parts[0][:1]])
    run(tmp_path, SEEN, 1)
    write(tmp_path, parts)
    run(tmp_path, BOTH, 3, drain=True)
    assert outputs(tmp_path)["seen"] == given_alone(SEEN, parts)["seen"]


@pytest.mark.parametrize(
    ("slots", "floor"),
    [
        ({"s/00": {"a": 500}, "s/01": {"b": 700}}, 500),
        ({"s/00": {"a": 500}, "s/01": {"b": None}}, None),
        ({"s/00": {"a": 500}, "s/01": {}}, None),  # It was stopped before it had looked for its partitions.
        ({"s/00": {"a": 500}}, None),
        ({"s/00": {}, "s/01": {}}, None),
    ],
    ids=["all", "silent", "not found yet", "not begun", "nothing"],
)
def test_a_new_reader_begins_where_time_stood_and_only_if_it_did_anywhere(
    slots: dict[str, dict[str, Optional[int]]], floor: Optional[int]
) -> None:
    entry = SourceEntry(id=1, slots=2, partitions={"a": 0, "b": 1})
    manifest = Manifest(flow="f", key_groups=1, sources={"s": entry}, operators={}, outputs={}, stages=[])
    found = Committed()
    for name, times in slots.items():
        partitions = {part: [None, time] for part, time in times.items()}
        found.slots.setdefault("s", {})[name] = {"partitions": partitions, "counts": [0, 0, 0], "first_letter": None}
    known = found.positions(manifest, Positions()).sources["s"]
    began = kept_before(known, 1, lambda name: name == "new")
    assert began.get("floor") == floor
    assert "floor" not in kept_before(known, 0, lambda name: name == "a")
    if floor is not None:  # It stands by that as long as it has found nothing.
        again = Committed(slots={"s": {"s/00": {**began, "counts": [0, 0, 0], "first_letter": None}}})
        one = msgspec.structs.replace(manifest, sources={"s": SourceEntry(id=1, slots=1)})
        assert again.positions(one, Positions()).sources["s"].floor == floor


def test_partitions_are_dealt_out_to_64_readers_at_most_and_none_is_left_empty() -> None:
    entry = SourceEntry(id=1, slots=1)
    for count in (0, 1, 3, 64, 65, 200):
        dealt = entry.shared_out((f"p{n}" for n in range(count)), MAX_SLOTS)
        assert dealt.slots == max(1, min(count, 64))
        assert set(dealt.partitions.values()) == set(range(dealt.slots)) or not count
