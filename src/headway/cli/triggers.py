"""`headway triggers`: what waits for delivery, what was given up, and what is to become of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable, printable_line
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.delivery.requests import Counts
    from headway.runtime.triggerbox import OutputTriggers, StoredTrigger, Triggerbox

__all__ = ["triggers"]

SHOWN = 20
_REASON_SHOWN = 100


@click.group(cls=Commands)
def triggers() -> None:
    """Look at triggers that are delivered to targets, also while the flow runs, and say what becomes of them.

    A trigger waits in the state directory until its target has taken it. Shown is what is durable.
    """


def _of_triggers(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands have: whose triggers. The command is given the `Triggerbox`."""

    @click.argument("place", metavar="FLOW|DIR")
    @state_option
    @wraps(command)
    def with_triggerbox(place: str, state_dir: Optional[Path], **options: Any) -> None:
        from headway.cli.places import state_dir_of
        from headway.runtime.triggerbox import Triggerbox

        with Triggerbox(state_dir_of(place) if state_dir is None else state_dir) as box:
            command(box, **options)

    return with_triggerbox


output_option = click.option("--output", metavar="NAME", help="Only triggers of this output. Default: of all.")
key_option = click.option("--key", metavar="K", help="Only triggers of this key.")


@triggers.command(
    name="ls",
    epilog=examples(
        "headway triggers ls flows/abandoned_carts.py",
        "headway triggers ls .headway/abandoned-carts --output cart.abandoned --dead",
        "headway triggers ls flows/abandoned_carts.py --key u0001 --json",
    ),
)
@_of_triggers
@output_option
@key_option
@click.option("--dead", is_flag=True, help="List what was given up, and not what waits.")
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help=f"List at most N triggers, 0 for all. Default: {SHOWN}."
)
@json_option("Write one JSON object a line.")
def ls(
    box: Triggerbox, output: Optional[str], key: Optional[str], dead: bool, limit: Optional[int], as_json: bool
) -> None:
    """Tell how it stands with each output that is delivered; with --output, --key or --dead list the triggers.

    Waiting: made, and not yet taken. Retried: keys whose first trigger has failed and is tried again. Dead: given up.
    """
    if output is None and key is None and not dead:
        summaries = box.outputs()
        for summary in summaries:
            for line in [json_text(summary)] if as_json else _summary(summary):
                say(line)
        if not summaries and not as_json:
            say("the flow delivers nothing")
        return
    from headway.runtime.triggerbox import Wanted

    wanted = Wanted(output, key)
    most = SHOWN if limit is None else limit
    for number, trigger in enumerate(box.dead(wanted) if dead else box.waiting(wanted)):
        if most and number == most:
            if not as_json:
                say(f"... and more: --limit 0 shows all, --limit N the first N (shown: {most})")
            return
        say(json_text(trigger) if as_json else printable_line("  ".join(_line(trigger))))


@triggers.command(
    name="show",
    epilog=examples(
        "headway triggers show flows/abandoned_carts.py 5f2b6a0c4be7c0d2f5b5b6d8a3a5e1f0",
        "headway triggers show .headway/abandoned-carts 5f2b6a0c4be7c0d2f5b5b6d8a3a5e1f0 --json",
    ),
)
@_of_triggers
@click.argument("trigger", metavar="ID")
@json_option("Write one JSON object.")
@click.pass_context
def show(ctx: click.Context, box: Triggerbox, trigger: str, as_json: bool) -> None:
    """Show one trigger that waits or was given up, with its data and what its target answered last.

    The exit code is 1 when there is none: it was delivered, dropped, or never made. Reads all that waits.
    """
    found = box.find(trigger)
    if found is None:
        click.echo(f"no trigger {trigger} waits or was given up: it was delivered or dropped, or never made", err=True)
        if as_json:
            say("null")
        ctx.exit(1)
    for line in [json_text(found)] if as_json else _block(found):
        say(line)


