"""Running a job on the engine: one call."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from io import TextIOWrapper
from typing import Optional

from bytewax._bytewax import cluster_main, run_main
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig

from headway.runtime.dataflow import build_dataflow
from headway.runtime.engine_errors import translated
from headway.runtime.engine_log import EngineLog
from headway.runtime.job import Job
from headway.runtime.seal import Seal, sealing
from headway.runtime.slack import patient
from headway.runtime.voice import engine_voice

_GC_THRESHOLDS = (100_000, 20, 50)
_ALONE_EPOCH_MS = 60_000

__all__ = ["execute", "run_alone"]


def run_alone(flow: Dataflow, log: EngineLog) -> None:
    """Run a dataflow that reads nothing on a log, which must be prepared."""
    directory = log.path
    failed: list[BaseException] = []
    seal = Seal(None, 0, [], directory, failed.append)
    with engine_voice() as voice:
        stopped_by: Optional[BaseException] = None
        try:
            with sealing(seal, _run.__code__):
                _run(flow, _ALONE_EPOCH_MS, RecoveryConfig(directory), 0, None, 1)
        except BaseException as error:
            stopped_by = error
    if failed:
        raise failed[0]
    if stopped_by is not None:
        raise translated(stopped_by, directory, voice, clustered=False) from stopped_by


def execute(
    job: Job,
    *,
    index: int = 0,
    addresses: Optional[Sequence[str]] = None,
    key: Optional[bytes] = None,
    threads: int = 1,
) -> None:
    """Run until the input ends or the job is told to stop, and settle: everything is durable on every worker then.

    With `addresses`, which all processes of the cluster have in this order, `key` seals what they send to each other.
    Raises what the flow or a connector raised, as it was; `KeyboardInterrupt` when a Ctrl-C ended it at once;
    `ClusterError` when the process cannot join the cluster; `StateError`, `CorruptStateError` among them, when the
    engine's recovery log cannot be used. The engine's own words stay unsaid, but in a worker, whose log gets them.
    """
    log = job.directory.engine_log(job.manifest.generation).path
    recovery = RecoveryConfig(log)
    flow = build_dataflow(job.plan, job)
    assert (addresses is None) == (key is None)
    seal = Seal(key, index, list(addresses or ()), log, job.failed, job.wait_synced)
    in_process = addresses is None and threads == 1
    # Outputs print to what standard output is now until they have been settled.
    with nullcontext() if in_process else own_stdout():
        with engine_voice(aloud=addresses is not None) as voice:
            try:
                with quiet_collector(), sealing(seal, _run.__code__):
                    _run(flow, job.options.epoch_ms, recovery, index, addresses, threads)
            except BaseException as error:
                stopped_by: Optional[BaseException] = error
            else:
                stopped_by = None
        # Only now has the last word been heard.
        if job.interrupted() or voice.interrupted or isinstance(stopped_by, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if job.failure is not None:
            raise job.failure from job.failure.__cause__
        if stopped_by is not None:
            raise translated(stopped_by, log, voice, clustered=addresses is not None) from stopped_by
        job.settle()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Inside this block the cyclic collector leaves what exists alone, and looks at the new less often.

    Rows live long and hold no cycles: by default a tenth of the time would go into walking over them.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextmanager
def own_stdout() -> Iterator[None]:
    """Inside this block only Python writes to stdout, and what other code prints there goes to stderr.

    While a process waits for its peers, the engine prints that it does; that must not come between outputs.
    """
    before = sys.stdout
    if not isinstance(before, TextIOWrapper) or before is not sys.__stdout__ or sys.stderr is None:
        yield
        return
    before.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    buffering = 1 if before.line_buffering else -1
    ours = sys.stdout = open(kept, "w", buffering, before.encoding, before.errors)  # noqa: SIM115 - closed below
    try:
        yield
    finally:
        sys.stdout = before
        os.dup2(kept, 1)
        ours.close()


def _run(
    flow: Dataflow,
    epoch_ms: int,
    recovery: RecoveryConfig,
    index: int,
    addresses: Optional[Sequence[str]],
    threads: int,
) -> None:
    epoch = timedelta(milliseconds=epoch_ms)
    if addresses is None and threads == 1:
        run_main(flow, epoch_interval=epoch, recovery_config=recovery)
    else:
        with patient():
            cluster_main(
                flow,
                list(addresses or ()),
                index,
                epoch_interval=epoch,
                recovery_config=recovery,
                worker_count_per_proc=threads,
            )
