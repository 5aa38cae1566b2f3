"""`producer | headway run f.py --follow` ends when the producer does, unless there is more to follow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

FLOW = """
import headway as hw

flow = hw.Flow("f")
source = flow.source("piped", hw.Json, hw.stdin(), time="at")
source.to("out", hw.to_jsonl("out.jsonl"))
"""
WITH_FILES = """
more = flow.source("more", hw.Json, hw.files("more.jsonl"), time="at", idle_after="1ms")
complete = flow.source("complete", hw.Json, hw.parquet("*.parquet"), time="at", idle_after="1ms")
complete.to("completed", hw.to_jsonl("completed.jsonl"))
source.key_by("user").merge(more.key_by("user")).aggregate("n", n=hw.count()).to("both", hw.to_jsonl("both.jsonl"))
"""
LINES = b"".join(b'{"user": "u", "at": %d}\n' % number for number in range(50))


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "headway", "run", "f.py", "--follow", "--epoch", "20ms", "--json", *options]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_with_its_input(tmp_path: Path, workers: str) -> None:
    (tmp_path / "f.py").write_text(FLOW)
    done = subprocess.run(
        command("--workers", workers), input=LINES, capture_output=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["events"]) == ("end of input", 50)
    # The latest one waits: the end of the input is no passing of time.
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 49


def test_beside_files_the_flow_goes_on(tmp_path: Path) -> None:
    """And what has ended does not hold back time, once it has been silent for `idle_after`."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "f.py").write_text(FLOW.replace('time="at"', 'time="at", idle_after="1ms"') + WITH_FILES)
    (tmp_path / "more.jsonl").write_bytes(LINES)
    for number in range(2):
        parquet.write_table(pyarrow.table({"user": ["u"], "at": [number]}), tmp_path / f"{number}.parquet")
    with subprocess.Popen(
        command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        process.stdin.write(LINES)
        process.stdin.close()
        process.stdin = None
        read_end = os.open(tmp_path / "both.jsonl", os.O_RDONLY | os.O_CREAT)
        with (tmp_path / "more.jsonl").open("ab") as more:
            at = 1_000
            while not any(json.loads(line)["n"] > 110 for line in lines_of(read_end)):
                at += 1_000
                more.write(b'{"user": "u", "at": %d}\n' % at)
                more.flush()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
                assert process.returncode is None, process.communicate()
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
        os.close(read_end)
    assert process.returncode == 0, errors
    # That a file of columns is complete is nothing to tell: there may be thousands.
    [notice] = [text for text in json.loads(out)["notices"] if "has ended" in text]
    assert notice == "stdin has ended; the flow goes on following its other inputs"


def lines_of(fd: int) -> list[bytes]:
    """The whole lines of a file that is being written."""
    return os.pread(fd, 1 << 24, 0).split(b"\n")[:-1]