@triggers.command(
    name="retry",
    epilog=examples(
        "headway triggers retry flows/abandoned_carts.py",
        "headway triggers retry .headway/abandoned-carts --output cart.abandoned --key u0001",
    ),
)
@_of_triggers
@output_option
@key_option
@json_option("Write one JSON object.")
def retry(box: Triggerbox, output: Optional[str], key: Optional[str], as_json: bool) -> None:
    """Try now what waits for a later time, as when the target is known to be back.

    Also a target that had said that it wants nothing more (HTTP 410) gets triggers again. A stopped flow tries with its
    next run.
    """
    from headway.runtime.triggerbox import Wanted

    counts = box.change("retry", Wanted(output, key))
    _tell(counts, as_json, f"{_count(counts.retried, 'key')} retried now")


@triggers.command(
    name="redrive",
    epilog=examples(
        "headway triggers redrive flows/abandoned_carts.py --all",
        "headway triggers redrive .headway/abandoned-carts --key u0001",
        "headway triggers redrive .headway/abandoned-carts 5f2b6a0c4be7c0d2f5b5b6d8a3a5e1f0",
    ),
)
@_of_triggers
@click.argument("ids", metavar="[ID]...", nargs=-1)
@output_option
@key_option
@click.option("--all", "everything", is_flag=True, help="All that was given up.")
@json_option("Write one JSON object.")
def redrive(
    box: Triggerbox,
    ids: tuple[str, ...],
    output: Optional[str],
    key: Optional[str],
    everything: bool,
    as_json: bool,
) -> None:
    """Put triggers back that were given up: they go out with the id and the bytes that they had.

    They go before what else waits of their keys, but may come behind later ones that were delivered meanwhile.
    """
    from headway.runtime.triggerbox import Wanted

    if not (ids or output or key is not None or everything):
        msg = "say which: --output NAME, --key K, ids as `headway triggers ls --dead` lists them, or --all"
        raise click.UsageError(msg)
    counts = box.change("redrive", Wanted(output, key, list(ids) or None))
    _tell(counts, as_json, f"{_count(counts.redriven, 'trigger')} put back")


