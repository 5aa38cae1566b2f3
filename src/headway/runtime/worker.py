"""One worker process of a cluster: `python -m headway.runtime.worker`, started by the supervisor.

It talks with the supervisor over two inherited pipes: it says `ready`, waits for `go`, reads nothing before `trust`,
stops gracefully at `stop`, and ends at once when the supervisor is gone. When it fails, the reason goes through the
pipe as well: the disk may be full.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Optional

import msgspec

from headway import errors
from headway.basics.tracebacks import user_frames
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import HeadwayError, InternalError, UserCodeError, public_class
from headway.runtime.engine import execute
from headway.runtime.inspect import worker_stats
from headway.runtime.job import Job
from headway.runtime.job_options import JobOptions
from headway.runtime.run import compile_flow
from headway.state.files import state_files
from headway.state.manifest import Manifest
from headway.state.private import write_private

__all__ = ["READY", "WorkerFailure", "WorkerSpec", "error_of", "failure_of"]

_STATS_S = 0.5
_CALM_STATS_S = 2.0
"""While the flow is calm, little changes: statistics are left less often."""
_BEATS = 4
"""How often at least a worker shows a sign of life in the time after which it would count as hanging."""
READY = b"ready\n"
_MESSAGE_MAX = 20_000
"""Characters of a message that crosses: it must fit into the pipe, whoever reads it."""
_ORPHANED = 75
"""Exit code of a worker whose supervisor is gone."""


class WorkerSpec(msgspec.Struct, frozen=True):
    """What a worker process must know."""

    flow_ref: str
    search_path: list[str]
    """Where the run imports from: a flow in a package is found by the name of its module."""
    parameters: dict[str, str]
    options: dict[str, Any]
    """`JobOptions`, with paths as text."""
    addresses: list[str]
    index: int
    run_dir: str
    """Where the worker leaves its statistics."""
    hang_after_ms: int
    """How long it may show no sign of life."""
    final: bool
    """Whether to tell the horizon at the end: the books are being closed."""
    command_fd: int
    status_fd: int


class WorkerFailure(msgspec.Struct, frozen=True):
    """An error that ended a worker, as it crosses to the supervisor."""

    kind: str
    message: str
    cause: Optional[str] = None


def failure_of(error: BaseException) -> WorkerFailure:
    """An error as plain values; of its cause the frames in the flow's code.

    What is no error of Headway's is one in Headway: it comes with its whole traceback, and would come again.
    """
    if not isinstance(error, HeadwayError):
        text = "".join(traceback.format_exception(error)).rstrip()
        return WorkerFailure(InternalError.__name__, f"unexpected {type(error).__name__} in a worker process\n{text}")
    cause = user_frames(error.__cause__) if isinstance(error, UserCodeError) and error.__cause__ else None
    return WorkerFailure(public_class(error).__name__, str(error), cause)


def error_of(failure: WorkerFailure) -> HeadwayError:
    """The error that a worker ended with, made anew: of the nearest public class."""
    error: HeadwayError = getattr(errors, failure.kind)(failure.message)
    if failure.cause:
        error.__cause__ = RuntimeError("in the worker process:\n" + failure.cause)
    return error


class _Commands:
    """The supervisor's words, read by a thread."""

    def __init__(self, fd: int) -> None:
        self.go = threading.Event()
        self.trust = threading.Event()
        """All connections lead to workers of this run."""
        self.stop = threading.Event()
        self.key = b""
        """Seals what the workers of this attempt send to each other; known once `go` is set."""
        self._fd = fd
        threading.Thread(target=self._listen, name="headway-commands", daemon=True).start()

    def _listen(self) -> None:
        with os.fdopen(self._fd, "r", encoding="ascii") as lines:
            for line in lines:
                if line.strip() == "go":
                    self.go.set()
                elif line.strip() == "trust":
                    self.trust.set()
                elif line.strip() == "stop":
                    self.stop.set()
                elif line.startswith("key "):
                    self.key = bytes.fromhex(line[4:])
        os._exit(_ORPHANED)


