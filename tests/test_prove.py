"""`headway prove`: what ships passes, what is planted is found, and plans are what they say."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planted_faults import CHANCE, CLOCK, DEFAULT, GLOBAL, GOOD, SET_ORDER, flow_text

import headway as hw
from headway.basics.crashpoints import POINTS
from headway.connectors.records import Record
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import UsageError, UserCodeError
from headway.proving.crashes import Kill
from headway.proving.outcome import Outcome, difference
from headway.proving.plans import (
    Ending,
    Life,
    Reference,
    Trial,
    drawn_trial,
    pace_of,
    quick_trials,
    resuming_trials,
    simpler,
)
from headway.proving.prove import ProofOptions, prove_flow
from headway.proving.sample import Partition, Sample, given_sample, taken_sample
from headway.testing import prove

RESUMED = {point: (Kill("delta.after", 3, whole_run=True), 2) for point in ("move.before", "move.after")}
KNOWN = Reference(dict.fromkeys(set(POINTS) - RESUMED.keys(), 10), 200.0, RESUMED)
trials = st.builds(
    lambda seed, number: drawn_trial(Random(seed), number, KNOWN, KNOWN), st.integers(0), st.integers(0, 500)
)


@given(trial=trials)
def test_a_plan_says_all_of_itself(trial: Trial) -> None:
    assert Trial.parse(str(trial)) == trial
    assert trial.lives[-1].ending == Ending()
    drains = [life.drain for life in trial.lives]
    assert drains == sorted(drains), "once the books are being closed, nothing else is done"
    assert all(life.share == 1 for life in trial.lives if life.drain)
    assert 1 <= trial.disturbances <= 6
    assert trial.problem == ""
    closing = {life.key_groups for life in trial.lives if life.drain}
    assert len(closing) <= 1, "a directory whose books are being closed is not divided anew"


@pytest.mark.parametrize(
    ("lives", "problem"),
    [
        ([Life(ending=Ending("stop"))], "last life must read to the end"),
        ([Life(drain=True, ending=Ending("stop")), Life()], "must close them too"),
        ([Life(drain=True), Life(drain=True)], "after one that has closed the books"),
        ([Life(drain=True, key_groups=1, ending=Ending("stop")), Life(drain=True)], "divided anew while"),
        ([Life(drain=True, share=0.5)], "before it has read everything"),
        ([Life(workers=0)], "1 or more"),
        ([Life(keeps="copy")], "a savepoint or a backup"),
        ([Life(drain=True, ending=Ending("stop")), Life(drain=True, loses=True)], "lost while its books"),
    ],
)
def test_what_no_flow_can_live_is_no_plan(lives: list[Life], problem: str) -> None:
    trial = Trial(tuple(lives))
    assert problem in trial.problem
    with pytest.raises(UsageError, match="no plan of a run"):
        Trial.parse(str(trial))


def test_points_that_only_a_start_comes_to_are_tried_behind_a_kill() -> None:
    drawn = [drawn_trial(Random(number), number, KNOWN, KNOWN) for number in range(300)]
    found = [
        (before, life)
        for trial in drawn
        for before, life in zip(trial.lives, trial.lives[1:])
        if life.ending.how == "kill" and life.ending.kill.point in RESUMED
    ]
    assert found
    for before, life in found:
        assert before.ending.kill.point == "delta.after"
        assert before.key_groups != life.key_groups, "else nothing would be moved"


def test_directories_are_lost_behind_lives_that_were_kept() -> None:
    drawn = [drawn_trial(Random(number), number, KNOWN, KNOWN) for number in range(300)]
    lost = [trial for trial in drawn if any(life.loses for life in trial.lives)]
    assert 20 < len(lost) < 100
    for trial in lost:
        number = next(number for number, life in enumerate(trial.lives) if life.loses)
        assert any(life.keeps for life in trial.lives[:number])
    assert {life.keeps for trial in drawn for life in trial.lives} == {"", "savepoint", "backup"}


def test_a_long_log_has_no_more_epochs_than_a_short_one() -> None:
    long = KNOWN._replace(longest=100_000)
    for number in range(50):
        lives = drawn_trial(Random(number), number, long, long).lives
        assert min(life.per_epoch for life in lives) >= 1_000


@given(trial=trials)
def test_what_is_simpler_has_less(trial: Trial) -> None:
    for other in simpler(trial):
        assert other != trial
        assert Trial.parse(str(other)) == other, "it can be carried out"
        assert len(other.lives) <= len(trial.lives)


@given(trial=trials, sizes=st.dictionaries(st.text(max_size=3), st.integers(0, 100), max_size=4))
def test_a_log_only_grows_and_ends_whole(trial: Trial, sizes: dict[str, int]) -> None:
    paces = [pace_of(trial, number, {"s": sizes}).visible["s"] for number in range(len(trial.lives))]
    for part, size in sizes.items():
        seen = [pace[part] for pace in paces]
        assert seen == sorted(seen)
        assert seen[-1] == size


@pytest.mark.parametrize(
    "text", ["", "end", "workers=two", "workers=1,end", "workers=1,hash=0,kill:delta:1", f"{Life()} / "]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no plan of a run"):
        Trial.parse(text)


records = st.builds(
    Record,
    st.none() | st.binary(max_size=5),
    key=st.none() | st.binary(max_size=3) | st.text(max_size=3),
    headers=st.lists(st.tuples(st.text(max_size=2), st.none() | st.binary(max_size=2)), max_size=2).map(tuple),
    time_ms=st.none() | st.integers(0, 1 << 40),
)
partitions = st.builds(Partition, st.lists(records, max_size=6), st.none() | st.binary(max_size=5))
samples: st.SearchStrategy[Sample] = st.dictionaries(
    st.text(max_size=3), st.dictionaries(st.text(max_size=3), partitions, max_size=3), max_size=2
).map(Sample)


@given(sample=samples, count=st.integers(0, 40))
def test_a_sample_is_read_as_it_was_stored(
    sample: Sample, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "sample"
    sample.store(path)
    assert Sample.load(path) == sample
    less = sample.first(count)
    assert less.sources.keys() == sample.sources.keys()
    parts = sum(map(len, sample.sources.values()))
    assert min(count, sample.count) <= less.count <= min(count + parts, sample.count)
    for name, partitions in sample.sources.items():
        for part, whole in partitions.items():
            found = less.sources[name][part]
            assert (whole.records[: len(found.records)], whole.header) == (found.records, found.header)


lines = st.lists(st.binary(max_size=2), min_size=1, max_size=4)
outcomes = st.builds(Outcome, st.dictionaries(st.sampled_from("abc"), lines, max_size=3), st.just({"keys": 1}))


@given(one=outcomes, two=outcomes)
def test_a_difference_is_told_exactly_where_there_is_one(one: Outcome, two: Outcome) -> None:
    assert (difference(one, two) is None) == (one.parts == two.parts)
    assert difference(one, one) is None


def test_counts_are_compared_too() -> None:
    found = difference(Outcome({}, {"keys": 1, "late": 0}), Outcome({}, {"keys": 1, "late": 2}))
    assert found is not None
    assert (found.where, found.expected, found.found) == ("the count of late", "0", "2")


def test_a_sample_has_the_first_records_of_each_partition(tmp_path: Path) -> None:
    for part in range(2):
        (tmp_path / f"log-{part}.jsonl").write_text("".join(f'{{"at": {n}}}\n' for n in range(10)) + "no event\n" * 10)
    flow = hw.Flow("sampled")
    flow.source("s", hw.Json, hw.files(str(tmp_path / "log-*.jsonl")), time="at").to("out", hw.to_list([]))
    sample = taken_sample(flow, 30)
    assert [len(part.records) for part in sample.sources["s"].values()] == [15, 15]
    first = next(iter(sample.sources["s"].values()))
    assert [record.value for record in first.records][9:11] == [b'{"at": 9}', b"no event"]
    with pytest.raises(UsageError, match="no source 'x'"):
        given_sample(flow, {"x": {}})
    with pytest.raises(UsageError, match="no events for the source 's'"):
        given_sample(flow, {})


def planted(directory: Path, operator: str) -> Path:
    path = directory / "planted.py"
    path.write_text(flow_text(operator))
    return path


FAULTS = {
    "clock": (CLOCK, "reads the clock, chance"),
    "chance": (CHANCE, "reads the clock, chance"),
    "global": (GLOBAL, "kept outside of the state"),
    "set": (SET_ORDER, "the order of a set"),
    "default": (DEFAULT, "kept outside of the state"),
}


@pytest.mark.parametrize("kind", ["set", "chance", "global"])
def test_a_planted_fault_is_found(tmp_path: Path, kind: str) -> None:
    operator, meaning = FAULTS[kind]
    spec = FlowSpec(str(planted(tmp_path, operator)))
    flow = load_flow(spec)
    sample = taken_sample(flow, 300)
    fault = prove_flow(spec, flow, sample, ProofOptions(40, 5, shrink=False)).fault
    assert fault is not None
    assert meaning in fault.meaning


@pytest.mark.parametrize("kind", ["clock", *(pytest.param(kind, marks=pytest.mark.soak) for kind in FAULTS)])
def test_a_planted_fault_is_found_and_shown_again(tmp_path: Path, kind: str) -> None:
    """Also the meaning is right, and the one command that is printed shows the difference once more."""
    operator, meaning = FAULTS[kind]
    planted(tmp_path, operator)
    done = headway(tmp_path, "prove", "planted.py", "--runs", "40", "--seed", "5", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert not told["holds"]
    assert meaning in told["difference"]["meaning"]
    assert told["difference"]["events"] <= 60, "the least that shows it is small"
    again = headway(tmp_path, *shlex.split(told["command"])[1:])
    assert again.returncode == 1, again.stdout + again.stderr
    assert "NOT THE SAME" in again.stdout


def headway(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=240)


def test_the_same_flow_without_a_fault_passes(tmp_path: Path) -> None:
    proof = prove(planted(tmp_path, GOOD), runs=8, seed=3)
    assert proof.runs == 8 + len(quick_trials()) + len(resuming_trials())
    assert {"resumption.before", "move.after"} <= proof.reached, "also what only a start comes to"
    assert sum(proof.disturbances.values()) >= 5
    assert proof.lines > 300
    assert not (tmp_path / "counted.jsonl").exists(), "its own outputs are not touched"


def test_a_difference_is_an_assertion(tmp_path: Path) -> None:
    path = planted(tmp_path, CLOCK)
    with pytest.raises(AssertionError, match=r"(?s)output 'counted', line 1.*headway prove .*--events 20 --first 2"):
        prove(path, 20, runs=0)


def test_a_flow_that_fails_by_itself_says_so(tmp_path: Path) -> None:
    path = planted(tmp_path, GOOD.replace("ctx.emit", "ctx.emit(1 / 0); ctx.emit"))
    with pytest.raises(UserCodeError, match="ZeroDivisionError"):
        prove(path, runs=0)


def test_events_may_be_given(tmp_path: Path) -> None:
    path = planted(tmp_path, GOOD)
    events = {"steps": {"only": [{"at": 1, "user": "a", "tags": []}, b"no event", {"at": 9, "user": "a", "tags": []}]}}
    proof = prove(path, events, runs=1)
    assert (proof.events, proof.lines) == (3, 4), "two triggers, a row and a dead letter"


def test_a_flow_in_memory_is_refused() -> None:
    flow = hw.Flow("memory")
    flow.source("s", hw.Json, hw.items([]), time="at").to("out", hw.to_list([]))
    with pytest.raises(UsageError, match="exists only in the memory"):
        prove(flow)


SHIPPED: dict[str, dict[str, str]] = {
    "abandoned_carts": {},
    "fraud_score": {},
    "order_saga": {},
    "session_funnel": {},
    "sla_watch": {},
    "nexmark": {},
    # Durable functions: what they end with.
    "order_fulfilment": {"orders": "20", "pack_ms": "10"},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_passes(name: str) -> None:
    check_shipped(name, runs=2)


@pytest.mark.soak
@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_passes_for_long(name: str) -> None:
    check_shipped(name, runs=200)


def check_shipped(name: str, runs: int) -> None:
    spec = FlowSpec(f"headway.flows.{name}", SHIPPED[name])
    proof = prove(spec.ref, 400, parameters=spec.parameters, runs=runs, seed=runs, run_steps=True)
    assert proof.holds
    assert proof.said > 0, "there was something to compare"


def test_lives_are_written_as_they_are_read() -> None:
    life = Life(workers=2, hash_seed=1, share=0.5, ending=Ending("moment", after_ms=70, loses_power=True))
    assert str(life).startswith("workers=2,groups=2,hash=1,")
    assert str(life).endswith("share=0.5,mix=0,drain=0,moment:70ms+power")
    parse: Callable[[str], Life] = Life.parse
    assert parse(str(life)) == life
