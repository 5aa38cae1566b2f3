"""Each way in which a run ends badly: one message that says what, where and what next, and the documented exit code."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from tests.cluster_harness import await_true

from headway.cli.main import main

FLOW = """
import sys
import headway as hw

class Click(hw.Event):
    user: str
    at: hw.Time
    pad: str = ""

class Seen(hw.State):
    clicks: int = 0
    pad: str = ""

class Odd(BaseException):
    pass

class Count(hw.Operator[Click, Seen]):
    def on_event(self, state, event, ctx):
        state.clicks += 1
        state.pad = event.pad
        if event.at == 250:
            BOOMS[boom]()
        ctx.emit({"clicks": state.clicks, "at": event.at})

def fail(error):
    raise error

def recurse():
    recurse()

def die():
    import os
    os._exit(3)

BOOMS = {
    "none": lambda: None,
    "exit": lambda: sys.exit(9),
    "exit-text": lambda: sys.exit("bye"),
    "interrupt": lambda: fail(KeyboardInterrupt),
    "generator": lambda: fail(GeneratorExit),
    "stop": lambda: fail(StopIteration),
    "odd": lambda: fail(Odd("odd")),
    "pipe": lambda: fail(BrokenPipeError()),
    "disk": lambda: fail(OSError(28, "full")),
    "memory": lambda: fail(MemoryError()),
    "recursion": recurse,
    "die": die,
}

flow = hw.Flow("clicks")
boom = flow.param("boom", "none")
rotated = flow.param("rotated", False)
split = flow.param("split", 1)
out = flow.param("out", "out.jsonl")
if flow.param("marker", False):
    open("imported", "w").close()
    import time
    time.sleep(60)
clicks = flow.source("clicks", Click, hw.files("in-*.jsonl", rotated=rotated, split=split), time="at")
clicks.key_by("user").process("count", Count()).to("counted", hw.to_jsonl(out) if out else hw.to_stdout())
"""
BOTH = pytest.mark.parametrize("workers", [1, 2])
DAC_OVERRIDE, DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("flow.py").write_text(FLOW)
    feed(500)
    return tmp_path


def feed(events: int, pad: int = 0) -> None:
    for part in range(2):
        with Path(f"in-{part}.jsonl").open("w") as log:
            for at in range(1 + part, events + 1, 2):
                # Text that does not compress.
                noise = os.urandom(pad // 2).hex()
                log.write(json.dumps({"user": f"user{at}", "at": at, "pad": noise}) + "\n")


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "headway", "run", "flow.py", "--quiet", "--key-groups", "4", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, **options)


def check_told(done: subprocess.CompletedProcess[str], code: int, *told: str) -> None:
    """One message, in one line, with all of `told` in it."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("headway: error: ") and done.stderr.count("\n") == 1, done.stderr
    for text in told:
        assert text in done.stderr


def without_privilege() -> None:
    """In a child of root, before it starts: rights of files count for it as for everyone else."""
    if os.geteuid() == 0:
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def small_files() -> None:
    """In a child, before it starts: no file can grow beyond 100 kB, which fails as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@BOTH
def test_a_file_that_cannot_grow_ends_the_run_and_loses_nothing(workers: int) -> None:
    feed(4_000, pad=200)
    options = ("--workers", workers, "--epoch", "50ms")
    check_told(command(*options, "--state", "a", preexec_fn=small_files), 3, "cannot ", "a/groups/00", "ulimit -f")
    done = command(*options, "--state", "a", "--drain")
    assert (done.returncode, done.stderr) == (0, "")
    limited = Path("out.jsonl").read_bytes()
    Path("out.jsonl").unlink()
    assert command("--state", "b", "--drain").returncode == 0
    assert limited == Path("out.jsonl").read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """What gives a file system so many KiB; skips where nothing may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kib: int) -> Path:
        option = f"remount,size={kib}k" if place.is_mount() else f"size={kib}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting is refused here")
        return place

    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    yield sized
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@BOTH
@pytest.mark.parametrize("kib", [64, 900, 1500])
def test_a_full_disk_ends_the_run_and_loses_nothing(small_disk: Callable[[int], Path], kib: int, workers: int) -> None:
    """At the start, when the state is made, and in the middle."""
    feed(6_000, pad=200)
    options = ("--workers", workers, "--epoch", "50ms")
    state = small_disk(kib) / "state"
    check_told(command(*options, "--state", state), 3, str(state), "free some space")
    small_disk(60_000)
    done = command(*options, "--state", state, "--drain")
    assert (done.returncode, done.stderr) == (0, "")
    limited = Path("out.jsonl").read_bytes()
    Path("out.jsonl").unlink()
    assert command("--state", "b", "--drain").returncode == 0
    assert limited == Path("out.jsonl").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are dropped the way of Linux")
