"""What is durable leaves, also in silence, and nothing that was not written is forgotten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import cluster_harness as cluster

from headway.state.reader import StateReader

FLOW = """
import headway as hw

flow = hw.Flow("counts")
lines = flow.source("lines", hw.Json, hw.files("in-*.jsonl"), time="at")
lines.key_by("key").aggregate("counted", n=hw.count()).to("out", hw.to_stdout())
"""


def feed(directory: Path, count: int, files: int = 2) -> None:
    (directory / "flow.py").write_text(FLOW)
    for number in range(files):
        with (directory / f"in-{number}.jsonl").open("w") as file:
            for at in range(number, count, files):
                file.write(f'{{"at": {at}, "key": "k{at % 97}"}}\n')


def printed(directory: Path) -> list[str]:
    return (directory / "run.out").read_text().splitlines()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_line_is_printed_when_the_books_are_closed(tmp_path: Path, workers: int) -> None:
    feed(tmp_path, 20_000)
    code, told = cluster.Started(tmp_path, "flow.py", "--workers", workers, "--drain", "--quiet").outcome()
    assert (code, told) == (0, "")
    lines = printed(tmp_path)
    assert len(lines) == 20_000
    assert max(json.loads(line)["n"] for line in lines) == 20_000 // 97 + 1


@pytest.mark.parametrize("workers", [1, 2])
def test_the_last_epoch_is_printed_and_can_be_read_although_nothing_more_comes(tmp_path: Path, workers: int) -> None:
    feed(tmp_path, 1_000)
    started = cluster.Started(tmp_path, "flow.py", "--workers", workers, "--follow", "--quiet", "--epoch", "200ms")
    try:
        # The latest event is behind no watermark yet, nor is that of the other file which is a millisecond older.
        cluster.await_true(lambda: len(printed(tmp_path)) >= 998, "the lines of the last epoch")

        def is_visible() -> bool:
            with StateReader(tmp_path / ".headway" / "counts") as reader:
                return sum(1 for _ in reader.rows("counted")) == 97

        cluster.await_true(is_visible, "the rows of the last epoch")
        for number in range(2):
            with (tmp_path / f"in-{number}.jsonl").open("a") as file:
                file.write('{"at": 5000, "key": "late"}\n')
        cluster.await_true(lambda: len(printed(tmp_path)) == 1_000, "the lines that an event has set free")
    finally:
        cluster.send(started.pid, signal.SIGTERM)
        assert started.outcome()[0] == 0
    assert len(printed(tmp_path)) == 1_000


def run_into(directory: Path, lines: int, unbuffered: str) -> list[bytes]:
    """Run with a reader of standard output that goes away after some lines."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet"]
    # The system must not take more for written than the reader has asked for.
    run = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pipesize=4_096, env=environment
    )
    assert run.stdout is not None
    found = [run.stdout.readline() for _ in range(lines)]
    run.stdout.close()
    assert run.wait(cluster.PATIENCE_S) != 0
    return found


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_whose_reader_went_away_are_printed_by_the_next_run(tmp_path: Path, unbuffered: str) -> None:
    feed(tmp_path, 30_000)
    first = run_into(tmp_path, 5, unbuffered)
    code, told = cluster.Started(tmp_path, "flow.py", "--quiet").outcome()
    assert code == 0, told
    lines = printed(tmp_path)
    seen = {line.decode().rstrip("\n") for line in first} | set(lines)
    (tmp_path / "undisturbed").mkdir()
    feed(tmp_path / "undisturbed", 30_000)
    assert cluster.Started(tmp_path / "undisturbed", "flow.py", "--quiet").outcome()[0] == 0
    assert seen == set(printed(tmp_path / "undisturbed"))


def test_lines_that_could_not_be_printed_are_kept_however_often(tmp_path: Path) -> None:
    feed(tmp_path, 2_000)
    for _ in range(3):
        command = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet"]
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False)
        assert ended.returncode == 4
        assert b"cannot write to standard output" in ended.stderr
    assert cluster.Started(tmp_path, "flow.py", "--quiet").outcome()[0] == 0
    assert len(printed(tmp_path)) == 1_998
