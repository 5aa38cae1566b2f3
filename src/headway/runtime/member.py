"""One process of a cluster that is started by hand, or by an orchestrator, on several machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Optional

from headway.errors import ClusterError, UsageError
from headway.flow import Flow
from headway.plan import Plan
from headway.runtime.engine import execute, is_prepared, prepare_recovery
from headway.runtime.inspect import worker_stats
from headway.runtime.job import Job, wall_ms
from headway.runtime.notices import take_notices
from headway.runtime.run import (
    Observer,
    RunOptions,
    RunResult,
    StopFlag,
    check_inputs,
    compile_flow,
    locked,
    observer_beat,
    open_manifest,
)
from headway.runtime.stats import total
from headway.state.manifest import Manifest

__all__ = ["run_member"]

_PREPARED_S = 60.0
"""How long the other processes wait for the first one to prepare the state directory."""


def run_member(
    flow: Flow,
    options: RunOptions,
    index: int,
    addresses: Sequence[str],
    *,
    stop: Optional[StopFlag] = None,
    observe: Optional[Observer] = None,
) -> RunResult:
    """Run process `index` of a cluster whose processes listen at `addresses` (host:port, the same list for all).

    All processes share the state directory. The first one makes and locks it; there is no supervisor here:
    when a process ends, whoever started them must end and start them all. The result tells of this process only.
    Raises `UsageError` for an index without an address and for `drain`, which needs to see all workers.
    """
    if not 0 <= index < len(addresses):
        last = len(addresses) - 1
        msg = f"process {index} has no address: {len(addresses)} are given, for the processes 0 to {last}"
        raise UsageError(msg)
    if options.drain:
        msg = "--drain closes the books of a whole state directory: use it with --workers, once the cluster has ended"
        raise UsageError(msg)
    stop = stop or StopFlag()
    plan = compile_flow(flow, options.state_dir)
    check_inputs(plan, follow=options.follow)
    with ExitStack() as held:
        if index == 0:
            held.enter_context(locked(options.state_dir))
            manifest = open_manifest(plan, options)
            prepare_recovery(options.state_dir)
        else:
            manifest = _await_manifest(plan, options)
        job_options = options.job_options(workers=len(addresses))
        job = held.enter_context(Job(plan, manifest, job_options, stopping=stop, interrupted=stop.is_urgent))
        job.on_beat = observer_beat(job, observe, index)
        execute(job, index=index, addresses=addresses)
        job.settle()
        stats = total([worker_stats(job, index, wall_ms())])
    return RunResult(
        stats, None, stop(), drained=False, resumed_events=stats.resumed, notices=take_notices(options.state_dir)
    )


def _await_manifest(plan: Plan, options: RunOptions) -> Manifest:
    """The manifest that the first process makes."""
    until = time.monotonic() + _PREPARED_S
    while time.monotonic() < until:
        if is_prepared(options.state_dir):
            return open_manifest(plan, options)
        time.sleep(0.05)
    msg = (
        f"process 0 has not prepared {options.state_dir} within {_PREPARED_S:.0f} s: start it too, "
        "with the same directory, which all processes share"
    )
    raise ClusterError(msg)
