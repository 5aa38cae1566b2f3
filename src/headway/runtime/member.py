"""One process of a cluster that is started by hand, or by an orchestrator, on several machines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Optional

from headway.errors import ClusterError, UsageError
from headway.graph import Declared
from headway.plan.stages import Plan
from headway.runtime.directory import StateDirectory
from headway.runtime.engine import execute
from headway.runtime.inspect import worker_stats
from headway.runtime.job import Job
from headway.runtime.opening import join_manifest
from headway.runtime.rendezvous import agree_on_key, has_secret, make_secret, read_secret
from headway.runtime.run import (
    Beside,
    Observer,
    RunOptions,
    RunResult,
    TellChange,
    check_inputs,
    compile_flow,
    observer_beat,
    one_engine,
    open_state,
    unheard_change,
)
from headway.runtime.stats import total
from headway.runtime.stopping import StopFlag
from headway.state.manifest import Manifest

__all__ = ["run_member"]

log = logging.getLogger("headway")

_PREPARED_S = 60.0
"""How long the other processes wait for the first one to prepare the state directory."""
_LISTEN_S = 0.1


def run_member(
    flow: Declared,
    options: RunOptions,
    index: int,
    addresses: Sequence[str],
    *,
    stop: Optional[StopFlag] = None,
    observe: Optional[Observer] = None,
    tell: TellChange = unheard_change,
    beside: Beside = nullcontext,
) -> RunResult:
    """Run process `index` of a cluster whose processes listen at `addresses` (host:port, the same list for all).

    All processes share the state directory. The first one makes and locks it; there is no supervisor here:
    when a process ends, whoever started them must end and start them all. The result tells of this process only.
    They agree on a key with the secret in that directory, see `headway.runtime.rendezvous`.
    Raises `ClusterError` when the others do not come within a minute or know another secret, `UsageError` for an
    index without an address and for `drain`, which needs to see all workers.
    """
    if not 0 <= index < len(addresses):
        last = len(addresses) - 1
        msg = f"process {index} has no address: {len(addresses)} are given, for the processes 0 to {last}"
        raise UsageError(msg)
    if options.drain:
        msg = "--drain closes the books of a whole state directory: use it with --workers, once the cluster has ended"
        raise UsageError(msg)
    stop = stop or StopFlag()
    directory = options.directory
    plan = compile_flow(flow, options.state_dir)
    check_inputs(plan, follow=options.follow)
    with ExitStack() as held:
        held.enter_context(one_engine())
        if index == 0:
            held.enter_context(directory.locked())
            manifest = open_state(plan, replace(options, workers=len(addresses)), tell)
            secret = make_secret(directory.path)
        else:
            manifest = _await_manifest(plan, directory, index, stop)
            secret = read_secret(directory.path)
        key = agree_on_key(secret, index, list(addresses), within_s=_PREPARED_S, stopping=stop)
        job_options = options.job_options(workers=len(addresses), worker=index)
        job = held.enter_context(Job(plan, manifest, job_options, stopping=stop, interrupted=stop.is_urgent))
        held.enter_context(beside())
        job.on_beat = observer_beat(job, observe, index)
        _execute(job, index, addresses, key)
        stats = total([worker_stats(job, index)])
    return RunResult(stats, None, stop(), drained=False, resumed_events=stats.resumed, notices=directory.take_notices())


def _execute(job: Job, index: int, addresses: Sequence[str], key: bytes) -> None:
    """Run the engine in a thread of its own: after an error it waits for its peers, which may wait for it, for ever."""
    ended = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            execute(job, index=index, addresses=addresses, key=key)
        except BaseException as error:
            raised.append(error)
        ended.set()

    def on_failure(error: BaseException) -> None:
        raised.append(error)
        ended.set()
        threading.Event().wait()  # The engine must not go on, and need not: the process ends.

    job.on_failure = on_failure
    threading.Thread(target=run, name="headway-engine", daemon=True).start()
    while not ended.wait(_LISTEN_S):
        pass  # Signals are heard in between.
    if raised:
        raise raised[0]


def _await_manifest(plan: Plan, directory: StateDirectory, index: int, stop: StopFlag) -> Manifest:
    """The manifest that the first process makes."""
    until = time.monotonic() + _PREPARED_S
    told = False
    while time.monotonic() < until:
        manifest = join_manifest(plan, directory)
        if (
            manifest is not None
            and directory.engine_log(manifest.generation).is_prepared()
            and has_secret(directory.path)
        ):
            return manifest
        if not told:
            log.warning("process %d waits for process 0 to prepare %s", index, directory)
            told = True
        if stop():
            msg = f"stopped before process 0 had prepared {directory}: nothing was read"
            raise ClusterError(msg)
        time.sleep(0.05)
    msg = (
        f"process 0 has not prepared {directory} within {_PREPARED_S:.0f} s: start it too, "
        "with the same directory, which all processes share"
    )
    raise ClusterError(msg)
