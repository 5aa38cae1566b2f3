"""Running a flow on this machine: the state directory, the workers, the end of input."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import DRAIN_STEPS, MIN_TIME_MS
from headway.basics.utf8 import is_utf8
from headway.connectors.letters import dead_letters_of
from headway.errors import ClockError, InputError, UsageError
from headway.graph import Declared
from headway.plan.planner import compile_plan
from headway.plan.stages import Plan
from headway.runtime.apart import keep_apart
from headway.runtime.directory import StateDirectory
from headway.runtime.engine import execute
from headway.runtime.inspect import worker_stats
from headway.runtime.job import Job
from headway.runtime.job_options import JobOptions
from headway.runtime.opening import open_manifest
from headway.runtime.returning import has_returning
from headway.runtime.stage import SLICE
from headway.runtime.stats import RunStats, total
from headway.runtime.stopping import StopFlag
from headway.state.changes import Change
from headway.state.manifest import Drain, Manifest

__all__ = ["RunOptions", "RunResult", "run_flow"]

log = logging.getLogger("headway")

_STATS_MS = 500

_BOUNDS: Final = (
    *(("workers", 1, 64), ("threads", 1, 64), ("epoch_ms", 1, 3_600_000), ("key_groups", 1, 256)),
    *(("cache_bytes", 0, 1 << 50), ("hang_after_ms", 2_000, 1 << 50), ("max_restarts", 0, 1 << 30)),
)
"""The least and the most of options that are whole numbers."""


@dataclass(frozen=True)
class RunOptions:
    """How to run a flow on this machine. Raises `UsageError` for values that cannot be."""

    state_dir: Path
    workers: int = 1
    """Processes."""
    epoch_ms: int = 1_000
    """How often progress is made durable."""
    follow: bool = False
    """Wait for more input at its end, instead of ending."""
    drain: bool = False
    """At the end of input close the books: let time go on until the last timer that is armed has fired."""
    key_groups: Optional[int] = None
    """Shards of the key space; fixed when the state directory is made. None: 12, or what the directory has."""
    hang_after_ms: int = 60_000
    """How long nothing may move in any worker before all are restarted."""
    max_restarts: int = 5
    """How often the workers are restarted when one dies, without a minute of good work in between."""
    chunk_bytes: int = 1 << 20
    cache_bytes: int = 128 << 20
    """Memory for decoded rows, per worker."""
    waiting_bound: int = 50_000
    timer_window: int = 65_536
    sync: bool = True
    """Whether an epoch survives a loss of power, not only of the process."""
    lead_records: int = 50_000
    """How far a reader may be ahead of the slowest one, in records, before it pauses."""
    slice_records: int = SLICE
    """How much a task does before others have their turn, in records: a watermark may release any number of them."""
    traces: Optional[str] = None
    """Where spans of deliveries are sent: `console` (stderr), `otlp` (as the environment says) or an address."""
    threads: int = 1
    """Workers as threads of one process; for tests of flows that exist only in memory."""

    def __post_init__(self) -> None:
        for name, least, most in _BOUNDS:
            value = getattr(self, name)
            if value is None and name == "key_groups":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                msg = f"{name} is {value!r}, it must be a whole number between {least} and {most}"
                raise UsageError(msg)
        if not is_utf8(str(self.state_dir)):
            msg = f"the state directory {str(self.state_dir)!r} has a name that is not UTF-8: give another one"
            raise UsageError(msg)
        if self.drain and self.follow:
            msg = "drain closes the books at the end of input, and follow never sees one: choose one of the two"
            raise UsageError(msg)

    @property
    def directory(self) -> StateDirectory:
        """The state directory, by its parts."""
        return StateDirectory(self.state_dir)

    def job_options(self, **changes: Any) -> JobOptions:
        """The part that each worker needs."""
        options = JobOptions(
            state_dir=self.state_dir,
            epoch_ms=self.epoch_ms,
            follow=self.follow,
            chunk_bytes=self.chunk_bytes,
            cache_bytes=self.cache_bytes,
            waiting_bound=self.waiting_bound,
            timer_window=self.timer_window,
            sync=self.sync,
            lead_records=self.lead_records,
            slice_records=self.slice_records,
            workers=self.workers,
            traces=self.traces,
        )
        return replace(options, **changes)


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    stats: RunStats
    before: Optional[RunStats]
    """The counts of the run before on the same state directory."""
    stopped: bool
    """Whether it was told to stop before the end of input."""
    drained: bool
    resumed_events: int = 0
    """Records that had been read, and were durable, when the run began."""
    restarts: int = 0
    cut_off: int = 0
    """Timers that were still armed when the books were closed, because they arm themselves for ever."""
    notices: list[str] = field(default_factory=list)
    """What the user should know, such as that a file was moved aside: each is told by one run."""


def plan_of(flow: Declared, state_dir: Path) -> Plan:
    """The plan of a flow; dead letters that it does not handle go to files in the state directory."""
    return compile_plan(flow.graph, dead_letters=dead_letters_of(state_dir))


def compile_flow(flow: Declared, state_dir: Path) -> Plan:
    """The plan of a flow that is to run. Looks at all its files: raises `UsageError` where it would read its output.

    Targets look for what can be known to be wrong with them, and raise it.
    """
    plan = plan_of(flow, state_dir)
    keep_apart(plan, state_dir)
    _check_targets(plan)
    return plan


def check_inputs(plan: Plan, *, follow: bool) -> None:
    """Raise `InputError` for a bounded source that has no partition at all."""
    for source in [] if follow else plan.sources:
        if source.node.input.own_log is None and not source.node.input.partitions():
            from headway.connectors.absence import absence  # Clients of servers come with it.

            msg = f"source {source.name!r}: {absence(source.node.input)}, or use --follow to wait for it"
            raise InputError(msg)


def _check_targets(plan: Plan) -> None:
    """Raise `UsageError` where a target can be known not to work, such as for a secret that is not there."""
    for sink in plan.sinks:
        if sink.delivered is not None:
            sink.delivered.target.check()


Observer = Callable[[RunStats], None]
Beside = Callable[[], AbstractContextManager[object]]
"""Makes what goes on beside a run, such as a server. It is entered once the state directory is ready and locked, before
the first event, and left behind the last one."""
TellChange = Callable[[Change], None]


def unheard_change(change: Change) -> None:
    """Drops what it is told."""


def open_state(
    plan: Plan, options: RunOptions, tell: TellChange, directory: Optional[StateDirectory] = None
) -> Manifest:
    """Make the state directory ready for a plan, and the engine's log with it; with the lock held.

    `directory` is that of the options where there is more to say of it.
    """
    directory = directory or options.directory
    manifest = open_manifest(
        plan,
        directory,
        key_groups=options.key_groups,
        draining=options.drain,
        workers=options.workers,
        sync=options.sync,
        tell=tell,
    )
    for source in plan.sources:
        source.node.input.prepare(options.workers)
    directory.engine_log(manifest.generation).prepare()
    return manifest


def run_flow(
    flow: Declared,
    options: RunOptions,
    *,
    stop: Optional[StopFlag] = None,
    observe: Optional[Observer] = None,
    tell: TellChange = unheard_change,
    beside: Beside = nullcontext,
) -> RunResult:
    """Run a flow in this process until its input ends or `stop` is set; see `RunOptions`.

    `tell` hears, before the first event, each change of the flow since the last run. `observe` is called about twice a
    second with the state of things. What `beside` makes goes on meanwhile. Raises the `HeadwayError` that ended the
    run; everything up to the last durable epoch stays done, and the next run goes on from there.
    """
    stop = stop or StopFlag()
    directory = options.directory
    plan = compile_flow(flow, options.state_dir)
    check_inputs(plan, follow=options.follow)
    with _one_engine(), directory.locked():
        manifest = open_state(plan, options, tell)
        before = directory.last_run()
        resumed: list[int] = []

        def work(drain_to_ms: Optional[int]) -> RunStats:
            return run_once(plan, manifest, options, drain_to_ms, stop, observe, resumed)

        with beside(), directory.engine_log(manifest.generation).summed():
            return finish_run(plan, manifest, options, before, stop, work, lambda: resumed[0])


def finish_run(
    plan: Plan,
    manifest: Manifest,
    options: RunOptions,
    before: Optional[RunStats],
    stop: StopFlag,
    work: Callable[[Optional[int]], RunStats],
    resumed_events: Callable[[], Optional[int]],
) -> RunResult:
    """Run to the end of input; to close the books, run on with time moved by hand.

    Time goes first to the latest event, so that everything that came has been seen, and then again and again to the
    latest timer that is armed by then, since timers arm others: until none is armed, `DRAIN_STEPS` times at most. Each
    step is noted before it is taken. So a drain that is interrupted goes on with the same step, and all drains of the
    same logs take the same steps. `resumed_events` tells how many records had been read when the first part began.
    """
    directory, drain = options.directory, manifest.drain
    if drain is None:
        stats = work(None)
        if options.drain and not stop() and stats.closes_at is not None:
            drain = Drain(step=0, to_ms=stats.closes_at)
    is_closed = drain is None
    while drain is not None:
        directory.note_drain(drain)
        stats = work(drain.to_ms)
        if stop():
            break
        if stats.horizon is None or drain.step == DRAIN_STEPS:
            is_closed = True
            break
        drain = Drain(step=drain.step + 1, to_ms=stats.horizon)
    drained = options.drain and is_closed and not stop()
    if drained and not has_returning(plan):  # Else what goes by the clock may go on, see `headway.runtime.returning`.
        last = drain or Drain(step=0, to_ms=MIN_TIME_MS)
        directory.note_drain(msgspec.structs.replace(last, done=True))
    directory.keep_last_run(stats)
    return RunResult(
        stats,
        before,
        stopped=stop(),
        drained=drained,
        cut_off=stats.timers if drained and stats.horizon is not None else 0,
        resumed_events=resumed_events() or 0,
        notices=directory.take_notices(),
    )


def run_once(
    plan: Plan,
    manifest: Manifest,
    options: RunOptions,
    drain_to_ms: Optional[int],
    stop: StopFlag,
    observe: Optional[Observer],
    resumed: list[int],
) -> RunStats:
    """One run of the engine in this process, settled at its end; begun anew when the clock has been set back.

    Appends to `resumed` how many records had been read at each beginning.
    """
    job_options = options.job_options(drain_to_ms=drain_to_ms)
    while True:
        job = Job(plan, manifest, job_options, stopping=stop, interrupted=stop.is_urgent)
        job.on_beat = _observer_beat(job, observe)
        try:
            with job:
                execute(job, threads=options.threads)
                stats = total([worker_stats(job, 0, final=drain_to_ms is not None)])
            break
        except ClockError as error:
            log.warning("%s", error)
        finally:
            resumed.append(job.resumed_events)
    if observe is not None:
        observe(stats)
    return stats


def _observer_beat(job: Job, observe: Optional[Observer]) -> Optional[Callable[[], None]]:
    """What a job calls when something moves, so that the observer hears twice a second."""
    if observe is None:
        return None
    next_ms = 0

    def beat() -> None:
        nonlocal next_ms
        now_ms = job.clock_ms()
        if now_ms >= next_ms:
            next_ms = now_ms + _STATS_MS
            observe(total([worker_stats(job, 0)]))

    return beat


_engine: Final = threading.Lock()


@contextmanager
def _one_engine() -> Iterator[None]:
    """Inside this block no other run has its engine in this process: codecs, and what the engine calls, are shared.

    Raises `UsageError` when there is one.
    """
    if not _engine.acquire(blocking=False):
        msg = "another flow is running in this process: wait until it ends, or run each in a process of its own"
        raise UsageError(msg)
    try:
        yield
    finally:
        _engine.release()
