"""Single changes of a flow: what comes back, what counts, what is new, what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.evolve_harness import (
    BOTH,
    OUT_OF_ORDER_MS,
    PARTS,
    SEEN,
    Seen,
    flow_of,
    given_alone,
    keep,
    options,
    part,
    write,
)

import headway as hw
from headway.errors import IncompatibleStateError, UserCodeError
from headway.runtime.run import run_flow
from headway.state.manifest import Manifest


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


def test_triggers_of_one_instant_keep_different_ids_though_time_goes_back(tmp_path: Path) -> None:
    """The old flow ends between two slices of one instant; in the new one a source more takes time back."""

    def flow(*, more: bool) -> hw.Flow:
        made = hw.Flow("changing")
        events: hw.Stream[hw.Json] = made.source("events", hw.Json, hw.files(tmp_path / "in-0.jsonl"), time="at")
        if more:
            events = events.merge(made.source("more", hw.Json, hw.files(tmp_path / "in-1.jsonl"), time="at"))
        keyed = events.key_by("u").process("seen", Seen())
        keyed.trigger("seen.one", hw.to_jsonl(tmp_path / "seen.jsonl"))
        return made

    handle = Seen.on_event

    def stumble(self: Seen, state: Any, event: hw.Json, ctx: Any) -> None:
        time.sleep(0.002)  # Longer than an epoch, so that each slice is durable.
        if event["n"] == 40:
            raise RuntimeError
        handle(self, state, event, ctx)

    def line(n: int, at_ms: int, key: str = "u0") -> tuple[int, bytes]:
        return n, json.dumps({"u": key, "n": n, "at": at_ms}).encode() + b"\n"

    instant = [line(n, 1_000) for n in range(60)]
    write(tmp_path, [[*instant, line(60, 2_000, "u1")], [line(n, 500 + n) for n in range(3)]])
    with mock.patch.object(Seen, "on_event", stumble), pytest.raises(UserCodeError):
        run_flow(flow(more=False), options(tmp_path, drain=False))
    run_flow(flow(more=True), options(tmp_path, drain=True))
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_bytes().splitlines()]
    ids = [line["id"] for line in lines]
    assert len(set(ids)) == len(ids)
    assert sorted(line["data"]["n"] for line in lines if line["data"]["n"] >= 0) == sorted([*range(61), 0, 1, 2])
