"""`headway state check` and `headway state drop`: what a change of the flow means for what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click

from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.state.changes import Change
    from headway.state.reader import StateReader

__all__ = ["check", "drop", "state_option"]

state_option = click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The state directory, as for `headway run`. Default: that of the flow.",
)


@click.command(
    short_help="Tell what has changed since the last run, and whether the flow can go on.",
    epilog=examples(
        "headway state check flows/abandoned_carts.py",
        "headway state check flows/abandoned_carts.py --set after=1h --state /var/lib/carts",
    ),
)
@flow_argument
@set_option
@state_option
@json_option("Write everything as one JSON object.")
@click.pass_context
def check(ctx: click.Context, flow: str, settings: dict[str, str], state_dir: Optional[Path], as_json: bool) -> None:
    """Tell what has changed since the last run, and whether the flow can go on with what it kept.

    Runs nothing and changes nothing, also while the flow runs. The exit code is 0 when the next run goes on, and 3 when
    it would be refused; what is refused says what to do. `headway run` says the same before the first event.
    """
    from headway.cli.escapes import json_text, printable
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.errors import IncompatibleStateError
    from headway.runtime.directory import StateDirectory
    from headway.runtime.opening import changes_of
    from headway.runtime.run import plan_of

    loaded = load_flow(FlowSpec(flow, settings))
    directory = state_dir or default_state_dir(loaded)
    changes = changes_of(plan_of(loaded, directory), StateDirectory(directory))
    refused = [change for change in changes or () if change.refused]
    if as_json:
        records = [_record(change) for change in changes or ()]
        say(json_text({"flow": loaded.name, "state": str(directory), "goes_on": not refused, "changes": records}))
    elif changes is None:
        say(printable(f"{directory} holds nothing yet: the flow starts with its first run"))
    else:
        for change in changes:
            say(printable(f"{'refused' if change.refused else 'told'}  {change}"))
        say(printable(_verdict(loaded.name, directory, changes, refused)))
    if refused:
        ctx.exit(IncompatibleStateError.exit_code)


def _verdict(name: str, directory: Path, changes: list[Change], refused: list[Change]) -> str:
    if refused:
        return f"{name} cannot go on with {directory}: {len(refused)} of {len(changes)} changes refused"
    return f"{name} goes on with {directory}: " + ("nothing has changed" if not changes else _count(len(changes)))


def _count(changes: int) -> str:
    return f"{changes} change{'' if changes == 1 else 's'}"


def _record(change: Change) -> dict[str, object]:
    return {"what": change.what, "text": change.text, "refused": change.refused, "next_step": change.next_step}


@click.command(
    short_help="Forget what an operator keeps, so that it starts empty.",
    epilog=examples(
        "headway state drop flows/abandoned_carts.py abandonment",
        "headway state drop flows/abandoned_carts.py abandonment --yes --state /var/lib/carts",
    ),
)
@flow_argument
@click.argument("names", metavar="OPERATOR...", nargs=-1, required=True)
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(flow: str, names: tuple[str, ...], state_dir: Optional[Path], yes: bool) -> None:
    """Forget what an operator keeps, so that it starts empty; or what the flow no longer has.

    FLOW is a flow or a state directory. OPERATOR is the name of an operator, or of an operator, output or source that
    the flow no longer has. Says what would be lost, and asks. The flow must not be running. There is no way back but a
    copy of the state directory.
    """
    from headway.cli.escapes import printable
    from headway.cli.places import state_dir_of
    from headway.runtime.directory import StateDirectory
    from headway.runtime.opening import drop_state
    from headway.state.dropping import without
    from headway.state.reader import StateReader

    directory = state_dir or state_dir_of(flow)
    with StateReader(directory) as reader:
        left = reader.manifest
        for name in names:
            left = without(left, name)
            say(printable(_loss(reader, name)))
    if not yes:
        click.confirm("Forget this?", abort=True, err=True)
    kept = StateDirectory(directory)
    with kept.locked():
        drop_state(kept, names)
    say(printable(f"dropped: {', '.join(names)}"))


def _loss(reader: StateReader, name: str) -> str:
    """What is lost with a name."""
    from headway.state.dropping import kept_under

    operators = [one for one in kept_under(reader.manifest, name) if one in reader.kept()]
    output = reader.manifest.retired.outputs.get(name)
    if output is not None and output.delivered:
        queues = list(reader.deliveries(output.id))
        alive, dead = sum(queue.waiting for queue in queues), sum(queue.totals.died for queue in queues)
        return f"{name}: {alive:,} triggers that wait, {dead:,} that were given up"
    if not operators:
        return f"{name}: its position"
    rows = timers = 0
    for operator in operators:
        for row in reader.rows(operator):
            rows += 1
            timers += len(row.timers)
    waiting = ", and the events that wait for it" if name in reader.manifest.operators else ""
    return f"{name}: {rows:,} rows, {timers:,} timers{waiting}"