class _Teller:
    """Leaves the worker's statistics twice a second, from a thread of its own, as long as its block lasts.

    While the flow is calm, it leaves them each two seconds, or sooner where a sign of life is wanted sooner: to write
    them costs a tenth of what all else does then.

    The engine's thread writes no file for it, and what is left is not old when nothing has reached this worker for
    long. When something last moved is what the engine's thread has said: a worker that hangs does not seem to live.
    """

    def __init__(self, job: Job, spec: WorkerSpec) -> None:
        self._job = job
        self._index = spec.index
        self._path = Path(spec.run_dir) / f"worker-{spec.index}.json"
        self._beat_ms = job.clock_ms()
        self._calm_every = calm_every(spec.hang_after_ms)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headway-statistics", daemon=True)

    def beat(self) -> None:
        """Something moves."""
        self._beat_ms = self._job.clock_ms()

    def tell(self, *, final: bool = False) -> None:
        """Leave them now. Raises `StateError` when the disk refuses."""
        stats = msgspec.structs.replace(worker_stats(self._job, self._index, final=final), beat_ms=self._beat_ms)
        with state_files(self._path, "write"):
            write_private(self._path, msgspec.json.encode(stats))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        left_out = 0
        while not self._ended.wait(_STATS_S):
            left_out += 1
            if self._job.is_calm() and left_out < self._calm_every:
                continue
            left_out = 0
            try:
                self.tell()
            except BaseException as error:
                self._job.failed(self._reason_of(error))
                return

    def _reason_of(self, error: BaseException) -> BaseException:
        """That the state directory is not what it was, where that is why nothing can be left in it; else the error."""
        try:
            self._job.premises.check()
        except HeadwayError as reason:
            return reason
        return error


def calm_every(hang_after_ms: int) -> int:
    """How many times less often a worker leaves its statistics while the flow is calm.

    >>> calm_every(60_000), calm_every(4_000), calm_every(2_000)
    (4, 2, 1)
    """
    return max(1, int(min(_CALM_STATS_S, hang_after_ms / 1_000 / _BEATS) / _STATS_S))


def work(spec: WorkerSpec) -> None:
    """Run one worker to its end."""
    commands = _Commands(spec.command_fd)
    sys.path.extend(place for place in spec.search_path if place not in sys.path)
    flow = load_flow(FlowSpec(spec.flow_ref, spec.parameters))
    board = spec.options["board_path"]
    options = JobOptions(
        **{
            **spec.options,
            "state_dir": Path(spec.options["state_dir"]),
            "board_path": None if board is None else Path(board),
        }
    )
    plan = compile_flow(flow, options.state_dir)
    manifest = Manifest.load(options.state_dir)
    assert manifest is not None
    job = Job(plan, manifest, options, stopping=commands.stop.is_set)
    teller = _Teller(job, spec)
    job.admitted = commands.trust.wait
    job.on_beat = teller.beat
    job.on_failure = partial(_fail, spec)  # Peers would hang or panic, so it ends at once.
    os.write(spec.status_fd, READY)
    commands.go.wait()
    with job:
        with teller:
            execute(job, index=spec.index, addresses=spec.addresses, key=commands.key)
        teller.tell(final=spec.final)


def _fail(spec: WorkerSpec, error: BaseException) -> NoReturn:
    """Tell the supervisor, which sees to the others, and end at once. The log gets the traceback."""
    failure = failure_of(error)
    if len(failure.message) > _MESSAGE_MAX:
        failure = msgspec.structs.replace(failure, message=failure.message[:_MESSAGE_MAX] + "…")
    os.write(spec.status_fd, msgspec.json.encode(failure))
    with suppress(OSError):  # The log may be on the disk that is full.
        traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(getattr(error, "exit_code", InternalError.exit_code))


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spec = msgspec.json.decode(sys.argv[1], type=WorkerSpec)
    try:
        work(spec)
        sys.stdout.flush()
    except BaseException as error:
        _fail(spec, error)
    os._exit(0)


if __name__ == "__main__":
    main()