@triggers.command(
    name="drop",
    epilog=examples(
        "headway triggers drop flows/abandoned_carts.py --dead",
        "headway triggers drop .headway/abandoned-carts --waiting --key u0001 --yes",
        "headway triggers drop .headway/abandoned-carts 5f2b6a0c4be7c0d2f5b5b6d8a3a5e1f0",
    ),
)
@_of_triggers
@click.argument("ids", metavar="[ID]...", nargs=-1)
@output_option
@key_option
@click.option("--waiting", is_flag=True, help="What waits.")
@click.option("--dead", is_flag=True, help="What was given up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option("Write one JSON object.")
def drop(
    box: Triggerbox,
    ids: tuple[str, ...],
    output: Optional[str],
    key: Optional[str],
    waiting: bool,
    dead: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove triggers that nobody is to get any more: what waits, what was given up, or both.

    Says how many there are, and asks. What is made meanwhile stays. One that is under way is removed when it fails.
    There is no way back but a copy of the state directory.
    """
    from headway.delivery.requests import Counts
    from headway.runtime.triggerbox import Wanted

    if not (ids or waiting or dead):
        msg = "say which: --waiting, --dead, both, or ids as `headway triggers ls` lists them"
        raise click.UsageError(msg)
    wanted = Wanted(output, key, list(ids) or None)
    both = not (waiting or dead)
    alive = sum(1 for _ in box.waiting(wanted)) if waiting or both else 0
    given_up = sum(1 for _ in box.dead(wanted)) if dead or both else 0
    counts = Counts()
    if alive or given_up:
        if not yes:
            what = " and ".join(
                part for part in (f"{alive:,} waiting" * bool(alive), f"{given_up:,} dead" * bool(given_up)) if part
            )
            click.confirm(f"Drop {what} {'trigger' if alive + given_up == 1 else 'triggers'}?", abort=True, err=True)
        if alive:
            counts = counts.plus(box.change("drop", wanted))
        if given_up:
            counts = counts.plus(box.change("forget", wanted))
    under_way = f"; {counts.under_way:,} under way, to be dropped when they fail" if counts.under_way else ""
    _tell(counts, as_json, f"{_count(counts.dropped, 'trigger')} dropped{under_way}")


@triggers.command(
    name="deliver",
    epilog=examples(
        "headway triggers deliver flows/abandoned_carts.py --set webhook=https://shop.example/hooks",
        "headway triggers deliver flows/abandoned_carts.py --state /var/lib/carts --wait",
    ),
)
@flow_argument
@set_option
@state_option
@click.option("--wait", is_flag=True, help="Go on until nothing waits, also for what is to be retried later.")
@json_option("Write one JSON object.")
def deliver(flow: str, settings: dict[str, str], state_dir: Optional[Path], wait: bool, as_json: bool) -> None:
    """Deliver what waits without reading on: of a stopped flow, or of one whose books are closed.

    Ctrl-C ends it; what has not been taken then waits as before.
    """
    from headway.cli.deliveries import delivery_json, ended_text
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.runtime.delivering import deliver_waiting
    from headway.runtime.directory import StateDirectory
    from headway.runtime.stopping import StopFlag

    loaded = load_flow(FlowSpec(flow, settings))
    directory = StateDirectory(state_dir or default_state_dir(loaded))

    def tell(text: str) -> None:
        click.echo(printable_line(f"note: {text}"), err=True)

    with StopFlag().on_signals() as stop:
        found = deliver_waiting(loaded, directory, until_none=wait, stopping=stop, tell=tell)
    if as_json:
        say(json_text({name: delivery_json(stats) for name, stats in found.items()}))
        return
    for name, stats in found.items():
        say(printable_line(f"{name}: {ended_text(stats)}, to {stats.target}"))
    if not found:
        say("the flow delivers nothing")


def _tell(counts: Counts, as_json: bool, text: str) -> None:
    record = {
        "retried": counts.retried,
        "redriven": counts.redriven,
        "dropped": counts.dropped,
        "under_way": counts.under_way,
    }
    say(json_text(record) if as_json else text)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _summary(summary: OutputTriggers) -> Iterator[str]:
    from headway.basics.times import format_time

    gone = "" if summary.in_flow else ", which the flow has no more"
    yield printable_line(f"{summary.output}: {summary.edge} to {summary.target}{gone}")
    retried = ""
    if summary.retried_keys and summary.next_attempt_ms is not None:
        when = format_time(summary.next_attempt_ms)
        retried = f" ({_count(summary.retried_keys, 'key')} retried, next at {when})"
    yield f"  {summary.waiting:,} waiting{retried}, {summary.dead:,} dead, {summary.delivered:,} delivered" + (
        f", {summary.dropped:,} dropped" if summary.dropped else ""
    )
    if summary.stopped:
        yield printable_line(f"  it wants nothing more: {summary.stopped}; headway triggers retry asks it again")
    elif summary.breaker not in (None, "closed"):
        why = f" ({summary.reason})" if summary.reason else ""
        yield printable_line(f"  its breaker is {summary.breaker}: it has failed{why}, and is left alone for a while")


def _line(trigger: StoredTrigger) -> Iterator[str]:
    from headway.basics.times import format_time

    yield trigger.id
    yield f"{trigger.status:<7}"
    yield printable(trigger.key or "-")
    yield printable(trigger.type)
    yield format_time(trigger.time_ms)
    if trigger.attempts:
        yield _count(trigger.attempts, "attempt")
    if trigger.next_attempt_ms is not None:
        yield f"next at {format_time(trigger.next_attempt_ms)}"
    if trigger.reason:
        short = trigger.reason
        yield short if len(short) <= _REASON_SHOWN else short[: _REASON_SHOWN - 1] + "…"


def _block(trigger: StoredTrigger) -> Iterator[str]:
    import msgspec

    from headway.basics.times import format_time

    facts = {
        "output": trigger.output,
        "status": trigger.status,
        "key": trigger.key,
        "attempts": f"{trigger.attempts:,}",
        "next at": None if trigger.next_attempt_ms is None else format_time(trigger.next_attempt_ms),
        "given up": None if trigger.died_ms is None else format_time(trigger.died_ms),
        "reason": trigger.reason or None,
        "answer": trigger.head or None,
    }
    for name, text in facts.items():
        if text is not None:
            yield printable_line(f"{name:<8}  {text}")
    for line in msgspec.json.format(json_text(trigger.event), indent=2).splitlines():
        yield printable_line(line)
