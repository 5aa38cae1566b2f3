"""`headway run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.backup_options import BackupRequest, backup_options, backups_beside
from headway.cli.companions import Asked, Companions
from headway.cli.conduct import conduct, is_stdout
from headway.cli.escapes import printable, printable_line
from headway.cli.hosts import HostRequest, host_options
from headway.cli.listening import listen_options
from headway.cli.measuring import metrics_option, traces_option
from headway.cli.options import (
    DURATION,
    SIZE,
    examples,
    flow_argument,
    host_name_option,
    json_option,
    set_option,
    token_option,
)
from headway.cli.process import say
from headway.cli.savepoint import check_kept, savepoint_options, savepoints_beside
from headway.running import EPOCH_LEAST_MS

if TYPE_CHECKING:
    from headway.cli.summary import Ending
    from headway.plan.stages import Plan

__all__ = ["run"]


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
        "headway run flows/abandoned_carts.py",
        "headway run flows/abandoned_carts.py --set input='events/shop-*.jsonl' --drain --state .headway/events",
        "headway run flows/abandoned_carts.py --follow --workers 4 --state /var/lib/carts",
        "headway run flows/my_flow.py --listen 127.0.0.1:8080 --metrics 127.0.0.1:9100",
        "headway run my_flow.py --follow --cluster hosts.toml --here a --backup-to s3://our-backups/carts",
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
    help="Processes that share the work; a file is read by one of them. It may differ from run to run: the result "
    "stays the same.",
)
@host_options
@click.option("--follow", is_flag=True, help="Wait for more at the end of the input, until stopped by Ctrl-C.")
@click.option(
    "--drain",
    is_flag=True,
    help="At the end of the input close the books: time goes on until all timers have fired. "
    "The state directory takes no more input afterwards: the next run needs another one.",
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
    help="How often progress is made durable, 10ms or longer, such as 500ms or 1m. Longer epochs cost less; "
    "what is printed waits for the end of its epoch.",
)
@click.option(
    "--key-groups",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Shards of the keys, and so the most workers that can share them. Fixed at the first run of a state "
    "directory. Default: 12.",
)
@click.option(
    "--cache",
    "cache_bytes",
    type=SIZE,
    default="128MiB",
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
    callback=_at_least(2_000),
    metavar="DURATION",
    help="Restart all workers when nothing has moved for this long. With --workers 2 or more.",
)
@click.option(
    "--serve",
    "serve_at",
    metavar="HOST:PORT",
    help="Answer questions about the flow's views there, in a process beside the run; see headway serve.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Give up after this many restarts in a row. With --workers 2 or more.",
)
@savepoint_options
@backup_options
@listen_options
@metrics_option
@traces_option
@token_option
@host_name_option
def run(
    flow: str,
    settings: dict[str, str],
    as_json: bool,
    quiet: bool,
    savepoint_every_ms: Optional[int],
    keep: int,
    **options: Any,
) -> None:
    """Run a flow: to the end of its input, or with --follow until it is stopped.

    FLOW is a Python file, or the name of a module; add :NAME where it has several flows. What the flow has
    done is in its state directory: start it again, after a stop or a crash, and it goes on from there, without
    losing or repeating anything. Ctrl-C or SIGTERM stop it gracefully; a second Ctrl-C ends it at once.

    Durations are numbers with a unit: 250ms, 90s, 30m, 1h30m, 7d.
    """
    asked = Asked.taken_from(options)
    asked_backups = BackupRequest.taken_from(options)
    check_kept(savepoint_every_ms)
    _check_together(options, asked.listen)
    options["follow"] = options["follow"] or asked.listen is not None
    request = HostRequest.taken_from(options)
    if request is not None:
        given = {"--listen": asked.listen, "--serve": asked.serve_at, "--savepoint-every": savepoint_every_ms}
        given["--backup-anew"] = asked_backups.anew or None
        HostRequest.check_alone(options, given)
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.runtime.run import RunOptions, plan_of
    from headway.runtime.stopping import StopFlag
    from headway.tracing.start import check_traces

    spec = FlowSpec(flow, settings)
    loaded = load_flow(spec)
    if options["traces"] is not None:
        check_traces(options["traces"])
    run_options = RunOptions(**{**options, "state_dir": options["state_dir"] or default_state_dir(loaded)})
    if as_json:
        _check_stdout_is_free(plan_of(loaded, run_options.state_dir))
    show = not (quiet or as_json)
    servers = Companions.checked(loaded, spec, run_options, asked, show=show)
    if savepoint_every_ms is not None:
        beside = savepoints_beside(servers.beside, run_options.directory, savepoint_every_ms, keep)
        servers = servers._replace(beside=beside)
    backups = None
    if asked_backups.url is not None and request is None:
        metrics_dir = None if servers.measuring is None else servers.measuring.directory
        backups = asked_backups.prepared(loaded.name, run_options.directory, _teller(shows=show))
        servers = servers._replace(beside=backups_beside(servers.beside, backups, metrics_dir))
    ending = conduct(
        loaded,
        run_options,
        flag=StopFlag(),
        spec=spec,
        hosted=None if request is None else request.hosted(asked_backups.plan()),
        progress=show,
        **servers._asdict(),
    )
    if backups is not None:
        backups.finish()
    _tell(ending, as_json=as_json, quiet=quiet)


def _teller(*, shows: bool) -> Callable[[str], None]:
    """Tells what must not be missed before the run, also where nothing else is shown."""
    return lambda text: click.echo(printable(text if shows else f"headway: note: {text}"), err=True)


def _check_together(options: dict[str, Any], listen: Optional[str]) -> None:
    """Raise for options that exclude each other."""
    if options["drain"] and options["follow"]:
        msg = "--drain closes the books at the end of the input, and --follow never sees one: choose one of the two"
        raise click.UsageError(msg)
    if listen is not None and options["drain"]:
        msg = "--drain closes the books at the end of the input, and --listen takes ever more: choose one of the two"
        raise click.UsageError(msg)


def _check_stdout_is_free(plan: Plan) -> None:
    for sink in plan.sinks:
        if is_stdout(sink):
            msg = f"--json writes to stdout, and so does the output {sink.name!r} of the flow: leave --json out"
            raise click.UsageError(msg)


def _tell(ending: Ending, *, as_json: bool, quiet: bool) -> None:
    from headway.cli.summary import notices, summary_json, summary_text, warnings

    if as_json or quiet:
        for text in warnings(ending):
            click.echo(f"headway: {printable_line(text)}", err=True)
    if as_json:
        import json

        say(json.dumps(summary_json(ending)))
    elif quiet:
        for text in notices(ending):
            click.echo(f"headway: note: {printable_line(text)}", err=True)
    else:
        click.echo(summary_text(ending), err=True)
