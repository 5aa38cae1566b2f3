"""`headway why`: what led to a trigger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import json_text, printable
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.plan.stages import Plan
    from headway.why.replay import History, Step

__all__ = ["why"]


@click.command(
    short_help="Tell what led to a trigger.",
    epilog=examples(
        "headway why flows/abandoned_carts.py 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "headway why flows/abandoned_carts.py 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --key u000123 --json",
    ),
)
@flow_argument
@click.argument("trigger_id", metavar="TRIGGER_ID")
@set_option
@state_option
@click.option("--key", metavar="K", help="The key of the trigger, where it is known: else it is looked for first.")
@json_option("Write one JSON object a line: the trigger, then each step.")
@click.pass_context
def why(
    ctx: click.Context,
    flow: str,
    trigger_id: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    key: Optional[str],
    as_json: bool,
) -> None:
    """Tell what led to a trigger: the events and timers of its key, and its state before and after each.

    TRIGGER_ID is the `id` of the CloudEvent. The flow is run over its log in memory, from the beginning and with the
    same --set as the run; nothing is written or delivered. It takes some 10 µs for each event of the log, and 40 where
    the key is not known. The exit code is 1 when the flow makes no such trigger of it.
    """
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.runtime.apart import keep_apart
    from headway.runtime.run import plan_of
    from headway.state.manifest import Manifest
    from headway.why.replay import history_of

    loaded = load_flow(FlowSpec(flow, settings))
    directory = state_dir or default_state_dir(loaded)
    plan = plan_of(loaded, directory)
    keep_apart(plan, directory)
    manifest = Manifest.load(directory) if directory.exists() else None
    drained = manifest is not None and manifest.drain is not None
    found = history_of(plan, trigger_id, key or _key_in_files(plan, trigger_id), drained=drained)
    if found is None:
        click.echo(
            f"{loaded.name} makes no trigger {printable(trigger_id)} of its log: check the id and --set, and whether "
            "the flow and its inputs are those that it was made by",
            err=True,
        )
        ctx.exit(1)
    for line in _records(found) if as_json else _text(found):
        say(line)


def _key_in_files(plan: Plan, trigger_id: str) -> Optional[str]:
    """The key of a trigger that a file of the flow has."""
    import msgspec

    wanted = trigger_id.encode(errors="replace")
    for sink in plan.sinks:
        path = sink.node.output.writes
        if path is None or sink.node.trigger_type is None or not Path(path).is_file():
            continue
        with Path(path).open("rb") as lines:
            for line in lines:
                if wanted in line:
                    try:
                        found = msgspec.json.decode(line, type=dict[str, Any])
                    except msgspec.DecodeError:
                        continue  # The last line of a run that goes on.
                    if found.get("id") == trigger_id and isinstance(found.get("subject"), str):
                        return str(found["subject"])
    return None


def _records(history: History) -> Iterator[str]:
    from dataclasses import asdict

    yield json_text(history.trigger._asdict())
    for step in history.steps:
        yield json_text({**asdict(step), "emitted": [{"port": port, "value": value} for port, value in step.emitted]})


def _text(history: History) -> Iterator[str]:
    from headway.basics.times import format_time

    trigger = history.trigger
    of_key = "" if trigger.key is None else f", key {printable(trigger.key)}"
    yield f"trigger {trigger.id} of the output {printable(trigger.output)}{of_key}, {format_time(trigger.time_ms)}"
    yield f"  {json_text(trigger.value)}"
    if not history.steps:
        yield "made by the steps of a source, out of one event: no operator has kept anything for it"
    for step in history.steps:
        yield ""
        yield from _step(step)
    yield ""
    yield "the last step made the trigger" if history.steps else "there is no more to tell"


def _step(step: Step) -> Iterator[str]:
    from headway.basics.times import format_time

    what = step.handler.removeprefix("on_")
    if step.handler == "on_timer":
        shown = f"timer {printable(step.subject['name'])}"
    else:
        shown = f"{printable(what)} {json_text(step.subject)}"
    yield f"{format_time(step.time_ms)}  {printable(step.operator)}: {shown}"
    if step.before == step.after:
        yield f"  state   {json_text(step.after)}" if step.after is not None else "  state   nothing is kept"
    else:
        yield f"  before  {_state(step.before)}"
        yield f"  after   {_state(step.after)}"
    for name, due_ms in sorted(step.timers.items()):
        if step.timers_before.get(name) != due_ms:
            how = "moved" if name in step.timers_before and step.handler != "on_timer" else "set"
            yield f"  timer   {printable(name)} {how} to {format_time(due_ms)}"
    for name in sorted(set(step.timers_before) - set(step.timers)):
        fired = step.handler == "on_timer" and step.subject["name"] == name
        yield f"  timer   {printable(name)} {'has fired' if fired else 'cancelled'}"
    for port, value in step.emitted:
        yield f"  sends   {'' if port == 'main' else printable(port) + ' '}{json_text(value)}"


def _state(state: Any) -> str:
    return "nothing is kept" if state is None else json_text(state)
