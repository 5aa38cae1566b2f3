"""Each way in which a run ends badly: one message that says what, where and what next, and the documented exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from tests.cluster_harness import await_true
from tests.faults_harness import FLOW, command, feed

from headway.cli.main import main

BOTH = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("flow.py").write_text(FLOW)
    feed(500)
    return tmp_path


RAISED = {
    "exit": "SystemExit: 9",
    "exit-text": "SystemExit: bye",
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "stop": "StopIteration",
    "odd": "Odd: odd",
    "pipe": "BrokenPipeError",
    "disk": "OSError: [Errno 28] full",
    "memory": "MemoryError",
    "recursion": "RecursionError: maximum recursion depth exceeded",
}


@pytest.mark.parametrize("boom", RAISED)
def test_whatever_a_handler_raises_is_an_error_of_the_flow(boom: str) -> None:
    done = command("--set", f"boom={boom}")
    assert done.returncode == 1
    assert re.match(
        r"headway: error: Count.on_event of the operator 'count' failed for key 'user250' at time 250", done.stderr
    )
    assert done.stderr.rstrip().endswith(RAISED[boom])
    assert "panicked" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("boom", ["exit", "interrupt", "odd"])
def test_whatever_a_handler_raises_in_a_worker(boom: str) -> None:
    done = command("--set", f"boom={boom}", "--workers", 2)
    assert done.returncode == 1 and "restarting" not in done.stderr
    assert "in the worker process:" in done.stderr and done.stderr.rstrip().endswith(RAISED[boom])


def test_an_error_of_headway_itself_in_a_worker_is_told_at_once_and_asks_to_be_reported() -> None:
    broken = "import headway.runtime.job as job\ndef settle(self): raise KeyError('odd')\njob.Job.settle = settle\n"
    Path("flow.py").write_text(broken + FLOW)
    for workers in (1, 2):
        done = command("--workers", workers, "--state", f"state-{workers}")
        assert done.returncode == 70
        assert "restarting" not in done.stderr
        assert done.stderr.count("Traceback (most recent call last)") == 1
        assert done.stderr.rstrip().endswith("please report it, with the text above.")


class Interrupted:
    """A run that is interrupted at a marker, so often."""

    def __init__(self, marker: str, *args: object) -> None:
        line = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", *map(str, args)]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
        await_true(lambda: Path(marker).exists() or self.process.poll() is not None, marker)

    def press(self, times: int, until: Optional[str] = None) -> tuple[int, str]:
        for _ in range(times):
            self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=60)
        # Python ends as by the signal itself when code that is imported was interrupted: 130 for a shell.
        code = self.process.returncode
        return (130 if code == -signal.SIGINT else code), err


TOLD = "headway: error: interrupted; started again, a run goes on from its last durable epoch\n"


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupt_while_the_flow_is_imported(times: int) -> None:
    code, err = Interrupted("imported", "--set", "marker=true").press(times)
    assert code == 130
    assert err in ((TOLD,) if times == 1 else (TOLD, ""))


ENDLESS = """
from headway.runtime.stopping import StopFlag

def is_set(self):
    if self.by_interrupt:
        open("interrupted", "w").close()
    return False

StopFlag.__call__ = is_set
"""
"""For a run that does not come to its graceful end: the first interrupt leaves a file, and nothing else."""


@BOTH
def test_two_interrupts_while_a_run_follows(workers: int) -> None:
    """The engine stands in its own code then, which cannot hand on an exception: it panics, and nobody sees it."""
    Path("flow.py").write_text(ENDLESS + FLOW)
    run = Interrupted("out.jsonl", "--follow", "--workers", workers)
    run.process.send_signal(signal.SIGINT)
    await_true(Path("interrupted").exists, "the first interrupt")
    assert run.press(1) == (130, TOLD)


def test_standard_output_that_is_closed(here: Path) -> None:
    line = f"{sys.executable} -m headway run flow.py --quiet"
    for rest, code, told in (
        ("--state a >&-", 0, ""),
        ("--state b --set out= >&-", 4, "cannot write to standard output"),
        ("--state c --json >&-", 4, "cannot write to standard output"),
        ("--state d --set out= >/dev/full", 4, "cannot write to standard output"),
        ("--state e 2>&-", 0, ""),
        ("--state f <&-", 0, ""),
    ):
        Path("out.jsonl").unlink(missing_ok=True)
        done = subprocess.run(["bash", "-c", f"{line} {rest}"], capture_output=True, text=True, check=False)
        assert done.returncode == code, (rest, done.stderr)
        assert told in done.stderr and done.stderr.count("\n") == (code != 0)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@BOTH
def test_a_reader_that_has_seen_enough(unbuffered: str, workers: int) -> None:
    feed(20_000, pad=20)
    line = f"{sys.executable} -m headway run flow.py --set out= --quiet --workers {workers}"
    line += " | head -n 2; echo ${PIPESTATUS[0]}"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=environment)
    assert done.stderr == ""
    assert done.stdout.split()[-1] == "141"


def test_state_on_a_full_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "flow.py", "--quiet"]) == 0
    line = f"{sys.executable} -m headway state ls flow.py count --limit 0"
    for rest, code in ((">/dev/full", 4), ("| head -n 0", 0)):
        done = subprocess.run(["bash", "-c", f"{line} {rest}"], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


NOTICE = "out.jsonl existed before the first start of this flow: it was moved to out.jsonl.1"


@BOTH
def test_a_notice_outlives_the_parts_of_a_drain_and_is_told_once(workers: int) -> None:
    Path("out.jsonl").write_text("mine\n")
    done = command("--drain", "--json", "--workers", workers)
    assert json.loads(done.stdout)["notices"] == [NOTICE]
    assert Path("out.jsonl.1").read_text() == "mine\n"


def test_a_notice_outlives_workers_and_runs_that_die() -> None:
    Path("out.jsonl").write_text("mine\n")
    done = command("--set", "boom=die", "--workers", 2, "--max-restarts", 1, "--state", "state")
    assert done.returncode == 5
    told = [json.loads(command("--json", "--state", "state").stdout)["notices"] for _ in range(2)]
    assert told == [[NOTICE], []]


def test_a_quiet_run_tells_what_must_be_known() -> None:
    Path("out.jsonl").write_text("mine\n")
    assert command().stderr == f"headway: note: {NOTICE}\n"


def test_a_working_directory_that_is_gone(here: Path) -> None:
    gone = here / "gone"
    gone.mkdir()
    script = f"import os, sys; os.rmdir({str(gone)!r}); from headway.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for arguments, code in ((["run", "../flow.py"], 2), (["state", "flow"], 2), (["version"], 0), (["--help"], 0)):
        called = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(called, cwd=gone, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr and done.stderr.count("\n") == (code != 0)
        assert ("the working directory cannot be used" in done.stderr) is (code != 0)
        gone.mkdir()
