"""Several workers on one machine: a cluster of processes that live and die together."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Optional

import msgspec

from headway.basics.utf8 import is_utf8
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import ClockError, ClusterError, ForeignPeerError, HeadwayError
from headway.runtime.board import Board
from headway.runtime.cuts import forget_cuts
from headway.runtime.job_options import monotonic_ms
from headway.runtime.peers import connections, free_addresses, has_listened, have_met
from headway.runtime.run import (
    Beside,
    Observer,
    RunOptions,
    RunResult,
    TellChange,
    check_inputs,
    compile_flow,
    finish_run,
    open_state,
    unheard_change,
)
from headway.runtime.seal import KEY_BYTES
from headway.runtime.stats import RunStats, WorkerStats, total
from headway.runtime.stopping import StopFlag
from headway.runtime.worker import READY, WorkerFailure, WorkerSpec, error_of
from headway.state.files import check_room, state_files
from headway.state.lock import Premises
from headway.state.private import make_private, open_private, read_private

__all__ = ["run_cluster"]

log = logging.getLogger("headway")

_POLL_S = 0.02
_REST_S = 0.1
_OBSERVE_S = 0.5
_START_S = 60.0
"""How long a worker may take to start."""
_GOOD_RUN_S = 60.0
"""After this long without a death, and with progress, the count of restarts starts anew."""
_CAUSE_S = 1.0
"""How long to wait for a worker that knows more, when others say only that a peer is gone."""


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


class WorkerLost(Exception):
    """A worker died or hangs; the others must be ended and all be started again."""


@dataclass
class Supervisor:
    """Starts workers, watches them, and starts them all again when one dies or hangs."""

    spec: FlowSpec
    options: RunOptions
    slots: int
    generation: int
    """That of the state directory: which of the engine's logs is ours."""
    stop: StopFlag
    observe: Optional[Observer]
    lock_fd: int
    """The lock of the state directory: workers hold it too, so that no run starts while one is left of this one."""
    premises: Premises
    restarts: int = 0
    resumed_events: Optional[int] = None
    """Records that had been read when the first workers began; None until these have told."""
    _recent: int = 0
    _commits: int = 0
    """How much had been made durable when the workers were last lost."""
    _children: list[_Child] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        """Where workers leave what they have to say."""
        return self.options.directory.run_dir

    def run(self, drain_to_ms: Optional[int]) -> RunStats:
        """Run all workers to their end, whatever becomes of single ones."""
        while True:
            started = time.monotonic()
            try:
                return self._attempt(drain_to_ms)
            except ClockError as error:
                log.warning("%s", error)
            except WorkerLost as loss:
                # A worker whose engine cannot write its log says only that it has stopped, and one that writes to
                # shared memory on a full disk is killed: look whether it would come again.
                check_room(self.options.state_dir)
                self.options.directory.engine_log(self.generation).prepare()
                if self.stop():
                    msg = f"{loss}, while the run was being stopped; the next run goes on from the last durable epoch"
                    raise ClusterError(msg) from None
                self._back_off(loss, time.monotonic() - started)

    def _back_off(self, loss: WorkerLost, lasted_s: float) -> None:
        commits = sum(worker.commits for worker in self._read_stats().workers)
        if lasted_s > _GOOD_RUN_S and commits > self._commits:
            self._recent = 0
        self._commits = max(commits, self._commits)
        if self._recent >= self.options.max_restarts:
            msg = (
                f"{loss}; {self._recent} restarts did not help, so the run gives up. "
                f"What is durable stays: the next run goes on from there. The workers' logs are in {self.run_dir}"
            )
            raise ClusterError(msg)
        wait_s = min(30.0, 0.25 * 2**self._recent)
        self._recent += 1
        self.restarts += 1
        log.warning(
            "%s; restarting all %d workers in %.2g s (restart %d of %d)",
            loss,
            self.options.workers,
            wait_s,
            self._recent,
            self.options.max_restarts,
        )
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not self.stop():
            time.sleep(_POLL_S)

    def _attempt(self, drain_to_ms: Optional[int]) -> RunStats:
        self.premises.check()
        board = self.run_dir / "board"
        with state_files(self.run_dir):
            make_private(self.run_dir)
            for old in self.run_dir.glob("worker-*.json"):
                old.unlink()
            forget_cuts(self.run_dir)
            Board.create(board, self.slots, self.options.workers)
        options = self.options.job_options(drain_to_ms=drain_to_ms, board_path=board)
        addresses = free_addresses(self.options.workers)
        try:
            for index in range(self.options.workers):
                self._children.append(self._start(index, addresses, asdict(options)))
            self._let_go(addresses)
            self._watch()
        finally:
            self._end_all()
            stats = self._read_stats()
            if self.resumed_events is None and len(stats.workers) == self.options.workers:
                self.resumed_events = stats.resumed
        if len(stats.workers) != self.options.workers:
            msg = "a worker ended without saying how"
            raise WorkerLost(msg)
        return stats

    def _start(self, index: int, addresses: list[str], options: dict[str, object]) -> _Child:
        command_read, command_write = os.pipe()
        status_read, status_write = os.pipe()
        spec = WorkerSpec(
            flow_ref=self.spec.ref,
            search_path=[place for place in sys.path if is_utf8(place)],
            parameters=dict(self.spec.parameters),
            options={name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
            addresses=addresses,
            index=index,
            run_dir=str(self.run_dir),
            final=options["drain_to_ms"] is not None,
            command_fd=command_read,
            status_fd=status_write,
        )
        log_path = self.run_dir / f"worker-{index}.log"
        with state_files(log_path, "write"):
            log_fd = open_private(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "headway.runtime.worker", msgspec.json.encode(spec).decode()],
                pass_fds=(command_read, status_write, self.lock_fd),
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

    def _let_go(self, addresses: list[str]) -> None:
        """Let the workers join in order, each once the one before listens: a failed dial costs a second."""
        for child in self._children:
            self._await(child, partial(_said_ready, child), "did not get ready")
        # Not by the command line or the environment: other users of the machine can read those.
        key = os.urandom(KEY_BYTES).hex()
        for child, address in zip(self._children, addresses):
            child.say(f"key {key}")
            child.say("go")
            if child is not self._children[-1]:
                self._await(child, partial(_has_listened, int(address.rpartition(":")[2])), "does not listen")
        self._await(self._children[0], partial(self._have_met, addresses), "has not met the other workers")
        for child in self._children:
            child.say("trust")

    def _have_met(self, addresses: list[str]) -> bool:
        """Whether the workers are connected; raises `WorkerLost` when somebody else has come in between."""
        try:
            return have_met(addresses, [child.process.pid for child in self._children])
        except ForeignPeerError as error:
            self._check_alive()  # The end of a connection whose worker has died looks foreign, too.
            raise WorkerLost(str(error)) from None

    def _await(self, child: _Child, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _START_S
        while not happened():
            self._check_alive()
            if time.monotonic() > until:
                msg = f"worker {child.index} {what} within {_START_S:.0f} s"
                raise WorkerLost(msg)
            time.sleep(0.002)

    def _watch(self) -> None:
        """Until all have ended well. Raises `WorkerLost`, or the error that a worker ended with."""
        told = False
        observed = time.monotonic()
        last_beat_ms = monotonic_ms()
        while any(child.process.poll() is None for child in self._children):
            self._check_alive()
            if self.stop() and not told:
                told = True
                for child in self._children:
                    child.say("stop")
            if time.monotonic() - observed >= _OBSERVE_S:
                observed = time.monotonic()
                self.premises.check()
                stats = self._read_stats()
                last_beat_ms = max([last_beat_ms, *(worker.beat_ms for worker in stats.workers)])
                if monotonic_ms() - last_beat_ms > self.options.hang_after_ms:
                    msg = f"nothing has moved in any worker for {self.options.hang_after_ms / 1000:.0f} s"
                    raise WorkerLost(msg)
                if self.observe is not None:
                    self.observe(stats)
            self._rest()
        self._check_alive()

    def _rest(self) -> None:
        """Sleep until a worker says something, or ends, which ends what it can say; a tenth of a second at most."""
        speakers = [child.status_fd for child in self._children if child.process.poll() is None]
        said, _, _ = select.select(speakers, [], [], _REST_S)
        if said:
            time.sleep(_POLL_S)

    def _check_alive(self) -> None:
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

    def _end_all(self) -> None:
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGKILL)
        for child in self._children:
            child.process.wait()
            child.close()
        self._children.clear()

    def _read_stats(self) -> RunStats:
        found = []
        for index in range(self.options.workers):
            path = self.run_dir / f"worker-{index}.json"
            with state_files(path, "read"), suppress(FileNotFoundError):
                found.append(msgspec.json.decode(read_private(path), type=WorkerStats))
        stats = msgspec.structs.replace(total(found), restarts=self.restarts)
        if self.observe is not None and len(found) == self.options.workers and not self._children:
            self.observe(stats)
        return stats


def run_cluster(
    spec: FlowSpec,
    options: RunOptions,
    *,
    stop: Optional[StopFlag] = None,
    observe: Optional[Observer] = None,
    tell: TellChange = unheard_change,
    beside: Beside = nullcontext,
) -> RunResult:
    """Run a flow in `options.workers` processes; see `run_flow`, which it equals in all that matters.

    Raises also `ClusterError` when workers die more often than `options.max_restarts` in a row.
    """
    stop = stop or StopFlag()
    directory = options.directory
    plan = compile_flow(load_flow(spec), options.state_dir)
    check_inputs(plan, follow=options.follow)
    with directory.locked() as lock:
        manifest = open_state(plan, options, tell)
        before = directory.last_run()
        slots = sum(manifest.sources[source.name].slots for source in plan.sources)
        supervisor = Supervisor(
            spec, options, slots, manifest.generation, stop, observe, lock.fileno(), directory.premises()
        )
        with beside(), directory.engine_log(manifest.generation).summed():
            result = finish_run(
                plan, manifest, options, before, stop, supervisor.run, lambda: supervisor.resumed_events
            )
        return replace(result, restarts=supervisor.restarts)


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
