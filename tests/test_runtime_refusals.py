"""Whatever is wrong with a state directory or a disk is said clearly, and once it is right nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.errors import (
    CorruptStateError,
    DrainedStateError,
    HeadwayError,
    IncompatibleStateError,
    LockedStateError,
    OutputError,
    StateError,
)
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.state.lock import DirectoryLock

EVENTS = 200


class Seen(hw.State):
    clicks: int = 0


class Other(hw.State):
    clicks: str = ""


class Count(hw.Operator[hw.Json, Seen, hw.Json]):
    def on_event(self, state: Seen, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.clicks += 1
        ctx.emit({"clicks": state.clicks, "at": event["at"]})


class Changed(hw.Operator[hw.Json, Other, hw.Json]):
    def on_event(self, state: Other, event: hw.Json, ctx: hw.Context[hw.Json]) -> None:
        state.clicks += "+"


def flow(directory: Path, name: str = "clicks", operator: Any = None) -> hw.Flow:
    made = hw.Flow(name)
    clicks = made.source("clicks", hw.Json, hw.files(directory / "clicks.jsonl"), time="at")
    counted = clicks.key_by("user").process("count", operator or Count())
    counted.to("counted", hw.to_jsonl(directory / "counted.jsonl"))
    return made


def run(directory: Path, made: hw.Flow | None = None, *, drain: bool = False) -> RunResult:
    options = RunOptions(directory / "state", key_groups=2, epoch_ms=20, sync=False, drain=drain)
    return run_flow(made or flow(directory), options)


def feed(directory: Path, first: int, last: int) -> None:
    with (directory / "clicks.jsonl").open("a") as file:
        for at in range(first, last + 1):
            file.write(json.dumps({"user": f"user{at % 10}", "at": at}) + "\n")


def expected(last: int) -> bytes:
    return b"".join(b'{"clicks":%d,"at":%d}\n' % ((at - 1) // 10 + 1, at) for at in range(1, last))


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """A state directory that has seen the first half of the events; the rest is there by now."""
    feed(tmp_path, 1, EVENTS // 2)
    run(tmp_path)
    feed(tmp_path, EVENTS // 2 + 1, EVENTS)
    return tmp_path


def goes_on(directory: Path) -> None:
    """Nothing was lost, and nothing is done twice."""
    result = run(directory)
    assert result.stats.events == EVENTS
    assert (directory / "counted.jsonl").read_bytes() == expected(EVENTS)


def test_the_state_of_another_flow(half_done: Path) -> None:
    with pytest.raises(IncompatibleStateError, match=r"it belongs to the flow 'clicks', and this is 'visits'"):
        run(half_done, flow(half_done, "visits"))
    goes_on(half_done)


def test_a_state_of_another_shape(half_done: Path) -> None:
    with pytest.raises(IncompatibleStateError, match=r"operator 'count': it was of the class Count, now Changed"):
        run(half_done, flow(half_done, operator=Changed()))
    goes_on(half_done)


def test_books_that_are_closed(half_done: Path) -> None:
    run(half_done, drain=True)
    before = (half_done / "counted.jsonl").read_bytes()
    assert before == expected(EVENTS + 1)
    with pytest.raises(DrainedStateError, match=r"state was drained: it takes no more input; start with an empty"):
        run(half_done)
    assert (half_done / "counted.jsonl").read_bytes() == before


def test_a_directory_that_another_run_uses(half_done: Path) -> None:
    with (
        DirectoryLock.acquire(half_done / "state"),
        pytest.raises(LockedStateError, match=rf"is in use by process {os.getpid()}: wait until it ends"),
    ):
        run(half_done)
    goes_on(half_done)


@pytest.mark.parametrize(
    ("gone", "error", "message"),
    [
        ("groups/001", IncompatibleStateError, "key group 001.* restore both from the same backup"),
        ("groups", IncompatibleStateError, "restore both from the same backup"),
        ("engine-1", CorruptStateError, "the recovery log in .*engine-1 is not as the last run left it"),
        ("engine-1/part-0.sqlite3", CorruptStateError, "engine-1"),
    ],
)
def test_a_part_that_is_gone(half_done: Path, gone: str, error: type[HeadwayError], message: str) -> None:
    path = half_done / "state" / gone
    saved = half_done / "saved"
    shutil.copytree(half_done / "state", saved)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = (half_done / "counted.jsonl").read_bytes()
    with pytest.raises(error, match=message) as raised:
        run(half_done)
    assert str(half_done / "state") in str(raised.value)
    assert (half_done / "counted.jsonl").read_bytes()[: len(before)] == before
    shutil.rmtree(half_done / "state")
    saved.rename(half_done / "state")
    goes_on(half_done)


def test_an_output_that_is_gone(half_done: Path) -> None:
    output = half_done / "counted.jsonl"
    output.rename(half_done / "moved.jsonl")
    with pytest.raises(OutputError, match=r"counted\.jsonl is shorter than what was written to it: expected at least"):
        run(half_done)
    (half_done / "moved.jsonl").rename(output)
    goes_on(half_done)


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    feed(tmp_path, 1, EVENTS)
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateError, match=r"cannot use .*/state: File exists; something else lies"):
        run(tmp_path)
    (tmp_path / "state").unlink()
    goes_on(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(half_done: Path) -> None:
    everything = [half_done / "state", *(half_done / "state").rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    with pytest.raises(StateError, match="state"):
        run(half_done)
    for path in everything:
        path.chmod(path.stat().st_mode | 0o200)
    goes_on(half_done)


CHILD = """
import sys
from pathlib import Path
from headway.errors import HeadwayError
from tests.test_runtime_refusals import run
try:
    run(Path(sys.argv[1]))
except HeadwayError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
"""


def limited(bytes_max: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))


@pytest.mark.parametrize(("bytes_max", "codes"), [(200 << 10, {4}), (48 << 10, {3, 4}), (16 << 10, {3, 4})])
def test_a_disk_that_takes_no_more(tmp_path: Path, bytes_max: int, codes: set[int]) -> None:
    """A limit of the size of files is met by each file as a full disk is."""
    feed(tmp_path, 1, 20_000)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        preexec_fn=limited(bytes_max),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=60,
        check=False,
    )
    assert child.returncode in codes, child.stdout + child.stderr
    assert "space" in child.stdout or "ulimit" in child.stdout
    result = run(tmp_path)
    assert result.stats.events == 20_000
    assert (tmp_path / "counted.jsonl").read_bytes() == expected(20_000)
