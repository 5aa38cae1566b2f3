"""`headway run`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.options import DURATION, SIZE, examples, flow_argument, json_option, set_option

if TYPE_CHECKING:
    from headway.cli.summary import Ending
    from headway.flow import Flow
    from headway.loading import FlowSpec
    from headway.plan import Plan
    from headway.runtime.run import RunOptions
    from headway.runtime.stats import RunStats

__all__ = ["run"]

EPOCH_LEAST_MS = 10


def _at_least(least_ms: int) -> Any:
    def check(ctx: click.Context, param: click.Parameter, value: int) -> int:
        if value < least_ms:
            msg = f"{value}ms is too short: it must be {least_ms}ms or longer"
            raise click.BadParameter(msg, ctx, param)
        return value

    return check


@click.command(
    short_help="Run a flow, to the end of its input or until it is stopped.",
    epilog=examples(
        "headway run flows/abandoned_carts.py --drain",
        "headway run flows/abandoned_carts.py --set input='events/*.jsonl' --set after=1h",
        "headway run flows/abandoned_carts.py --follow --workers 4 --state /var/lib/carts",
    ),
)
@flow_argument
@set_option
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Directory for all that the flow keeps. The next run with it goes on where this one ends. "
    "Default: .headway/NAME-OF-THE-FLOW.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the work. It may differ from run to run: the result stays the same.",
)
@click.option("--follow", is_flag=True, help="Wait for more at the end of the input, until stopped by Ctrl-C.")
@click.option(
    "--drain",
    is_flag=True,
    help="At the end of the input close the books: time goes on until all timers have fired. "
    "The state directory takes no more input afterwards.",
)
@json_option("Write how the run ended as one JSON object to stdout, and show no progress.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary; warnings and errors only.")
@click.option(
    "--epoch",
    "epoch_ms",
    type=DURATION,
    default="1s",
    show_default=True,
    callback=_at_least(EPOCH_LEAST_MS),
    metavar="DURATION",
    help="How often progress is made durable, 10ms or longer, such as 500ms or 1m. Triggers leave at its end.",
)
@click.option(
    "--key-groups",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Shards of the keys, and so the most workers that can share them. Fixed at the first run of a state "
    "directory. Default: 16.",
)
@click.option(
    "--cache",
    "cache_bytes",
    type=SIZE,
    default="256MiB",
    show_default=True,
    metavar="SIZE",
    help="Memory of each worker for recently used state, such as 512MiB or 2GiB.",
)
@click.option(
    "--hang-after",
    "hang_after_ms",
    type=DURATION,
    default="60s",
    show_default=True,
    callback=_at_least(1_000),
    metavar="DURATION",
    help="Restart all workers when nothing has moved for this long. With --workers 2 or more.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Give up after this many restarts in a row. With --workers 2 or more.",
)
def run(flow: str, settings: dict[str, str], as_json: bool, quiet: bool, **options: Any) -> None:
    """Run a flow: to the end of its input, or with --follow until it is stopped.

    FLOW is a Python file, or the name of a module; add :NAME where it has several flows. What the flow has
    done is in its state directory: start it again, after a stop or a crash, and it goes on from there, without
    losing or repeating anything. Ctrl-C or SIGTERM stop it gracefully; a second Ctrl-C ends it at once.

    Durations are numbers with a unit: 250ms, 90s, 30m, 1h30m, 7d.
    """
    if options["drain"] and options["follow"]:
        msg = "--drain closes the books at the end of the input, and --follow never sees one: choose one of the two"
        raise click.UsageError(msg)
    from headway.cli.places import default_state_dir
    from headway.loading import FlowSpec, load_flow
    from headway.runtime.run import RunOptions, compile_flow

    spec = FlowSpec(flow, settings)
    loaded = load_flow(spec)
    run_options = RunOptions(**{**options, "state_dir": options["state_dir"] or default_state_dir(loaded)})
    plan = compile_flow(loaded, run_options.state_dir)
    if as_json:
        _check_stdout_is_free(plan)
    ending = _run(spec, loaded, plan, run_options, quiet=quiet or as_json)
    _tell(ending, as_json=as_json, quiet=quiet)


def _check_stdout_is_free(plan: Plan) -> None:
    for sink in plan.sinks:
        if _is_stdout(sink.node.output):
            msg = f"--json writes to stdout, and so does the output {sink.name!r} of the flow: leave --json out"
            raise click.UsageError(msg)


def _is_stdout(output: object) -> bool:
    from headway.connectors.stdout import StdoutOutput

    return isinstance(output, StdoutOutput)


def _run(spec: FlowSpec, flow: Flow, plan: Plan, options: RunOptions, *, quiet: bool) -> Ending:
    from headway.cli.progress import progress_for, shown
    from headway.cli.summary import Ending
    from headway.runtime.run import StopFlag, run_flow
    from headway.runtime.supervisor import run_cluster
    from headway.state.manifest import Manifest

    resumed = Manifest.load(options.state_dir) is not None
    stdout_is_shown = sys.stdout.isatty() and any(_is_stdout(sink.node.output) for sink in plan.sinks)
    flag = StopFlag()
    progress = progress_for(plan.flow, quiet=quiet, stdout_is_shown=stdout_is_shown, stopping=flag)
    first: Optional[RunStats] = None

    def observe(stats: RunStats) -> None:
        nonlocal first
        first = first or stats
        progress.observe(stats)

    started = time.monotonic()
    with flag.on_signals() as stop, shown(progress):
        if options.workers == 1:
            result = run_flow(flow, options, stop=stop, observe=observe)
        else:
            result = run_cluster(spec, options, stop=stop, observe=observe)
    before = result.before.events if result.before is not None else 0
    if options.workers == 1 and first is not None:
        # It is taken before anything is read, and so counts also what a run has read that was killed later.
        before = max(before, first.events)
    return Ending(plan, options.state_dir, result, before, resumed, time.monotonic() - started)


def _tell(ending: Ending, *, as_json: bool, quiet: bool) -> None:
    from headway.cli.summary import summary_json, summary_text

    if as_json:
        import json

        click.echo(json.dumps(summary_json(ending)))
    elif not quiet:
        click.echo(summary_text(ending), err=True)
