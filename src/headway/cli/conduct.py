"""One run from its start to its ending: signals, progress, and the right way to run it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from headway.cli.hosts import Hosted
    from headway.cli.listening import Listening
    from headway.cli.measuring import Measuring
    from headway.cli.questions import Questions
    from headway.cli.summary import Ending
    from headway.declare.flow import Flow
    from headway.declare.loading import FlowSpec
    from headway.runtime.run import Beside, Observer, RunOptions, RunResult
    from headway.runtime.stats import RunStats
    from headway.runtime.stopping import StopFlag

__all__ = ["conduct", "is_stdout"]


def conduct(
    flow: Flow,
    options: RunOptions,
    *,
    flag: StopFlag,
    spec: Optional[FlowSpec] = None,
    hosted: Optional[Hosted] = None,
    progress: bool,
    tell: Optional[Callable[[str], None]] = None,
    beside: Beside = nullcontext,
    listening: Optional[Listening] = None,
    measuring: Optional[Measuring] = None,
    questions: Optional[Questions] = None,
) -> Ending:
    """Run a flow until it ends or is stopped, by `flag` or a signal, and tell how it ended.

    `tell` hears what has changed in the flow; else it is shown.

    What `beside` makes goes on during the run, and so do the server of `listening` and the exporter of `measuring`.
    `questions` are those that are answered beside it. `spec` is what several workers make the flow from. Raises what
    `run_flow`, `run_cluster` and `run_host` raise.
    """
    from headway.cli.progress import progress_for, shown
    from headway.cli.summary import Ending
    from headway.runtime.run import plan_of
    from headway.state.changes import Change
    from headway.state.manifest import Manifest

    plan = plan_of(flow, options.state_dir)
    resumed = Manifest.load(options.state_dir) is not None
    stdout_is_shown = sys.stdout is not None and sys.stdout.isatty() and any(is_stdout(sink) for sink in plan.sinks)
    shows = progress_for(
        plan.flow, quiet=not progress, stdout_is_shown=stdout_is_shown, stopping=flag, questions=questions
    )

    def tell_change(change: Change) -> None:
        (tell or shows.tell)(f"{plan.flow} has changed: {change}")

    observe: Observer = shows.observe
    observer = None
    if measuring is not None:
        from headway.metrics.snapshots import RunObserver

        observer = RunObserver(hosted.here.workers if hosted else options.workers)
        observe = _both(shows.observe, observer.observe)

    @contextmanager
    def exporting() -> Iterator[None]:
        with nullcontext() if measuring is None else measuring.beside(shows.tell, observer):
            yield

    @contextmanager
    def all_beside() -> Iterator[None]:
        with exporting(), beside(), nullcontext() if listening is None else listening.beside(shows.tell)():
            yield

    started = time.monotonic()
    with flag.on_signals() as stop, shown(shows):
        result = _run(flow, options, spec, hosted, stop=stop, observe=observe, tell=tell_change, beside=all_beside)
    host = None if hosted is None else hosted.here.name
    return Ending(plan, options.state_dir, result, resumed, time.monotonic() - started, host)


def _run(
    flow: Flow,
    options: RunOptions,
    spec: Optional[FlowSpec],
    hosted: Optional[Hosted],
    **hooks: Any,
) -> RunResult:
    """Run it in the one way that is asked for."""
    from headway.runtime.run import run_flow
    from headway.runtime.supervisor import run_cluster

    if hosted is None and options.workers == 1:
        return run_flow(flow, options, **hooks)
    assert spec is not None
    if hosted is None:
        return run_cluster(spec, options, **hooks)
    from headway.cluster.run import run_host

    return run_host(spec, options, *hosted, **hooks)


def _both(one: Observer, other: Observer) -> Observer:
    def observe(stats: RunStats) -> None:
        other(stats)
        one(stats)

    return observe


def is_stdout(sink: Any) -> bool:
    """Whether an output of a plan is standard output."""
    from headway.connectors.stdout import StdoutOutput

    return isinstance(sink.node.output, StdoutOutput)
