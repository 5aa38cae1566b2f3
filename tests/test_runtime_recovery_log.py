"""What a killed run has left of an epoch that never happened is gone before the engine is started again."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evolve_harness import SEEN, keep, part
from tests.operator_harness import SLOW

from headway.declare.loading import FlowSpec, load_flow
from headway.errors import CorruptStateError
from headway.proving.lanes import Lane
from headway.proving.outcome import difference
from headway.proving.plans import Trial, reference_trial
from headway.proving.sample import taken_sample
from headway.runtime.directory import StateDirectory
from headway.runtime.engine import run_alone
from headway.runtime.settle import Committed, _skeleton, committed

FLOW = Path(__file__).parents[1] / "flows" / "abandoned_carts.py"


class Killed(NamedTuple):
    """An execution that ended without a word."""

    workers: int
    fronts: list[int]
    """How many epochs each worker has said to be over, of those that said anything."""
    left: list[tuple[int, int]]
    """For how many epochs later than the first one a token was written, and for which key group."""


@st.composite
def killed(draw: st.DrawFn) -> Killed:
    workers = draw(st.integers(1, 3))
    fronts = draw(st.lists(st.integers(0, 2), max_size=workers))
    left = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=4, unique=True)
    return Killed(workers, fronts, draw(left))


@contextmanager
def log_of(directory: StateDirectory) -> Iterator[sqlite3.Connection]:
    manifest = directory.manifest()
    assert manifest is not None
    log = directory.engine_log(manifest.generation).path
    log.with_suffix(".sum").unlink(missing_ok=True)
    with closing(sqlite3.connect(log / "part-0.sqlite3", isolation_level=None)) as database:
        yield database


def note(database: sqlite3.Connection, execution: Killed, number: int, epoch: int) -> int:
    """Write what an execution has left that began with an epoch; returns the one with which the next one begins."""
    database.execute("INSERT INTO exs VALUES (CURRENT_TIMESTAMP, ?, ?, ?)", [number, execution.workers, epoch])
    for worker, over in enumerate(execution.fronts):
        if over:
            database.execute("INSERT INTO fronts VALUES (CURRENT_TIMESTAMP, ?, ?, ?)", [number, worker, epoch + over])
    [(step, keys)] = database.execute(
        "SELECT step_id, group_concat(DISTINCT state_key) FROM snaps WHERE step_id LIKE '%.stage-%' GROUP BY step_id"
    ).fetchall()
    for later, group in execution.left:
        key = next(key for key in keys.split(",") if key.startswith(f"{group:03}-"))
        body = msgspec.msgpack.encode([group, 1_000 * number + later])
        token = b"\xf5hw\x01T" + zlib.crc32(body).to_bytes(4, "big") + body
        row = [step, key, epoch + later, token]
        database.execute("INSERT OR REPLACE INTO snaps VALUES (CURRENT_TIMESTAMP, ?, ?, ?, ?)", row)
    silent = [0] * (execution.workers - len(execution.fronts))
    return epoch + min([*execution.fronts, *silent])


def as_the_engine_says(directory: StateDirectory, aside: Path) -> dict[tuple[int, int], int]:
    """The versions that the engine would resume from, of a copy that nobody has cleaned."""
    shutil.copytree(directory.path, aside)
    manifest, found = directory.manifest(), Committed()
    assert manifest is not None
    run_alone(_skeleton(manifest, found), StateDirectory(aside).engine_log(manifest.generation))
    return found.versions


@settings(SLOW, max_examples=12)
@given(executions=st.lists(killed(), min_size=1, max_size=3))
def test_whoever_asks_learns_what_the_engine_would_resume_from_however_often(executions: list[Killed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        keep(place, SEEN, part(0, 40))
        directory = StateDirectory(place / "state")
        manifest = directory.manifest()
        assert manifest is not None
        for step, execution in enumerate(executions):
            with log_of(directory) as database:
                [(number, epoch)] = database.execute(
                    "SELECT ex_num, max(worker_frontier) FROM fronts WHERE ex_num = (SELECT max(ex_num) FROM exs)"
                ).fetchall()
                note(database, execution, number + 1, epoch)
            expected = as_the_engine_says(directory, place / f"aside-{step}")
            with directory.locked():
                assert [committed(directory, manifest).versions for _ in range(3)] == [expected] * 3


def test_a_log_that_has_lost_its_executions_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 40))
    directory = StateDirectory(tmp_path / "state")
    manifest = directory.manifest()
    assert manifest is not None
    with log_of(directory) as database:
        database.execute("DELETE FROM exs")
        database.execute("DELETE FROM fronts")
        before = database.execute("SELECT * FROM snaps").fetchall()
    with directory.locked(), pytest.raises(CorruptStateError, match="is not whole"):
        committed(directory, manifest)
    with log_of(directory) as database:
        assert before and database.execute("SELECT * FROM snaps").fetchall() == before


PLANS = {
    "asked-twice": "share=0.3,mix=846033,drain=0,kill:delta.after:3+all / workers=1,groups=5,hash=2,epoch=50,batch=100,"
    "records=200,share=0.3,mix=930484,drain=0,kill:positions.before:1+all",
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_flow_goes_on_after_kills(plan: str, tmp_path: Path) -> None:
    """A run is killed before its first epoch is over everywhere, what divides its state otherwise right behind it."""
    begin = "workers=1,groups=1,hash=2,epoch=20,batch=3,records=200,"
    end = "workers=1,groups=5,hash=2,epoch=10,batch=17,records=200,share=1,mix=552242,drain=1,end"
    spec = FlowSpec(str(FLOW), {})
    sample = taken_sample(load_flow(spec), 1_000).first(2)
    sample.store(tmp_path / "sample")
    lane = Lane(spec, tmp_path / "sample", sample.sizes, tmp_path)
    try:
        undisturbed = lane.run(reference_trial(drain=True))
        disturbed = lane.run(Trial.parse(f"{begin}{plan} / {end}"))
    finally:
        lane.close()
    assert (disturbed.failure, sum(disturbed.kills.values())) == ("", 2)
    assert undisturbed.outcome is not None and disturbed.outcome is not None
    assert difference(undisturbed.outcome, disturbed.outcome) is None
