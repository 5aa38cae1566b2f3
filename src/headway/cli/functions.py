"""`headway functions`: the durable functions of a flow, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Optional
from urllib.parse import quote

import click

from headway.basics.times import format_time
from headway.cli.changes import state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable
from headway.cli.function_messages import append_message, checked_json
from headway.cli.function_queries import query
from headway.cli.function_reset import reset
from headway.cli.function_timeline import draw, timeline_options
from headway.cli.options import SINCE, examples, flow_argument, json_option, set_option
from headway.cli.process import say
from headway.cli.replays import replay_check
from headway.cli.schedules import schedules
from headway.errors import UsageError

if TYPE_CHECKING:
    from headway.durable.listing import Filter
    from headway.state.reader import StateReader, StoredRow

__all__ = ["functions"]

_OPERATOR: Final = "functions"
_SHOWN: Final = 20


@click.group(cls=Commands)
def functions() -> None:
    """Start durable functions, tell them something, and look at them, also while their flow runs.

    An instance is named by its function and its id, as in refund_order/o-17. Shown is what is durable.
    """


def _asking(name: str, help_text: str) -> None:
    """Add a command that asks for what its name says."""

    def ask(flow: str, instance: str, settings: dict[str, str], state_dir: Optional[Path], as_json: bool) -> None:
        append_message(flow, settings, state_dir, instance, f"/{name}", "null", as_json=as_json)

    for option in (json_option("Write the receipt as JSON."), state_option, set_option):
        ask = option(ask)
    ask = click.argument("instance", metavar="NAME/ID")(ask)
    functions.command(name=name, help=help_text, short_help=help_text.split(".", 1)[0] + ".")(flow_argument(ask))


@functions.command(
    epilog=examples(
        "headway functions start flows/refund_order.py refund_order/o-17 '[\"o-17\"]'",
    )
)
@flow_argument
@click.argument("instance", metavar="NAME/ID")
@click.argument("arguments", default="[]")
@click.option(
    "--id-reuse",
    metavar="POLICY",
    help="What happens where there is an instance of the id: return leaves it as it is, reject refuses the start, new "
    "starts anew once it has ended, new_after_failure only where it has failed. Default: what the function's "
    "declaration says.",
)
@set_option
@state_option
@json_option("Write the receipt as JSON.")
def start(
    flow: str,
    instance: str,
    arguments: str,
    id_reuse: Optional[str],
    settings: dict[str, str],
    state_dir: Optional[Path],
    as_json: bool,
) -> None:
    """Start a function. ARGUMENTS is a JSON array by position, or an object by name.

    The start is durable when the command says so. What has come of it says `headway functions show`.
    """
    behind = "" if id_reuse is None else f"?id_reuse={quote(id_reuse, safe='')}"
    append_message(flow, settings, state_dir, instance, behind, checked_json(arguments, "ARGUMENTS"), as_json=as_json)


@functions.command(
    epilog=examples(
        "headway functions signal flows/order_fulfilment.py fulfil_order/o-17 cancel '\"too late\"'",
        "headway functions signal flows/order_fulfilment.py fulfil_order/o-99 gift true --start '[\"o-99\"]'",
    )
)
@flow_argument
@click.argument("instance", metavar="NAME/ID")
@click.argument("signal_name", metavar="SIGNAL")
@click.argument("value", default="null")
@click.option(
    "--start",
    "arguments",
    metavar="ARGUMENTS",
    help="Start the function with these arguments, as of `start`, where there is no instance of the id.",
)
@set_option
@state_option
@json_option("Write the receipt as JSON.")
def signal(
    flow: str,
    instance: str,
    signal_name: str,
    value: str,
    arguments: Optional[str],
    settings: dict[str, str],
    state_dir: Optional[Path],
    as_json: bool,
) -> None:
    """Send a signal to an instance. VALUE is JSON. With --start one that is started has it from its beginning."""
    behind = f"/signals/{quote(signal_name, safe='')}"
    checked_json(value, "VALUE")
    if arguments is not None:
        checked_json(arguments, "--start")
        behind, value = f"{behind}/start", f'{{"arguments":{arguments},"value":{value}}}'
    append_message(flow, settings, state_dir, instance, behind, value, as_json=as_json)


_asking("cancel", "End an instance in an orderly way: its code is told, and compensates.")
_asking("terminate", "End an instance here and now. None of its code runs any more.")
_asking("retry", "Go on with an instance that is blocked. Its code should have been mended before.")


@functions.command(
    epilog=examples(
        "headway functions ls flows/refund_order.py --status blocked",
        "headway functions ls flows/order_fulfilment.py --where customer=ann --since 1h",
    )
)
@click.argument("place", metavar="FLOW|DIR")
@state_option
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="S",
    help="Only those that are running, blocked, completed, failed, cancelled or terminated; several times for several.",
)
@click.option("--name", default="", metavar="NAME", help="Only those of a function.")
@click.option(
    "--where",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only those with such a search field; also with !=, <, <=, > and >=. May be given several times.",
)
@click.option("--since", "since_ms", type=SINCE, metavar="AGO|TIME", help="Only those started since, such as 1h.")
@click.option("--limit", type=click.IntRange(0), default=_SHOWN, show_default=True, metavar="N", help="0 for all.")
@json_option("Write one JSON object a line.")
def ls(
    place: str,
    state_dir: Optional[Path],
    statuses: tuple[str, ...],
    name: str,
    where: tuple[str, ...],
    since_ms: Optional[int],
    limit: int,
    as_json: bool,
) -> None:
    """List instances, by function and id. All that is asked for must hold."""
    from headway.durable.listing import filter_of

    wanted = filter_of(name=name, statuses=statuses, where=where, since_ms=since_ms)
    with _reader(place, state_dir) as reader:
        shown = 0
        for row in _rows(reader, wanted):
            if limit and shown >= limit:
                if not as_json:
                    say(f"... and more: --limit 0 shows all (shown: {limit})")
                break
            shown += 1
            say(json_text(_told(row)) if as_json else _line(row))
        if not shown and not as_json:
            say("there are none")


@functions.command(epilog=examples("headway functions show flows/refund_order.py refund_order/o-17"))
@click.argument("place", metavar="FLOW|DIR")
@click.argument("instance", metavar="NAME/ID")
@state_option
@json_option("Write one JSON object.")
@click.pass_context
def show(ctx: click.Context, place: str, instance: str, state_dir: Optional[Path], as_json: bool) -> None:
    """Show one instance: where it stands, and what it waits for. The exit code is 1 where there is none."""
    with _reader(place, state_dir) as reader:
        row = _found(ctx, reader, instance)
    if as_json:
        say(json_text(_told(row)))
        return
    for name, value in _told(row).items():
        if value not in ("", [], {}, None):
            say(f"{name:<11}{printable(value if isinstance(value, str) else json.dumps(value))}")


@functions.command(
    epilog=examples(
        "headway functions history flows/refund_order.py refund_order/o-17",
        "headway functions history flows/refund_order.py refund_order/o-17 --timeline",
        "headway functions history flows/refund_order.py refund_order/o-17 --svg o-17.svg",
    )
)
@click.argument("place", metavar="FLOW|DIR")
@click.argument("instance", metavar="NAME/ID")
@state_option
@json_option("Write one JSON object a line.")
@timeline_options
@click.pass_context
def history(
    ctx: click.Context,
    place: str,
    instance: str,
    state_dir: Optional[Path],
    as_json: bool,
    timeline: bool,
    svg: Optional[Path],
) -> None:
    """Show what has happened to an instance, and what it did."""
    import msgspec

    from headway.functions.history import HAPPENINGS, decode

    with _reader(place, state_dir) as reader:
        row = _found(ctx, reader, instance)
        entries = [decode(data) for data in row.state.get("history", [])]
    if timeline or svg is not None:
        draw(instance, entries, svg, shows=timeline)
        return
    began_ms = row.state.get("started_ms", 0)
    at_ms = began_ms
    for number, entry in enumerate(entries):
        at_ms = getattr(entry, "at_ms", at_ms) if isinstance(entry, HAPPENINGS) else at_ms
        parts = {
            name: _plain(getattr(entry, name))
            for name in entry.__struct_fields__
            if name not in ("at_ms", "options") and getattr(entry, name) not in (None, "", (), {})
        }
        if as_json:
            told = {"index": number, "entry": type(entry).__name__, "at_ms": at_ms, **parts}
            say(json_text(msgspec.to_builtins(told)))
        else:
            mark = "·" if isinstance(entry, HAPPENINGS) else "  →"
            text = ", ".join(f"{name} {value}" for name, value in parts.items())
            say(printable(f"{number:>5}  +{(at_ms - began_ms) / 1_000:>9.3f} s  {mark} {type(entry).__name__}  {text}"))


def _reader(place: str, state_dir: Optional[Path]) -> StateReader:
    from headway.cli.places import state_dir_of
    from headway.state.reader import StateReader

    reader = StateReader(state_dir or state_dir_of(place))
    if _OPERATOR not in reader.operators():
        reader.close()
        msg = f"the flow {reader.manifest.flow!r} has no durable functions"
        raise UsageError(msg)
    return reader


def _rows(reader: StateReader, wanted: Filter) -> Iterator[StoredRow]:
    for row in reader.rows(_OPERATOR, wanted.prefix):
        state = row.state
        if wanted.matches(state.get("status", ""), state.get("started_ms", 0), state.get("search", "")):
            yield row


def _found(ctx: click.Context, reader: StateReader, instance: str) -> StoredRow:
    row = reader.get(_OPERATOR, instance)
    if row is None:
        click.echo(f"there is no instance {instance!r}", err=True)
        ctx.exit(1)
    return row


def _told(row: StoredRow) -> dict[str, Any]:
    state = row.state
    return {
        "instance": row.key,
        "status": state.get("status", ""),
        "run": state.get("run", 0),
        "started": _time(state.get("started_ms", 0)),
        "ended": _time(state.get("ended_ms", 0)),
        "started_by": state.get("started_by", ""),
        "arguments": state.get("arguments", ""),
        "result": state.get("result", ""),
        "error": state.get("error", ""),
        "waits": state.get("waits", []),
        "variables": state.get("variables", ""),
        "search": state.get("search", ""),
        "timers": {name: format_time(at_ms) for name, at_ms in row.timers.items() if name != "retention"},
        "entries": len(state.get("history", [])),
    }


def _time(at_ms: int) -> str:
    return format_time(at_ms) if at_ms else ""


def _line(row: StoredRow) -> str:
    state = row.state
    what = state.get("error") or state.get("result") or "; ".join(state.get("waits", []))
    return printable(f"{state.get('status', ''):<11}{row.key:<40}{what:.100}".rstrip())


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


for command in (reset, query, replay_check, schedules):
    functions.add_command(command)
