"""What is asked of an engine: to be started, to start functions, and to be killed with all that belongs to it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.peers.notes import ACCEPTED, Notes
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.procfs import cpu_of, tree_of

__all__ = ["APPS", "AppEngine", "Engine", "HttpStarts", "left_over"]

APPS: Final = Path(__file__).parent / "apps"
_READY_S: Final = 60.0
_STARTERS: Final = 16
Start = tuple[str, bytes, dict[str, str]]


class Engine(ABC):
    """One engine with its state in `place`, and what is installed for it in `tools`."""

    name: str
    note = ""
    """What there is to say about how it was set up."""

    def __init__(self, place: Path, tools: Path) -> None:
        self.place = place
        self.tools = tools
        self.notes = Notes(place / "times")
        self.environment = {**os.environ, "HEADWAY_BENCH_TIMES": str(self.notes.path)}
        self._processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    @abstractmethod
    def missing(cls, tools: Path) -> str:
        """The command that brings what is not installed; empty where all is there."""

    @abstractmethod
    def start(self) -> None:
        """Start it, on the state that is there, and return when functions can be started."""

    @abstractmethod
    def begin(self, numbers: Iterable[int], pause_ms: int = 0) -> None:
        """Start functions, without waiting for anything."""

    @property
    @abstractmethod
    def accepted(self) -> int:
        """How many starts the engine has acknowledged, since `start`."""

    def cpu_s(self) -> float:
        """CPU time of all its processes that live."""
        found = 0.0
        for pid in {pid for process in self._processes for pid in tree_of(process.pid)}:
            try:
                found += cpu_of(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def kill(self) -> None:
        """SIGKILL of everything, at once."""
        pids = {pid for process in self._processes for pid in tree_of(process.pid)}
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
        self._processes.clear()
        until_s = time.monotonic() + _READY_S
        while any(map(left_over, pids)) and time.monotonic() < until_s:
            time.sleep(0.005)

    def run(self, command: Sequence[str], *, pipe: bool = False, **environment: str) -> subprocess.Popen[bytes]:
        """Start one of its processes; what it says is in `place`."""
        with (self.place / f"log-{len(list(self.place.glob('log-*')))}").open("wb") as log:
            process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def await_ready(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until it can be used. Raises `BenchmarkError` with its last words where it ends instead."""
        until_s = time.monotonic() + _READY_S
        while not ready():
            ended = [process.args for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > until_s:
                logs = [path.read_text(errors="replace")[-500:] for path in sorted(self.place.glob("log-*"))]
                msg = f"{self.name}: {what} did not come: {' '.join(logs)}"
                raise BenchmarkError(msg)
            time.sleep(0.01)


class HttpStarts:
    """Starts by POST, over some connections that are kept, each from a thread of its own."""

    def __init__(self, port: int, width: int = _STARTERS) -> None:
        self.accepted = 0
        self._port = port
        self._lock = threading.Lock()
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(width)
        self._connections: list[http.client.HTTPConnection] = []
        self._failed: list[BaseException] = []

    def begin(self, starts: Iterable[Start]) -> None:
        """Post them, without waiting for answers. Raises what a former one has raised."""
        if self._failed:
            raise self._failed[0]
        for start in starts:
            self._pool.submit(self._post, start).add_done_callback(self._done)

    def close(self, *, at_once: bool = False) -> None:
        """Wait until all that was given is posted, unless it is to end `at_once`. Raises what a post has raised."""
        self._pool.shutdown(cancel_futures=at_once)
        for connection in self._connections:
            connection.close()
        if self._failed and not at_once:
            raise self._failed[0]

    def _post(self, start: Start) -> None:
        path, body, headers = start
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._connections.append(connection)
        connection.request("POST", path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        said = answer.read()
        if not 200 <= answer.status < 300:
            msg = f"a start was answered with {answer.status}: {said[:200]!r}"
            raise BenchmarkError(msg)
        with self._lock:
            self.accepted += 1

    def _done(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._failed.append(error)


class AppEngine(Engine):
    """An engine whose functions are started by an application, which is told their numbers on its standard input."""

    app: str
    _process: subprocess.Popen[bytes]

    def start_app(self, *arguments: str) -> None:
        """Start the application in the environment of the others, and wait until it says that it is ready."""
        self._ready = self.place / "ready"
        self._ready.unlink(missing_ok=True)
        self._before = self.notes.counts[ACCEPTED]
        python = str(self.tools / "venv" / "bin" / "python")
        self._process = self.run([python, str(APPS / self.app), str(self._ready), *arguments], pipe=True)
        self.await_ready(self._ready.exists, "the application")

    def begin(self, numbers: Iterable[int], pause_ms: int = 0) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{number} {pause_ms}\n" for number in numbers).encode())
        self._process.stdin.flush()

    @property
    def accepted(self) -> int:
        self.notes.look()
        return self.notes.counts[ACCEPTED] - self._before


def has_module(tools: Path, module: str) -> bool:
    """Whether the environment of the others has a package."""
    return any((tools / "venv" / "lib").glob(f"python3.*/site-packages/{module}"))


def install(tools: Path) -> str:
    """The command that brings the packages of the others."""
    venv, wanted = tools / "venv", Path(__file__).parent / "requirements.txt"
    return f"{Path(sys.executable).name} -m venv {venv} && {venv}/bin/pip install -r {wanted}"


def left_over(pid: int) -> bool:
    """Whether a process still runs; one that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
