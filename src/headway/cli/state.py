"""`headway state`: what a flow keeps, also while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import check, drop, state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable
from headway.cli.options import examples, json_option
from headway.cli.process import say
from headway.cli.rescale import rescale
from headway.cli.state_edits import EDITS
from headway.cli.state_queries import QUERIES
from headway.cli.state_sql import sql

if TYPE_CHECKING:
    from headway.state.reader import StateReader, StoredRow

__all__ = ["state"]

ROWS_SHOWN = 20
LAST_SHOWN = 3
"""Of each log in a list of keys."""


@click.group(cls=Commands)
def state() -> None:
    """Look at what a flow keeps, also while it runs, and at what a change of the flow means for it.

    Shown is what is durable. Reading does not disturb a run.
    """


@state.command(
    name="ls",
    epilog=examples(
        "headway state ls flows/abandoned_carts.py",
        "headway state ls flows/abandoned_carts.py abandonment --prefix u0001 --limit 5",
        "headway state ls flows/abandoned_carts.py abandonment --state /var/lib/carts",
        "headway state ls .headway/abandoned-carts",
    ),
)
@click.argument("place", metavar="[FLOW|DIR]", required=False)
@click.argument("operator", metavar="[OPERATOR]", required=False)
@state_option
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P.")
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help=f"Show at most N keys, 0 for all. Default: {ROWS_SHOWN}."
)
@json_option("Write one JSON object a line.")
def ls(
    place: Optional[str],
    operator: Optional[str],
    state_dir: Optional[Path],
    prefix: str,
    limit: Optional[int],
    as_json: bool,
) -> None:
    """List the operators that keep state, or the keys of one of them.

    Give a flow, with --state when that is not its default state directory, or a state directory alone. Keys are in
    their order.
    """
    if place is None and state_dir is None:
        msg = "give a flow or a state directory: headway state ls FLOW, or: headway state ls .headway/NAME"
        raise click.UsageError(msg)
    most = ROWS_SHOWN if limit is None else limit
    with _reader(place, state_dir) as reader:
        if operator is None and state_dir is not None and place in reader.operators():
            operator = place
        else:
            _check_flow(place, state_dir, reader)
        for line in _operators(reader, as_json) if operator is None else _rows(reader, operator, prefix, most, as_json):
            say(line)


@state.command(
    name="get",
    epilog=examples(
        "headway state get flows/abandoned_carts.py abandonment u000123",
        "headway state get flows/abandoned_carts.py abandonment u000123 --state /var/lib/carts",
        "headway state get .headway/abandoned-carts abandonment u000123",
    ),
)
@click.argument("place", metavar="FLOW|DIR")
@click.argument("operator")
@click.argument("key")
@state_option
@json_option("Write one JSON object.")
@click.pass_context
def get(ctx: click.Context, place: str, operator: str, key: str, state_dir: Optional[Path], as_json: bool) -> None:
    """Show what one operator keeps for one key. The exit code is 1 when it keeps nothing.

    Give a flow, with --state when that is not its default state directory, or a state directory alone.
    """
    with _reader(place, state_dir) as reader:
        _check_flow(place, state_dir, reader)
        row = reader.get(operator, key)
        told = "null" if row is None else _record(row, None) if as_json else _block(row)
    if row is None:
        click.echo(f"{operator} keeps nothing for {key!r}", err=True)
    if row is not None or as_json:
        say(told)
    if row is None:
        ctx.exit(1)


for command in (*QUERIES, sql, *EDITS, check, drop, rescale):
    state.add_command(command)


def _reader(place: Optional[str], state_dir: Optional[Path]) -> StateReader:
    from headway.cli.places import state_dir_of
    from headway.state.reader import StateReader

    if state_dir is not None:
        return StateReader(state_dir)
    assert place is not None
    return StateReader(state_dir_of(place))


def _check_flow(place: Optional[str], state_dir: Optional[Path], reader: StateReader) -> None:
    """Raise `UsageError` when a flow and a state directory are given that do not belong together."""
    if place is None or state_dir is None:
        return
    from headway.declare.loading import FlowSpec, load_flow

    if Path(place).is_dir():
        msg = f"{place} and --state {state_dir} both name a state directory: give one"
        raise click.UsageError(msg)
    name = load_flow(FlowSpec(place)).name
    if name != reader.manifest.flow:
        msg = f"{state_dir} belongs to the flow {reader.manifest.flow!r}, and {place} is the flow {name!r}: check both"
        raise click.UsageError(msg)


def _operators(reader: StateReader, as_json: bool) -> Iterator[str]:
    names = reader.operators()
    if as_json:
        yield from (json_text({"operator": name}) for name in names)
    else:
        yield from map(printable, names or ["no operator keeps state"])


def _rows(reader: StateReader, operator: str, prefix: str, most: int, as_json: bool) -> Iterator[str]:
    shown = 0
    for row in reader.rows(operator, prefix, limit=most + 1 if most else None):
        shown += 1
        if most and shown > most:
            if not as_json:
                yield f"... and more: --limit 0 shows all, --limit N the first N (shown: {most})"
            return
        yield _record(row, LAST_SHOWN) if as_json else _line(row)
    if not shown and not as_json:
        yield f"{operator} keeps nothing" + (f" for keys that begin with {prefix!r}" if prefix else "")


def _line(row: StoredRow) -> str:
    return "  ".join([printable(row.key), json_text(_plain(row.state, LAST_SHOWN)), *_timers(row)])


def _block(row: StoredRow) -> str:
    import msgspec

    from headway.basics.times import format_time

    state = msgspec.json.format(json_text(_plain(row.state, None)), indent=2)
    return "\n".join([state, *_timers(row), f"last touched {format_time(row.touched_ms)}, key group {row.group}"])


def _timers(row: StoredRow) -> list[str]:
    from headway.basics.times import format_time

    return [f"timer {printable(name)} at {format_time(due_ms)}" for name, due_ms in sorted(row.timers.items())]


def _record(row: StoredRow, most: Optional[int]) -> str:
    state = _plain(row.state, most)
    return json_text({"key": row.key, "state": state, "timers": row.timers, "touched_ms": row.touched_ms})


def _plain(state: Any, most: Optional[int]) -> Any:
    """A state to be written: of its logs the lengths and at most so many of the last entries, or all entries."""
    from headway.state.logs import summary
    from headway.types.logs import Log

    if not isinstance(state, dict):
        return state
    return {
        name: value if not isinstance(value, Log) else list(value) if most is None else summary(value, most)
        for name, value in state.items()
    }
