"""Running a flow as one host of a cluster."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Optional

from headway.cluster.backing import BackupPlan, ClusterBackups, SiteBackups
from headway.cluster.coordinator import Coordinator
from headway.cluster.duties import Duties
from headway.cluster.hosts import Host, Hosts
from headway.cluster.messages import Done
from headway.cluster.site import Site
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import UsageError
from headway.plan.stages import Plan
from headway.runtime.directory import StateDirectory
from headway.runtime.run import (
    Beside,
    Observer,
    RunOptions,
    RunResult,
    TellChange,
    check_inputs,
    compile_flow,
    unheard_change,
)
from headway.runtime.stats import total
from headway.runtime.stopping import StopFlag
from headway.runtime.worker import error_of

__all__ = ["run_host"]


def run_host(
    spec: FlowSpec,
    options: RunOptions,
    hosts: Hosts,
    here: Host,
    backups: Optional[BackupPlan] = None,
    *,
    stop: Optional[StopFlag] = None,
    observe: Optional[Observer] = None,
    tell: TellChange = unheard_change,
    beside: Beside = nullcontext,
) -> RunResult:
    """Run a flow together with the other hosts of a cluster, until its input ends or this host is stopped.

    The first host coordinates. Hosts that are away are waited for without end; when this one is stopped, all others
    stop as well and wait until it is back. `observe` hears of the workers of this host, and the result tells of all.

    Raises the error that ended the run, on whichever host; `UsageError` for a flow that cannot run on several
    machines; `ClusterError` when the workers die more often than `options.max_restarts` in a row, or the cluster does
    not take this host.
    """
    stop = stop or StopFlag()
    directory = StateDirectory(options.state_dir, is_part=True)
    plan = compile_flow(load_flow(spec), options.state_dir)
    _check_plan(plan)
    check_inputs(plan, follow=options.follow)
    before = directory.last_run()
    with ExitStack() as held:
        coordinator = None
        if here == hosts.first:
            leads = None if backups is None else ClusterBackups(backups, directory, plan.flow)
            coordinator = Coordinator(
                hosts,
                leads,
                max_restarts=options.max_restarts,
                hang_after_ms=options.hang_after_ms,
            )
            coordinator.start()
            held.callback(coordinator.close)
        own = None
        if backups is not None:
            indices = hosts.indices(here.name)
            own = SiteBackups(backups, directory, plan.flow, workers=hosts.workers, own=indices)
        duties = Duties(plan, spec, options, hosts, here, own, tell)
        held.enter_context(beside())
        lead = coordinator

        def ended() -> Optional[Done]:
            return None if lead is None else lead.done

        done = Site(duties, hosts, here, stop=stop, observe=observe, ended=ended).run()
    if done.failure is not None:
        raise error_of(done.failure)
    stats = total(done.workers)
    if done.workers:  # Else it was stopped while none ran, and the last figures are those of the run before.
        directory.keep_last_run(stats)
    return RunResult(
        stats,
        before,
        stopped=not done.finished,
        drained=False,
        resumed_events=stats.resumed,
        restarts=done.restarts,
        notices=directory.take_notices(),
    )


def _check_plan(plan: Plan) -> None:
    """Raise `UsageError` for a flow that keeps something in a state directory that all workers must reach."""
    for source in plan.sources:
        given = source.node.input
        kept = "its log" if given.own_log is not None else given.shared_notes
        if kept:
            msg = (
                f"source {source.name!r} keeps {kept} in the state directory, which the hosts of a cluster do not "
                "share: let it read from a broker, or run the flow on one machine"
            )
            raise UsageError(msg)
