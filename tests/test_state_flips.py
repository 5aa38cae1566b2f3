"""A flipped bit anywhere in a state directory gives the same outputs or a refusal: never others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headway as hw
from headway.errors import HeadwayError, InternalError
from headway.runtime.run import RunOptions, run_flow
from headway.runtime.stopping import StopFlag

EVENTS = 120
HALF = EVENTS // 2


class Killed(HeadwayError):
    """What a test kills a run with."""


class Killer(StopFlag):
    """Kills a run once it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def __call__(self) -> bool:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return False


def flow(directory: Path) -> hw.Flow:
    made = hw.Flow("f")
    for name in ("one", "two"):
        source = made.source(name, hw.Json, hw.files(directory / name / "*.jsonl"), time="at")
        source.key_by("user").aggregate(f"count-{name}", n=hw.count()).to(
            f"out-{name}", hw.to_jsonl(directory / f"{name}.out")
        )
    return made


def feed(directory: Path, first: int, last: int) -> None:
    for name in ("one", "two"):
        (directory / name).mkdir(exist_ok=True)
        for part in range(2):
            with (directory / name / f"{part}.jsonl").open("a") as file:
                file.writelines(
                    json.dumps({"user": f"u{at % 7}", "at": at}) + "\n" for at in range(first + part, last, 2)
                )


def run(directory: Path, stop: StopFlag | None = None, *, follow: bool = False) -> None:
    options = RunOptions(directory / "state", key_groups=2, epoch_ms=1, sync=False, follow=follow)
    run_flow(flow(directory), options, stop=stop)


def outputs(directory: Path) -> dict[str, bytes]:
    return {name: (directory / f"{name}.out").read_bytes() for name in ("one", "two")}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended half way."""
    directory = tmp_path_factory.mktemp("ended")
    feed(directory, 0, HALF)
    run(directory)
    return directory


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has been killed half way, with epochs behind it."""
    directory = tmp_path_factory.mktemp("killed")
    feed(directory, 0, HALF)
    with pytest.raises(Killed):
        run(directory, Killer(60), follow=True)
    return directory


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("expected")
    feed(directory, 0, EVENTS)
    run(directory)
    return outputs(directory)


@contextmanager
def copied(template: Path, folder: Path) -> Iterator[Path]:
    copy = folder / "copy"
    shutil.copytree(template, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def small_files(directory: Path) -> list[Path]:
    state = directory / "state"
    return sorted(
        path.relative_to(directory)
        for path in state.rglob("*")
        if path.is_file() and 0 < path.stat().st_size <= 1 << 20
    )


def check(template: Path, folder: Path, name: Path, share: float, expected: dict[str, bytes]) -> None:
    with copied(template, folder) as directory:
        content = bytearray((directory / name).read_bytes())
        bit = min(int(share * len(content) * 8), len(content) * 8 - 1)
        content[bit // 8] ^= 1 << bit % 8
        (directory / name).write_bytes(content)
        feed(directory, HALF, EVENTS)
        try:
            run(directory)
        except InternalError:
            raise
        except HeadwayError as error:
            assert str(error)
        else:
            assert outputs(directory) == expected


FLIPS = given(share=st.floats(0, 1, exclude_max=True), number=st.integers(0, 10_000))
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=20, deadline=None, suppress_health_check=QUIET)
@FLIPS
def test_after_a_good_end(ended: Path, expected: dict[str, bytes], tmp_path: Path, share: float, number: int) -> None:
    names = small_files(ended)
    check(ended, tmp_path, names[number % len(names)], share, expected)


@pytest.mark.parametrize("kind", ["flow.json", "engine-1"])
@settings(max_examples=8, deadline=None, suppress_health_check=QUIET)
@FLIPS
def test_where_nothing_else_has_checksums(
    ended: Path, expected: dict[str, bytes], tmp_path: Path, kind: str, share: float, number: int
) -> None:
    names = [name for name in small_files(ended) if name.parts[1].startswith(kind)]
    check(ended, tmp_path, names[number % len(names)], share, expected)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, suppress_health_check=QUIET)
@FLIPS
def test_after_a_good_end_for_longer(
    ended: Path, expected: dict[str, bytes], tmp_path: Path, share: float, number: int
) -> None:
    names = small_files(ended)
    check(ended, tmp_path, names[number % len(names)], share, expected)


def test_tokens_in_the_log_of_a_killed_run_are_sealed(killed: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """Nobody could sum up the log of a run that was killed; what counts in it has checksums of its own."""
    import sqlite3

    name = next((killed / "state" / "engine-1").glob("*.sqlite3")).relative_to(killed)
    with sqlite3.connect(killed / name) as log:
        tokens = log.execute("select rowid, ser_change from snaps where ser_change is not null").fetchall()
    assert tokens
    for rowid, token in tokens:
        for place in range(0, len(token), max(1, len(token) // 6)):
            with copied(killed, tmp_path) as directory:
                flipped = bytearray(token)
                flipped[place] ^= 4
                log = sqlite3.connect(directory / name)
                log.execute("update snaps set ser_change = ? where rowid = ?", (bytes(flipped), rowid))
                log.commit()
                log.close()
                feed(directory, HALF, EVENTS)
                try:
                    run(directory)
                except InternalError:
                    raise
                except HeadwayError:
                    continue
                assert outputs(directory) == expected