@BOTH
@pytest.mark.parametrize(
    ("part", "mode"),
    [
        ("groups", 0),
        ("groups/003", 0),
        ("groups/003", 0o555),
        ("engine", 0),
        ("engine", 0o555),
        ("engine/part-0.sqlite3", 0),
        ("engine/part-0.sqlite3", 0o444),
        ("outputs", 0),
        ("flow.json", 0),
        ("lock", 0),
    ],
)
def test_what_may_not_be_used_is_named(part: str, mode: int, workers: int) -> None:
    assert main(["run", "flow.py", "--quiet", "--state", "state", "--key-groups", "4"]) == 0
    place = Path("state") / part
    before = place.stat().st_mode
    place.chmod(mode)
    try:
        done = command("--state", "state", "--workers", workers, preexec_fn=without_privilege)
    finally:
        place.chmod(before)
    check_told(
        done, 3, f"state/{part}".removesuffix("part-0.sqlite3").rstrip("/"), "give the user of this run the right"
    )
    assert command("--state", "state", "--workers", workers).returncode == 0


def test_a_folder_of_workers_that_may_not_be_written() -> None:
    Path("state/run").mkdir(parents=True)
    Path("state/run").rmdir()
    assert command("--state", "state").returncode == 0
    Path("state/run").mkdir()
    Path("state/run").chmod(0o555)
    done = command("--state", "state", "--workers", 2, preexec_fn=without_privilege)
    Path("state/run").chmod(0o755)
    check_told(done, 3, "state/run")


def spoil_begin(content: bytes) -> bytes:
    return b"\xff" * 100 + content[100:]


def spoil_pages(content: bytes) -> bytes:
    return content[:4096] + b"\xff" * (len(content) - 4096)


@BOTH
@pytest.mark.parametrize(
    "spoil", [spoil_begin, spoil_pages, lambda content: b"", lambda content: content[: len(content) // 2]]
)
def test_a_damaged_recovery_log_is_found_before_anything_runs(spoil: Callable[[bytes], bytes], workers: int) -> None:
    assert main(["run", "flow.py", "--quiet", "--state", "state", "--key-groups", "4"]) == 0
    [log] = Path("state/engine").glob("*.sqlite3")
    log.write_bytes(spoil(log.read_bytes()))
    Path("state/engine.sum").unlink()  # As after a crash: with it nothing else would be looked at.
    check_told(
        command("--state", "state", "--workers", workers),
        3,
        "the recovery log in state/engine is damaged",
        "one backup",
    )
    log.unlink()
    check_told(command("--state", "state", "--workers", workers), 3, "the recovery log in state/engine is not whole")


@pytest.mark.parametrize("name", ["groups", "outputs", "flow.json", "lock"])
def test_something_else_in_the_place_of_what_is_ours(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["run", "flow.py", "--quiet", "--state", "state", "--key-groups", "4"]) == 0
    place = Path("state") / name
    if place.is_dir():
        shutil.rmtree(place)
        place.write_text("")
    else:
        place.unlink()
        place.mkdir()
    assert main(["run", "flow.py", "--quiet", "--state", "state"]) == 3
    told = capsys.readouterr().err
    assert f"state/{name}" in told and "something else lies" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("x" * 300, 3, "give a state directory with a shorter path"),
        ("/".join(["x" * 200] * 30), 3, "give a state directory with a shorter path"),
        ("st\udcff", 2, "not UTF-8"),
        ("in-0.jsonl/state", 3, "Not a directory"),
    ],
)
@BOTH
def test_paths_that_cannot_be(path: str, code: int, told: str, workers: int) -> None:
    check_told(command("--state", path, "--workers", workers), code, told)


@BOTH
@pytest.mark.parametrize(("first", "then"), [("rotated=true", ""), ("split=4", ""), ("split=4", "split=3")])
def test_a_log_is_not_read_on_in_another_way(
    capsys: pytest.CaptureFixture[str], first: str, then: str, workers: int
) -> None:
    for before, after in ((first, then), (then, first)):
        shutil.rmtree("state", ignore_errors=True)
        assert main(["run", "flow.py", "--quiet", "--state", "state", *(["--set", before] if before else [])]) == 0
        options = ["--workers", str(workers), *(["--set", after] if after else [])]
        assert main(["run", "flow.py", "--quiet", "--state", "state", *options]) == 3
        assert re.search(
            r"source 'clicks': it has \d+ slots, read .*, the flow wants \d+ slots, read", capsys.readouterr().err
        )


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


@BOTH
def test_two_interrupts_while_a_run_follows(workers: int) -> None:
    """The engine stands in its own code then, which cannot hand on an exception: it panics, and nobody sees it."""
    run = Interrupted("out.jsonl", "--follow", "--workers", workers)
    run.process.send_signal(signal.SIGINT)
    code, err = run.press(1)
    assert (code, err) in ((130, TOLD), (0, ""))


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
