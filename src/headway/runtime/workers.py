"""The worker processes that one supervisor starts on its machine: how they begin, what they say, and how they end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Optional

import msgspec

from headway.basics.utf8 import is_utf8
from headway.declare.loading import FlowSpec
from headway.errors import ClusterError, HeadwayError
from headway.runtime.job_options import JobOptions
from headway.runtime.peers import connections, has_listened
from headway.runtime.stats import WorkerStats
from headway.runtime.worker import READY, WorkerFailure, WorkerSpec, error_of
from headway.state.files import state_files
from headway.state.private import make_private, open_private, read_private

__all__ = ["LocalWorkers", "WorkerLost"]

_POLL_S: Final = 0.02
_REST_S: Final = 0.1
_START_S: Final = 60.0
"""How long a worker may take to start."""
_CAUSE_S: Final = 1.0
"""How long to wait for a worker that knows more, when others say only that a peer is gone."""


class WorkerLost(Exception):
    """A worker died or hangs; the others must be ended and all be started again."""


@dataclass
class _Child:
    """One worker process, as the supervisor sees it."""

    index: int
    process: subprocess.Popen[bytes]
    command_fd: int
    status_fd: int
    log_path: Path
    heard: bytes = b""
    """What it has said so far: that it is ready, then why it failed."""

    def listen(self) -> bytes:
        """All that the worker has said until now."""
        with suppress(BlockingIOError):
            while said := os.read(self.status_fd, 65_536):
                self.heard += said
        return self.heard

    def failure(self) -> Optional[HeadwayError]:
        """The error that the worker ended with; None when it died without a word."""
        said = self.listen().removeprefix(READY)
        return error_of(msgspec.json.decode(said, type=WorkerFailure)) if said else None

    def say(self, word: str) -> None:
        with suppress(BrokenPipeError):  # It is gone: the exit code tells.
            os.write(self.command_fd, f"{word}\n".encode())

    def close(self) -> None:
        os.close(self.command_fd)
        os.close(self.status_fd)


class LocalWorkers:
    """Those workers of a cluster that run on this machine; they end with the process that has started them.

    `run_dir` is where they leave their statistics and logs, often enough for who takes them to hang after a silence of
    `hang_after_ms`. They hold the lock of the state directory, `lock_fd`, too,
    so that no run starts while one of them is left.
    """

    def __init__(self, spec: FlowSpec, run_dir: Path, lock_fd: int, hang_after_ms: int) -> None:
        self._spec = spec
        self._run_dir = run_dir
        self._hang_after_ms = hang_after_ms
        self._lock_fd = lock_fd
        self._children: list[_Child] = []

    def clear(self) -> None:
        """Make the folder of the run, and forget the statistics of workers that were there before."""
        with state_files(self._run_dir):
            make_private(self._run_dir)
            for old in self._run_dir.glob("worker-*.json"):
                old.unlink()

    def start(self, indices: Iterable[int], addresses: Sequence[str], options: JobOptions) -> None:
        """Start these of the processes that will listen at `addresses`. They get ready, and wait.

        Raises `ClusterError` where the machine has no room for another process.
        """
        for index in indices:
            self._children.append(self._start(index, addresses, replace(options, worker=index)))

    def await_ready(self) -> None:
        """Wait until all have said that they are ready. Raises as `check_alive`, `WorkerLost` after a minute."""
        for child in self._children:
            self._await(child, partial(_said_ready, child), "did not get ready")

    def join(self, key: bytes, addresses: Sequence[str], *, is_last: Callable[[int], bool]) -> None:
        """Let the workers join in order, each once the one before listens: a failed dial costs a second.

        Nobody waits for the one that `is_last` of the cluster, which need not listen. What they send to each other is
        sealed with `key`; that goes through a pipe, as other users can read command lines and environments.
        """
        for child in self._children:
            child.say(f"key {key.hex()}")
            child.say("go")
            if not is_last(child.index):
                port = int(addresses[child.index].rpartition(":")[2])
                self._await(child, partial(_has_listened, port), "does not listen")

    def await_all(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for something that concerns all workers; `what` says which it is when it has not come in a minute."""
        self._await(self._children[0], happened, what)

    def say(self, word: str) -> None:
        """Say something to all of them, such as `trust` or `stop`."""
        for child in self._children:
            child.say(word)

    @property
    def pids(self) -> list[int]:
        """The numbers of their processes."""
        return [child.process.pid for child in self._children]

    def are_running(self) -> bool:
        """Whether any of them has not ended."""
        return any(child.process.poll() is None for child in self._children)

    def rest(self) -> None:
        """Sleep until a worker says something, or ends, which ends what it can say; a tenth of a second at most."""
        speakers = [child.status_fd for child in self._children if child.process.poll() is None]
        said, _, _ = select.select(speakers, [], [], _REST_S)
        if said:
            time.sleep(_POLL_S)

    def check_alive(self) -> None:
        """Raise when workers have ended badly: the error that one of them left, or `WorkerLost`."""
        for child in self._children:
            child.listen()  # A worker that has much to say must not wait until somebody takes it.
        if not any(child.process.poll() for child in self._children):
            return
        # When one goes, its peers follow, and say that it is gone: the first to be seen need not be the cause.
        until = time.monotonic() + _CAUSE_S
        while True:
            time.sleep(_POLL_S)
            lost = [child for child in self._children if child.process.poll()]
            failures = {child.index: child.failure() for child in lost}
            for error in failures.values():
                if error is not None and not isinstance(error, ClusterError):
                    raise error
            told = all(isinstance(error, ClusterError) for error in failures.values())
            if not told or len(lost) == len(self._children) or time.monotonic() > until:
                break
        for child in lost:
            if failures[child.index] is None:
                how = _how(child.process.returncode)
                msg = f"worker {child.index} (process {child.process.pid}) {how}{_last_words(child.log_path)}"
                raise WorkerLost(msg)
        raise WorkerLost(str(failures[lost[0].index]))

    def end(self) -> None:
        """End those that have not ended, at once."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGKILL)
        for child in self._children:
            child.process.wait()
            child.close()
        self._children.clear()

    def statistics(self, indices: Iterable[int]) -> list[WorkerStats]:
        """What these workers have left of themselves, those that have left anything."""
        found = []
        for index in indices:
            path = self._run_dir / f"worker-{index}.json"
            with state_files(path, "read"), suppress(FileNotFoundError):
                found.append(msgspec.json.decode(read_private(path), type=WorkerStats))
        return found

    def _start(self, index: int, addresses: Sequence[str], options: JobOptions) -> _Child:
        command_read, command_write = os.pipe()
        status_read, status_write = os.pipe()
        spec = WorkerSpec(
            flow_ref=self._spec.ref,
            search_path=[place for place in sys.path if is_utf8(place)],
            parameters=dict(self._spec.parameters),
            options=_plain(asdict(options)),
            addresses=list(addresses),
            index=index,
            run_dir=str(self._run_dir),
            hang_after_ms=self._hang_after_ms,
            final=options.drain_to_ms is not None,
            command_fd=command_read,
            status_fd=status_write,
        )
        log_path = self._run_dir / f"worker-{index}.log"
        with state_files(log_path, "write"):
            log_fd = open_private(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "headway.runtime.worker", msgspec.json.encode(spec).decode()],
                pass_fds=(command_read, status_write, self._lock_fd),
                stderr=log_fd,
                start_new_session=True,
            )
        except OSError as error:
            os.close(command_write)
            os.close(status_read)
            msg = f"worker {index} cannot be started: {error.strerror}; free memory or processes, then run again"
            raise ClusterError(msg) from error
        finally:
            for descriptor in (command_read, status_write, log_fd):
                os.close(descriptor)
        os.set_blocking(status_read, False)
        return _Child(index, process, command_write, status_read, log_path)

    def _await(self, child: _Child, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _START_S
        while not happened():
            self.check_alive()
            if time.monotonic() > until:
                msg = f"worker {child.index} {what} within {_START_S:.0f} s"
                raise WorkerLost(msg)
            time.sleep(0.002)


def _plain(options: Mapping[str, object]) -> dict[str, object]:
    """Options with paths as text."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


def _said_ready(child: _Child) -> bool:
    return child.listen().startswith(READY)


def _has_listened(port: int) -> bool:
    """Whether a worker has opened the port. To connect would make a worker take us for a peer."""
    table = connections()
    if table is None:
        time.sleep(0.2)  # This system does not tell: give the worker a moment instead.
        return True
    return has_listened(table, port)


def _how(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _last_words(path: Path) -> str:
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f": {lines[-1].strip()[:300]}" if lines else ""
