"""Processes that run steps: spawned when they are needed, kept for the next step, killed where a step does not end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final, Optional

from headway.functions.history import Failure
from headway.steps.attempt import Outcome, Work
from headway.steps.frames import framed, read_frame
from headway.steps.places import CodePlace
from headway.steps.process_protocol import Beaten, Cancel, Do, decode_told

__all__ = ["ProcessRun", "Processes"]

_COMMAND: Final = ("-m", "headway.steps.process_child")


class Processes:
    """The processes of one hub. Steps run in them by way of `ProcessRun`, each of which blocks a thread."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[bytes]] = []
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self) -> subprocess.Popen[bytes]:
        """A process that runs nothing, the one that was used last."""
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if found.poll() is None:
                    return found
                self._forget(found)
            assert not self._is_closed, "nothing runs in processes that were closed"
            made = subprocess.Popen([sys.executable, *_COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._all.add(made)
            return made

    def give_back(self, process: subprocess.Popen[bytes]) -> None:
        """It has done its step, and may do another one."""
        with self._lock:
            if not self._is_closed:
                self._idle.append(process)

    def bury(self, process: subprocess.Popen[bytes]) -> int:
        """It is of no use any more: returns its exit code, as that of `Popen`."""
        process.kill()
        code = process.wait()
        with self._lock:
            self._forget(process)
        return code

    def close(self) -> None:
        """End all, those that run a step too. Takes what it takes to kill a process."""
        with self._lock:
            self._is_closed = True
            ending = list(self._all)
            self._idle.clear()
        for process in ending:
            process.kill()
        for process in ending:
            process.wait()
            with self._lock:
                self._forget(process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        self._all.discard(process)
        for pipe in (process.stdin, process.stdout):
            # Buffered bytes for a process that is gone cannot be flushed.
            with suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]


class ProcessRun:
    """One attempt in a process. `run` blocks; `cancel` and `kill` are for other threads."""

    def __init__(self, processes: Processes, place: CodePlace, work: Work, beat: Callable[[bytes], None]) -> None:
        self._processes = processes
        self._place = place
        self._work = work
        self._beat = beat
        self._lock = threading.Lock()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._is_cancelled = False

    def run(self) -> Outcome:
        """The outcome. A process that dies is a failure of this attempt alone."""
        process = self._processes.take()
        with self._lock:
            if self._is_cancelled:
                self._processes.give_back(process)
                return _given_up()
            self._process = process
            has_begun = self._say(process, Do(self._place, self._work, sys.path))
        told: Any = None
        pipe = _pipe(process.stdout)
        while has_begun and (data := read_frame(pipe)) is not None:
            told = decode_told(data)
            if not isinstance(told, Beaten):
                break
            self._beat(told.details)
            told = None
        with self._lock:
            self._process = None
        if told is None:
            return _died(self._processes.bury(process), self._work.name)
        self._processes.give_back(process)
        outcome: Outcome = told.outcome
        return outcome

    def cancel(self) -> None:
        """Tell the step that nobody waits for it."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._say(self._process, Cancel(self._work.key, self._work.attempt))

    def kill(self) -> None:
        """End its process, if it still runs there."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    @staticmethod
    def _say(process: subprocess.Popen[bytes], message: Any) -> bool:
        """Whether it could be said: a process may be gone."""
        pipe = _pipe(process.stdin)
        try:
            pipe.write(framed(message))
            pipe.flush()
        except (OSError, ValueError):
            return False
        return True


def _pipe(pipe: Optional[IO[bytes]]) -> Any:
    assert pipe is not None
    return pipe


def _given_up() -> Outcome:
    return Outcome(failure=Failure("CancelledError", "nobody waits for it any more", non_retryable=True))


def _died(code: int, step: str) -> Outcome:
    how = f"with the exit code {code}"
    if code < 0:
        with suppress(ValueError):
            how = f"by {signal.Signals(-code).name}"
    failure = Failure("ProcessDied", f"the process of step {step!r} has ended {how}")
    return Outcome(failure=failure, types=("ProcessDied",))
