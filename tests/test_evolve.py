"""A flow that changes keeps its state: what an operator gives does not depend on what is changed around it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evolve_harness import (
    CRASHES,
    Lines,
    Shape,
    crashing,
    events_in,
    flow_of,
    given_alone,
    logs,
    options,
    outputs,
    shapes,
    write,
)
from tests.operator_harness import SLOW

from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import run_flow

FEW = settings(SLOW, max_examples=8)
MANY = settings(SLOW, max_examples=300)


CHANGES = given(
    before=shapes(),
    now=shapes(),
    # What waited when the plan changed comes before all else of its time, also of an earlier partition.
    parts=logs(ties=False),
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


@FEW
@CHANGES
def test_what_an_operator_gives_does_not_depend_on_changes_around_it(**drawn: Any) -> None:
    check_that_what_an_operator_gives_does_not_depend_on_changes_around_it(**drawn)


@pytest.mark.soak
@MANY
@CHANGES
def test_what_an_operator_gives_does_not_depend_on_changes_around_it_for_long(**drawn: Any) -> None:
    check_that_what_an_operator_gives_does_not_depend_on_changes_around_it(**drawn)


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


@FEW
@RESCALES
def test_the_numbers_of_key_groups_and_slots_do_not_matter(**drawn: Any) -> None:
    check_that_the_numbers_of_key_groups_and_slots_do_not_matter(**drawn)


@pytest.mark.soak
@MANY
@RESCALES
def test_the_numbers_of_key_groups_and_slots_do_not_matter_for_long(**drawn: Any) -> None:
    check_that_the_numbers_of_key_groups_and_slots_do_not_matter(**drawn)
