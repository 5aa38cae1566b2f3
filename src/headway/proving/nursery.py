"""The process whose children are the runs: it has imported everything, so that a run begins in some milliseconds.

`python -m headway.proving.nursery` reads orders from one pipe and tells by another one what became of them. For each it
forks. A child is a process of its own, with a copy of what was imported: it runs one life of a flow as `headway run`
does, and may be killed as one. Hash seeds belong to an interpreter, so each has a nursery of its own.

The flow is imported before the fork, in the state in which an import leaves it: so each life has its own globals.
Rejected: starting an interpreter for each life, which takes half a second where a life takes a tenth; and threads, of
which none can be killed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Optional

import msgspec

from headway.basics.crashpoints import watch
from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import HeadwayError, UserCodeError, public_class
from headway.proving.losing import finish_losing, keep, lose
from headway.proving.replay import Pace, Proven, rewired
from headway.proving.sample import Sample
from headway.runtime.directory import StateDirectory
from headway.runtime.opening import rescale
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.runtime.supervisor import run_cluster

__all__ = ["DONE", "FAILED", "Order", "Told"]

DONE, FAILED = 0, 1
RESULT = "result.json"
LOST = "lost"
"""The file in which a life says from what it has gone on, where its directory was lost."""
_MODULE = """from headway.proving.replay import proven_flow

flow = proven_flow({folder!r})
"""


class Order(msgspec.Struct, frozen=True):
    """One life."""

    folder: str
    """That of the trial."""
    sample: str
    crashes: str
    pace: Pace
    workers: int
    epoch_ms: int
    key_groups: int
    drain: bool
    keeps: str = ""
    loses: bool = False


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a nursery says: the process of a life, or how that ended, as the operating system tells it."""

    pid: int = 0
    status: Optional[int] = None
    rss_bytes: int = 0
    """The most memory that it had."""
    failure: str = ""
    """Why the flow cannot be imported."""


class Result(msgspec.Struct, frozen=True):
    """What a life that ended by itself leaves."""

    counts: dict[str, Any]
    error: str = ""
    kind: str = ""
    """The class of the error, when one ended the run."""
    open_files: int = 0


def main(commands_fd: int, answers_fd: int, ref: str, parameters: dict[str, str]) -> None:
    """Serve orders until nobody gives any."""
    # Ctrl-C goes to all processes of a terminal: it is the parent that decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(told: Told) -> None:
        os.write(answers_fd, msgspec.json.encode(told) + b"\n")

    try:
        flow = load_flow(FlowSpec(ref, parameters))
    except HeadwayError as error:
        tell(Told(failure=f"{error}"))
        return
    samples: dict[str, Sample] = {}
    gc.collect()
    gc.freeze()
    with os.fdopen(commands_fd, "rb") as commands:
        for line in commands:
            order = msgspec.json.decode(line, type=Order)
            if order.sample not in samples:
                samples = {order.sample: Sample.load(Path(order.sample))}
            pid = os.fork()
            if pid == 0:
                os.close(answers_fd)
                os.close(commands.fileno())
                _live(order, flow, samples[order.sample], ref, parameters)
            tell(Told(pid=pid))
            _, status, used = os.wait4(pid, 0)
            tell(Told(status=status, rss_bytes=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)))


def _live(order: Order, flow: Flow, sample: Sample, ref: str, parameters: dict[str, str]) -> NoReturn:
    """One life, in the child: it ends with the process."""
    code = FAILED
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        folder = Path(order.folder)
        _divert(folder / "life.log")
        _prepare(order, folder)
        (Path(order.crashes) / "run").write_text(str(os.getpid()))
        watch(order.crashes)
        Proven(ref, parameters, order.sample, order.pace).store(folder)
        result = _run(order, rewired(flow, sample, order.pace, folder), folder)
        (folder / RESULT).write_bytes(msgspec.json.encode(result))
        code = FAILED if result.error else DONE
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _prepare(order: Order, folder: Path) -> None:
    """Keep what the last life has left, or lose it: where nobody watches yet, so that no point is reached."""
    finish_losing(folder)
    if order.keeps:
        keep(folder, order.keeps)
    if order.loses and (how := lose(folder)):
        (folder / LOST).write_text(how)


def _run(order: Order, flow: Flow, folder: Path) -> Result:
    options = RunOptions(
        folder / "state",
        workers=order.workers,
        epoch_ms=order.epoch_ms,
        key_groups=order.key_groups,
        drain=order.drain,
    )
    try:
        with StopFlag().on_signals() as stop:
            directory = StateDirectory(options.state_dir)
            if order.drain and _is_closed(directory):
                # The life before was killed once everything had been done.
                return Result({})
            _divide(directory, order.key_groups)
            if order.workers == 1:
                result = run_flow(flow, options, stop=stop)
            else:
                (folder / "proven.py").write_text(_MODULE.format(folder=str(folder)))
                result = run_cluster(FlowSpec(str(folder / "proven.py")), options, stop=stop)
    except HeadwayError as error:
        cause = f": {error.__cause__!r}" if isinstance(error, UserCodeError) and error.__cause__ is not None else ""
        return Result({}, f"{error}{cause}", public_class(error).__name__)
    return Result(_counts(result), open_files=_open_files())


def _is_closed(directory: StateDirectory) -> bool:
    found = directory.manifest()
    return found is not None and found.drain is not None and found.drain.done


def _divide(directory: StateDirectory, key_groups: int) -> None:
    """Divide the state otherwise, where it is; as `headway state rescale` does."""
    found = directory.manifest()
    if found is not None and (found.key_groups != key_groups or found.moves):
        with directory.locked():
            rescale(directory, key_groups=key_groups, slots=None)


def _open_files() -> int:
    """How many descriptors this process has; 0 where the system does not tell."""
    own = Path("/proc/self/fd")
    return len(list(own.iterdir())) if own.is_dir() else 0


def _counts(result: RunResult) -> dict[str, Any]:
    stats = result.stats
    return {
        "events": stats.events,
        "late": stats.late,
        "dead letters": stats.dead_letters,
        "keys": stats.keys,
    }


def _divert(path: Path) -> None:
    """Let what the life prints go to a file: the terminal is the parent's."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with suppress(ValueError, OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], msgspec.json.decode(sys.argv[4], type=dict[str, str]))
