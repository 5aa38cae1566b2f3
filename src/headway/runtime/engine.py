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

from headway.errors import ClusterError, CorruptStateError, InternalError
from headway.runtime.dataflow import build_dataflow
from headway.runtime.job import Job
from headway.runtime.logsum import open_log
from headway.runtime.recovery_log import check_recovery_log, engine_log, recovery_refusal, sqlite_words
from headway.runtime.seal import Seal, sealing
from headway.runtime.voice import EngineVoice, engine_voice
from headway.state.files import RESTORE, state_files
from headway.state.private import make_private

_GC_THRESHOLDS = (100_000, 20, 50)
_ALONE_EPOCH_MS = 60_000
_NOT_WHOLE = (NoPartitionsError, MissingPartitionsError, InconsistentPartitionsError)

__all__ = ["execute", "is_prepared", "prepare_recovery", "run_alone"]


def prepare_recovery(state_dir: Path, generation: int) -> None:
    """Make the engine's recovery log where there is none, else look it through.

    It holds one row per key group, so this takes some milliseconds whatever the size of the state. Call it with the
    lock held. Raises `CorruptStateError` for a log that is damaged or gone, `StateError` for one that cannot be used.
    """
    directory = engine_log(state_dir, generation)
    with state_files(directory):
        open_log(state_dir, generation)
        if directory.exists():
            check_recovery_log(directory)
            return
        partial = directory.with_suffix(".new")
        if partial.exists():
            for file in partial.iterdir():
                file.unlink()
        make_private(partial)
        with engine_voice() as voice:
            failure: Optional[BaseException] = None
            try:
                init_db_dir(partial, 1)
            except BaseException as error:
                failure = error
        if failure is not None:  # Only now has the last word been heard.
            raise _translate(failure, directory, voice, clustered=False) from failure
        partial.rename(directory)


def is_prepared(state_dir: Path, generation: int) -> bool:
    """Whether the recovery log has been made; the last thing to be made when a generation begins."""
    return engine_log(state_dir, generation).exists()


def run_alone(flow: Dataflow, state_dir: Path, generation: int) -> None:
    """Run a dataflow that reads nothing on the log of a generation, which must be prepared."""
    directory = engine_log(state_dir, generation)
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
        raise _translate(stopped_by, directory, voice, clustered=False) from stopped_by


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
    log = engine_log(job.options.state_dir, job.manifest.generation)
    recovery = RecoveryConfig(log)
    flow = build_dataflow(job.plan, job)
    assert (addresses is None) == (key is None)
    seal = Seal(key, index, list(addresses or ()), log, job.failed)
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
            raise _translate(stopped_by, log, voice, clustered=addresses is not None) from stopped_by
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
        cluster_main(
            flow,
            list(addresses or ()),
            index,
            epoch_interval=epoch,
            recovery_config=recovery,
            worker_count_per_proc=threads,
        )


def _translate(error: BaseException, log: Path, voice: EngineVoice, *, clustered: bool) -> BaseException:
    """The error for what ended the engine; of a panic the cause is only in what the engine has said of it."""
    panicked = type(error).__name__ == "PanicException"  # It is no `Exception`, and cannot be imported.
    if not (panicked or isinstance(error, Exception)):
        return error
    text = str(error)
    said = f"{text} {voice.panic} {voice.errors}"
    if "Sqlite" in said:
        return recovery_refusal(log, sqlite_words(said))
    if isinstance(error, _NOT_WHOLE) or any(isinstance(other, _NOT_WHOLE) for other in voice.errors):
        msg = f"the recovery log in {log} is not whole ({text}): {RESTORE}"
        return CorruptStateError(msg)
    if "communication pipeline" in text or "Address already in use" in text:
        msg = f"the process could not join the cluster: {text}"
        return ClusterError(msg)
    if clustered:
        msg = f"the engine stopped, as it does when another process of the cluster is gone: {text}"
        return ClusterError(msg)
    msg = f"the engine stopped with {type(error).__name__}: {text}\n{voice.panic}".rstrip()
    return InternalError(msg)
