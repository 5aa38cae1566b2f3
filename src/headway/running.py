"""Running a flow from Python: one call, in a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Optional, Union

from headway.basics.times import Duration, duration_ms
from headway.declare.flow import Flow, as_flow
from headway.errors import FlowError, UsageError

if TYPE_CHECKING:
    from headway.declare.loading import FlowSpec
    from headway.runtime.run import RunOptions

__all__ = ["EPOCH_LEAST_MS", "RunSummary", "run"]

EPOCH_LEAST_MS: Final = 10
"""The shortest epoch that can be asked for: a shorter one is spent on being made durable."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended, and what it did. Shown as `headway run` shows it."""

    flow: str
    """The flow's name."""
    status: str
    """How it ended: `end of input`, `stopped` or `drained`."""
    resumed: bool
    """Whether it went on with a state directory that was there before."""
    events: int
    """Records that this run has read, undecodable ones included."""
    events_total: int
    """Records that all runs on the state directory have read."""
    triggers: int
    """Records written to all outputs but the dead letters: by all runs on the state directory, as all counts below, but
    for `seconds` and `restarts`, which are those of this run."""
    outputs: dict[str, int]
    """Records written, by the name of the output."""
    late: int
    """Events behind the watermark of their partition."""
    dead_letters: int
    """Records that could not be used."""
    keys: int
    """Keys with state, over all operators."""
    timers: int
    """Timers that are armed."""
    waiting: int
    """Records that wait for time to pass."""
    watermark: Optional[int]
    """How far time has come, in epoch milliseconds; None while that is not known."""
    seconds: float
    """How long the run took."""
    restarts: int
    """How often its workers were restarted."""
    notices: tuple[str, ...]
    """What you should know, such as that a file was moved aside."""
    state: Path
    """The state directory."""
    text: str
    """All of it for people, in some lines."""

    def __repr__(self) -> str:
        return self.text


def run(
    flow: Flow,
    *,
    state: Union[str, os.PathLike[str], None] = None,
    workers: int = 1,
    follow: bool = False,
    drain: bool = False,
    stop: Optional[Callable[[], bool]] = None,
    epoch: Duration = "1s",
    key_groups: Optional[int] = None,
    cache_bytes: int = 128 << 20,
    progress: bool = False,
) -> RunSummary:
    """Run a flow until its input ends, or with `follow` until it is stopped; returns how it ended.

    It is what `headway run` does, and goes on with the same `state` directory: by default `.headway/` and the
    flow's name, below the current directory. `drain` closes the books at the end of the input. `workers` above 1
    start processes that import the flow from its file, so the flow must be at the top level of one: in a script, call
    this below `if __name__ == "__main__":`.

    `stop` is asked about a hundred times a second whether to stop gracefully; `threading.Event().is_set` is one. So do
    SIGTERM and Ctrl-C, when this is called in the main thread: after a graceful stop, Ctrl-C is raised as
    `KeyboardInterrupt`. A second Ctrl-C raises it at once, and the next run goes on from the last durable epoch.
    With `progress`, the run is shown on standard error.

    Raises `UsageError` for options that cannot be, and the `HeadwayError` that ended the run.

    >>> import headway as hw, tempfile
    >>> flow, found = hw.Flow("clicks"), []
    >>> clicks = flow.source("clicks", hw.Json, hw.items([{"at": 1}, {"at": 2}]), time="at")
    >>> clicks.to("found", hw.to_list(found))
    >>> ended = hw.run(flow, state=tempfile.mkdtemp(), drain=True)
    >>> ended.status, ended.events, ended.outputs["found"], found
    ('drained', 2, 2, [{'at': 1}, {'at': 2}])
    """
    from headway.declare.loading import is_loading

    flow = as_flow(flow, "what hw.run(...) is given")
    if is_loading():
        msg = (
            "hw.run(...) is called while the file of the flow is imported, as by `headway run` and by each worker: put "
            'the call below  if __name__ == "__main__":'
        )
        raise FlowError(msg)
    from headway.cli.places import default_state_dir
    from headway.declare.imported import spec_of
    from headway.runtime.run import RunOptions

    if stop is not None and not callable(stop):
        msg = f"stop is {stop!r}, it must be a function that says whether to stop, such as threading.Event().is_set"
        raise UsageError(msg)
    epoch_ms = duration_ms(epoch, what="epoch")
    if epoch_ms < EPOCH_LEAST_MS:
        msg = f"epoch is {epoch!r}, it must be {EPOCH_LEAST_MS}ms or longer"
        raise UsageError(msg)
    options = RunOptions(
        default_state_dir(flow) if state is None else _path_of(state),
        workers=workers,
        follow=follow,
        drain=drain,
        epoch_ms=epoch_ms,
        key_groups=key_groups,
        cache_bytes=cache_bytes,
    )
    spec = spec_of(flow) if workers > 1 else None
    return _run(flow, spec, options, stop, progress=progress)


def _path_of(state: Any) -> Path:
    try:
        return Path(state)
    except TypeError:
        msg = f"state is {state!r}, it must be the path of a directory, as text or a Path"
        raise UsageError(msg) from None


def _run(
    flow: Flow, spec: Optional[FlowSpec], options: RunOptions, stop: Optional[Callable[[], bool]], *, progress: bool
) -> RunSummary:
    from headway.cli.conduct import conduct
    from headway.cli.summary import summary_text
    from headway.declare.imported import as_imported
    from headway.runtime.stopping import StopFlag

    flag = StopFlag(stop) if stop is not None else StopFlag()
    with as_imported(spec):
        changes: list[str] = []
        tell = None if progress else changes.append
        ending = conduct(flow, options, spec=spec, flag=flag, progress=progress, tell=tell)
    if flag.by_interrupt:
        raise KeyboardInterrupt
    stats = ending.result.stats
    return RunSummary(
        flow=flow.name,
        status=ending.status,
        resumed=ending.resumed,
        events=ending.events,
        events_total=stats.events,
        triggers=stats.triggers,
        outputs={sink.name: stats.outputs.get(sink.name, 0) for sink in ending.plan.sinks},
        late=stats.late,
        dead_letters=stats.dead_letters,
        keys=stats.keys,
        timers=stats.timers,
        waiting=stats.waiting,
        watermark=stats.watermark,
        seconds=ending.seconds,
        restarts=ending.result.restarts,
        notices=(*changes, *ending.result.notices),
        state=ending.state_dir,
        text=summary_text(ending),
    )
