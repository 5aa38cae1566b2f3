"""What the disk and the rights of files can do to a run: one message, the documented exit code, and nothing is lost."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults_harness import FLOW, check_told, command, feed

from headway.cli.main import main

BOTH = pytest.mark.parametrize("workers", [1, 2])
DAC_OVERRIDE, DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("flow.py").write_text(FLOW)
    feed(500)
    return tmp_path


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
        ("engine-1", 0),
        ("engine-1", 0o555),
        ("engine-1/part-0.sqlite3", 0),
        ("engine-1/part-0.sqlite3", 0o444),
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
    [log] = Path("state/engine-1").glob("*.sqlite3")
    log.write_bytes(spoil(log.read_bytes()))
    Path("state/engine-1.sum").unlink()  # As after a crash: with it nothing else would be looked at.
    check_told(
        command("--state", "state", "--workers", workers),
        3,
        "the recovery log in state/engine-1 is damaged",
        "one backup",
    )
    log.unlink()
    check_told(command("--state", "state", "--workers", workers), 3, "the recovery log in state/engine-1 is not whole")


@pytest.mark.parametrize("name", ["groups", "flow.json", "lock"])
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
        assert re.search(r"source 'clicks': it was read .*, now .*: its positions mean", capsys.readouterr().err)


@BOTH
@pytest.mark.parametrize("spoilt", ["replaced", "named twice"])
def test_an_error_of_an_input_is_one_whoever_finds_it(spoilt: str, workers: int) -> None:
    """A class that only Headway's own code knows is told as the public one that it belongs to."""
    assert main(["run", "flow.py", "--quiet", "--state", "state", "--key-groups", "4"]) == 0
    if spoilt == "replaced":
        Path("in-0.jsonl").write_text(Path("in-1.jsonl").read_text())
    else:
        os.link("in-0.jsonl", "in-2.jsonl")
    done = command("--state", "state", "--workers", workers, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["exit_code"], error["type"]) == (4, 4, "InputError"), done.stderr
