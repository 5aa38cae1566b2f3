"""Measuring whole processes: wall time, CPU time and memory of a program that is started for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import msgspec

from benchmarks.procfs import busy_seconds, memory_of, tree_of

__all__ = ["ROOT", "BenchmarkError", "Run", "gone", "measure", "start"]

ROOT: Final = Path(__file__).resolve().parent.parent
_LOOK_S: Final = 0.02


class BenchmarkError(Exception):
    """A measured process failed, or its results are wrong: there is no figure."""


@dataclass(frozen=True)
class Run:
    """One measured process, its children included."""

    started_s: float
    """On the monotonic clock, which all processes share."""
    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Of the largest process."""
    others: float
    """Cores that the rest of the machine kept busy meanwhile."""
    answer: dict[str, Any]
    """What the process told about itself, on its last line."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the start, and bytes resident in all processes then."""
    changes: list[float] = field(default_factory=list)
    """When the watched directory's files changed, in seconds; close together counts as once."""

    @property
    def standstill_s(self) -> float:
        """The longest time in which even who looked at the process did not run: the machine itself stood still."""
        times = [time_s for time_s, _ in self.memory]
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    @property
    def running_s(self) -> float:
        """Without start-up and imports."""
        return float(self.answer["running_s"])


def start(
    arguments: Sequence[str], out: IO[bytes], errors: IO[bytes], python: str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start a module of this package, or of any other, as `python -m ARGUMENTS`, in the repository."""
    return subprocess.Popen([python, "-m", *arguments], cwd=ROOT, stdout=out, stderr=errors)


def gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it can still be waited for afterwards."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def measure(
    arguments: Sequence[str],
    *,
    watch: Path | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None,
    python: str = sys.executable,
) -> Run:
    """Run `python -m ARGUMENTS` to its end. Raises `BenchmarkError` with its last words when it fails.

    `watch` is a directory whose changes are noted; looking every 20 ms costs the machine next to nothing.
    `meanwhile` is called with the running process, for what does not end by itself. `python` is the interpreter, for
    what is installed in an environment of its own.
    """
    with TemporaryFile() as out, TemporaryFile() as errors:
        busy_before_s, started_s = busy_seconds(), time.monotonic()
        process = start(arguments, out, errors, python)
        sampler = _Sampler(process.pid, started_s, watch)
        sampler.start()
        try:
            if meanwhile is not None:
                meanwhile(process)
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            sampler.end()
        wall_s = time.monotonic() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            msg = f"{' '.join(arguments)[:200]} ended with {process.returncode}: {_tail(errors)}"
            raise BenchmarkError(msg)
        answer = msgspec.json.decode(_tail(out) or "{}", type=dict[str, Any])
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(
        started_s=started_s,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=max(sampler.peak_bytes, answer.get("peak_bytes", 0)),
        others=max(0.0, (busy_seconds() - busy_before_s - cpu_s) / wall_s),
        answer=answer,
        memory=sampler.memory,
        changes=sampler.changes,
    )


def _tail(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


class _Sampler(threading.Thread):
    """Looks at a process and its children now and then."""

    def __init__(self, pid: int, started_s: float, watch: Path | None) -> None:
        super().__init__(name="sampler", daemon=True)
        self.peak_bytes = 0
        self.memory: list[tuple[float, int]] = []
        self.changes: list[float] = []
        self._pid = pid
        self._started_s = started_s
        self._watch = watch
        self._changed_ns = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_LOOK_S):
            now_s = time.monotonic() - self._started_s
            found = [memory_of(pid) for pid in tree_of(self._pid)]
            self.peak_bytes = max([self.peak_bytes, *(memory.peak for memory in found)])
            self.memory.append((now_s, sum(memory.now for memory in found)))
            if self._watch is not None:
                self._look(self._watch, now_s)

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()

    def _look(self, directory: Path, now_s: float) -> None:
        try:
            changed_ns = max((entry.stat().st_mtime_ns for entry in os.scandir(directory)), default=0)
        except FileNotFoundError:  # Not there yet, or a file went away between the two calls.
            return
        if changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            self.changes.append(now_s)
