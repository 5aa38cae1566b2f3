"""Several workers on one machine: a cluster of processes that live and die together."""

from __future__ import annotations

import logging
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Optional

import msgspec

from headway.declare.loading import FlowSpec, load_flow
from headway.errors import ClockError, ClusterError, ForeignPeerError
from headway.runtime.board import Board
from headway.runtime.cuts import forget_cuts
from headway.runtime.job_options import monotonic_ms
from headway.runtime.peers import free_addresses, have_met
from headway.runtime.restarts import Restarts
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
from headway.runtime.stats import RunStats, total
from headway.runtime.stopping import StopFlag
from headway.runtime.workers import LocalWorkers, WorkerLost
from headway.state.files import check_room, state_files
from headway.state.lock import Premises

__all__ = ["run_cluster"]

log = logging.getLogger("headway")

_POLL_S = 0.02
_OBSERVE_S = 0.5


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
    resumed_events: Optional[int] = None
    """Records that had been read when the first workers began; None until these have told."""
    _restarts: Restarts = field(init=False)
    _workers: LocalWorkers = field(init=False)

    def __post_init__(self) -> None:
        self._restarts = Restarts(self.options.max_restarts)
        self._workers = LocalWorkers(self.spec, self.run_dir, self.lock_fd, self.options.hang_after_ms)

    @property
    def restarts(self) -> int:
        """How often workers were started again."""
        return self._restarts.count

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
                self._look()
                log.warning("%s", error)
            except WorkerLost as loss:
                self._look()
                if self.stop():
                    msg = f"{loss}, while the run was being stopped; the next run goes on from the last durable epoch"
                    raise ClusterError(msg) from None
                self._back_off(loss, time.monotonic() - started)

    def _look(self) -> None:
        """Make the engine's log ready for another attempt, and see whether what ended the last one would come again.

        A worker whose engine cannot write its log says only that it has stopped, and one that writes to shared memory
        on a full disk is killed.
        """
        check_room(self.options.state_dir)
        self.options.directory.engine_log(self.generation).prepare()

    def _back_off(self, loss: WorkerLost, lasted_s: float) -> None:
        commits = sum(worker.commits for worker in self._read_stats().workers)
        wait_s = self._restarts.next_wait_s(str(loss), lasted_s, commits, logs=str(self.run_dir))
        log.warning(
            "%s; restarting all %d workers in %.2g s (restart %d of %d)",
            loss,
            self.options.workers,
            wait_s,
            self._restarts.recent,
            self._restarts.most,
        )
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not self.stop():
            time.sleep(_POLL_S)

    def _attempt(self, drain_to_ms: Optional[int]) -> RunStats:
        self.premises.check()
        board = self.run_dir / "board"
        self._workers.clear()
        with state_files(self.run_dir):
            forget_cuts(self.run_dir)
            Board.create(board, self.slots, self.options.workers)
        addresses = free_addresses(self.options.workers)
        job_options = self.options.job_options(drain_to_ms=drain_to_ms, board_path=board)
        try:
            self._workers.start(range(self.options.workers), addresses, job_options)
            self._workers.await_ready()
            last = self.options.workers - 1
            self._workers.join(os.urandom(KEY_BYTES), addresses, is_last=lambda index: index == last)
            self._workers.await_all(partial(self._have_met, addresses), "has not met the other workers")
            self._workers.say("trust")
            self._watch()
        finally:
            self._workers.end()
            stats = self._read_stats(is_last=True)
            if self.resumed_events is None and len(stats.workers) == self.options.workers:
                self.resumed_events = stats.resumed
        if len(stats.workers) != self.options.workers:
            msg = "a worker ended without saying how"
            raise WorkerLost(msg)
        return stats

    def _have_met(self, addresses: list[str]) -> bool:
        """Whether the workers are connected; raises `WorkerLost` when somebody else has come in between."""
        try:
            return have_met(addresses, self._workers.pids)
        except ForeignPeerError as error:
            self._workers.check_alive()  # The end of a connection whose worker has died looks foreign, too.
            raise WorkerLost(str(error)) from None

    def _watch(self) -> None:
        """Until all have ended well. Raises `WorkerLost`, or the error that a worker ended with."""
        told = False
        observed = time.monotonic()
        last_beat_ms = monotonic_ms()
        while self._workers.are_running():
            self._workers.check_alive()
            if self.stop() and not told:
                told = True
                self._workers.say("stop")
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
            self._workers.rest()
        self._workers.check_alive()

    def _read_stats(self, *, is_last: bool = False) -> RunStats:
        found = self._workers.statistics(range(self.options.workers))
        stats = msgspec.structs.replace(total(found), restarts=self.restarts)
        if is_last and self.observe is not None and len(found) == self.options.workers:
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
