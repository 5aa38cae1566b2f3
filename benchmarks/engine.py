"""The measured side: `python -m benchmarks.engine SPEC` runs a flow once and tells how long it took.

It does what `headway run` does, and takes the time between the imports and the end.
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.procfs import memory_of
from headway.backups.automatic import AutomaticBackups
from headway.cli.backup_options import BackupRequest
from headway.cli.measuring import Measuring
from headway.declare.loading import FlowSpec, load_flow
from headway.metrics.snapshots import RunObserver, snapshot_directory
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.runtime.stopping import StopFlag
from headway.runtime.supervisor import run_cluster

__all__ = ["EngineReport", "EngineSpec"]


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run."""

    flow: str
    parameters: dict[str, str]
    state_dir: str
    workers: int = 1
    epoch_ms: int = 1_000
    cache_bytes: int = 128 << 20
    follow: bool = False
    """Wait for more input, until SIGTERM."""
    drain: bool = False
    sync: bool = True
    metrics: str = ""
    """Where metrics are exported; nowhere by default."""
    backup_to: str = ""
    """Where backups are made, and a lost state directory comes from; nowhere by default. With one worker."""
    backup_every_ms: int = 600_000


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    running_s: float
    """From opening the state until everything is settled; without start-up and imports."""
    running_cpu_s: float
    """CPU time of this process meanwhile, all its threads together; it says nothing when the workers are others."""
    events: int
    """Read in the whole life of the state directory."""
    outputs: int
    keys: int
    timers: int
    restarts: int
    peak_bytes: int


def run(spec: EngineSpec) -> EngineReport:
    """Run the flow to the end of its input."""
    flow_spec = FlowSpec(spec.flow, spec.parameters)
    options = RunOptions(
        Path(spec.state_dir),
        workers=spec.workers,
        epoch_ms=spec.epoch_ms,
        cache_bytes=spec.cache_bytes,
        follow=spec.follow,
        drain=spec.drain,
        sync=spec.sync,
    )
    with StopFlag().on_signals() as stop:
        if spec.workers == 1:
            flow = load_flow(flow_spec)
            backups = prepared_backups(spec, flow.name, options) if spec.backup_to else None
            more = exported(spec, flow.name) if spec.metrics else {}
            if backups is not None:
                more["beside"] = backups.beside
            started_s, started_cpu_s = time.time(), time.process_time()
            result = run_flow(flow, options, stop=stop, **more)
            ended_s = time.time()
            if backups is not None:
                backups.finish()
        else:
            started_cpu_s = time.process_time()
            result = run_cluster(flow_spec, options, stop=stop)
            ended_s = time.time()
            started_s = opened_s(options.state_dir)
    return report_of(result, ended_s - started_s, time.process_time() - started_cpu_s)


def prepared_backups(spec: EngineSpec, name: str, options: RunOptions) -> AutomaticBackups:
    """The backups of a run, as `headway run --backup-to` makes them; a state directory that is lost comes back."""
    asked = BackupRequest(spec.backup_to, spec.backup_every_ms, 1_000, anew=False, take_over=True)
    return asked.prepared(name, options.directory, lambda text: None)


def exported(spec: EngineSpec, name: str) -> dict[str, Any]:
    """What a run is told so that its metrics are exported, as `headway run --metrics` does."""
    state_dir = Path(spec.state_dir)
    directory = snapshot_directory(state_dir)
    measuring = Measuring.checked(name, spec.metrics, directory, directory.with_name("log"), state_dir=state_dir)
    observer = RunObserver(spec.workers)
    return {"observe": observer.observe, "beside": lambda: measuring.beside(lambda text: None, observer)}


def opened_s(state_dir: Path) -> float:
    """When the first key group of a new state directory was opened: its database then got its identity."""
    return min(path.stat().st_mtime for path in state_dir.glob("groups/*/IDENTITY"))


def report_of(result: RunResult, running_s: float, running_cpu_s: float) -> EngineReport:
    """The run in numbers."""
    stats = result.stats
    return EngineReport(
        running_s=running_s,
        running_cpu_s=running_cpu_s,
        events=stats.events,
        outputs=stats.triggers,
        keys=stats.keys,
        timers=stats.timers,
        restarts=result.restarts,
        peak_bytes=memory_of().peak,
    )


def main() -> None:
    """Entry point of the process."""
    report = run(msgspec.json.decode(sys.argv[1], type=EngineSpec))
    print(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    main()
