"""Running a job on the engine: one call, with foreign errors translated at this one place."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Optional

from bytewax._bytewax import (
    InconsistentPartitionsError,
    MissingPartitionsError,
    NoPartitionsError,
    cluster_main,
    run_main,
)
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir

from headway.errors import ClusterError, CorruptStateError, InternalError, StateError
from headway.runtime.dataflow import build_dataflow
from headway.runtime.job import Job
from headway.runtime.seal import Seal, sealing
from headway.state.private import make_private

_GC_THRESHOLDS = (100_000, 20, 50)

__all__ = ["execute", "is_prepared", "prepare_recovery"]


def prepare_recovery(state_dir: Path) -> Path:
    """The directory of the engine's recovery log, made where there is none. It holds one row per key group."""
    directory = state_dir / "engine"
    if not directory.exists():
        partial = state_dir / "engine.new"
        if partial.exists():
            for file in partial.iterdir():
                file.unlink()
        make_private(partial)
        try:
            init_db_dir(partial, 1)
        except BaseException as error:
            raise _translate(error, state_dir, clustered=False) from error
        partial.rename(directory)
    return directory


def is_prepared(state_dir: Path) -> bool:
    """Whether the recovery log has been made; the last thing to be made at the first start."""
    return (state_dir / "engine").exists()


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
    Raises what the flow or a connector raised, as it was; `ClusterError` when the process cannot join the
    cluster; `CorruptStateError` when the engine's recovery log cannot be used.
    """
    recovery = RecoveryConfig(prepare_recovery(job.options.state_dir))
    flow = build_dataflow(job.plan, job)
    assert (addresses is None) == (key is None)
    seal = Seal(key, index, list(addresses or ()), job.options.state_dir / "engine", job.failed)
    in_process = addresses is None and threads == 1
    # Outputs print to what standard output is now until they have been settled.
    with nullcontext() if in_process else own_stdout():
        try:
            with quiet_collector(), sealing(seal, _run.__code__):
                _run(flow, job, recovery, index, addresses, threads)
        except BaseException as error:
            if job.failure is not None:
                raise job.failure from job.failure.__cause__
            raise _translate(error, job.options.state_dir, clustered=addresses is not None) from error
        finally:
            job.unmute()
        if job.failure is not None:
            raise job.failure
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
    job: Job,
    recovery: RecoveryConfig,
    index: int,
    addresses: Optional[Sequence[str]],
    threads: int,
) -> None:
    epoch = timedelta(milliseconds=job.options.epoch_ms)
    if addresses is None and threads == 1:
        run_main(flow, epoch_interval=epoch, recovery_config=recovery)
    else:
        cluster_main(
            flow,
            list(addresses or ()),
            index,
            epoch_interval=epoch,
            recovery_config=recovery,
            worker_count_per_proc=threads,
        )


def _translate(error: BaseException, directory: Path, *, clustered: bool) -> BaseException:
    panicked = type(error).__name__ == "PanicException"  # It is no `Exception`, and cannot be imported.
    if not (panicked or isinstance(error, Exception)):
        return error
    if panicked and "Sqlite" in str(error):
        msg = (
            f"the recovery log in {directory / 'engine'} cannot be written ({error}): check the disk's space and "
            "rights, then start again; what was made durable is kept"
        )
        return StateError(msg)
    if isinstance(error, (NoPartitionsError, MissingPartitionsError, InconsistentPartitionsError)):
        msg = (
            f"the recovery log in {directory / 'engine'} is not whole ({error}): restore the whole state directory "
            "from one backup, or start with a new one"
        )
        return CorruptStateError(msg)
    text = str(error)
    if "communication pipeline" in text or "Address already in use" in text:
        msg = f"the process could not join the cluster: {text}"
        return ClusterError(msg)
    if clustered:
        msg = f"the engine stopped, as it does when another process of the cluster is gone: {text}"
        return ClusterError(msg)
    msg = f"the engine stopped with {type(error).__name__}: {text}"
    return InternalError(msg)
