"""Real runs in real processes, and how to end them: for the tests of crashes and of the supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Optional

FLOWS = Path(__file__).parents[1] / "flows"
PATIENCE_S = 60.0
"""How long a busy machine may take for what usually takes a moment."""


class Started:
    """A run of `headway run` in a process of its own; `arguments` follow the command."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.directory = directory
        self.log = directory / "run.err"
        command = [sys.executable, "-m", "headway", "run", *map(str, arguments)]
        with self.log.open("wb") as log, (directory / "run.out").open("wb") as out:
            self.process = subprocess.Popen(command, cwd=directory, stdout=out, stderr=log, start_new_session=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        """The worker processes that are alive."""
        return [pid for pid in children(self.pid) if is_alive(pid)]

    def check_running(self) -> None:
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log.read_text()}"

    def await_workers(self, count: int) -> list[int]:
        """The workers, once all have been started."""
        await_true(lambda: self.process.poll() is not None or len(self.workers()) == count, f"{count} workers")
        self.check_running()
        return self.workers()

    def kill(self, pids: Iterable[int]) -> None:
        """SIGKILL, in the given order; returns at once."""
        for pid in pids:
            send(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill whatever is left, and wait until it is gone."""
        pids = [*self.workers(), self.pid]
        self.kill(pids)
        self.process.wait()
        await_true(lambda: not any(map(is_alive, pids)), f"the end of {pids}")

    def outcome(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """The exit code and what was told on stderr, once the run has ended."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
            raise
        return code, self.log.read_text()

    def summary(self) -> dict[str, Any]:
        """What a run with `--json` that must end well has told."""
        code, err = self.outcome()
        assert code == 0, err
        told: dict[str, Any] = json.loads((self.directory / "run.out").read_text())
        return told


def run(directory: Path, *arguments: object) -> dict[str, Any]:
    """One run to its end; returns its summary."""
    return Started(directory, *arguments, "--json").summary()


def send(pid: int, number: int) -> None:
    """Signal a process that may have ended by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def children(pid: int) -> list[int]:
    """The processes that a process has started, dead ones included until they are waited for."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_stopped(pid: int) -> bool:
    """Whether all threads of a process stand still. SIGSTOP only asks for it: on a busy machine some go on a while."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)


def await_true(
    condition: Callable[[], bool],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    describe: Callable[[], str] = lambda: "",
) -> float:
    """Poll another process's doings; returns how long it took, in seconds. `describe` tells more when it is in vain."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, f"waited {within_s} s in vain for {what}\n{describe()}"
        time.sleep(0.002)
    return time.monotonic() - started


def committed_ns(state_dir: Path) -> Optional[int]:
    """When the engine last wrote to its recovery log: changes with each durable epoch."""
    times = []
    for path in (state_dir / "engine-1").glob("*.sqlite3*"):
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:  # SQLite removes its log files when it ends.
            continue
    return max(times, default=None)


def await_epoch(started: Started, state_dir: Path, before: Optional[int]) -> Optional[int]:
    """Wait for the next write to the recovery log: the first ones are those of the start, then each is an epoch."""
    await_true(lambda: started.process.poll() is not None or committed_ns(state_dir) != before, "a durable epoch")
    return committed_ns(state_dir)
