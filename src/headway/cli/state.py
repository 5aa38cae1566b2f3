"""`headway state`: what a flow keeps, also while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.commands import Commands
from headway.cli.options import examples, json_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.state.reader import StateReader, StoredRow

__all__ = ["state"]

ROWS_SHOWN = 20


@click.group(cls=Commands)
def state() -> None:
    """Look at what a flow keeps, also while it runs.

    Shown is what is durable. Reading does not disturb a run.
    """


@state.command(
    name="ls",
    epilog=examples(
        "headway state ls .headway/abandoned-carts",
        "headway state ls flows/abandoned_carts.py abandonment --prefix u0001 --limit 5",
    ),
)
@click.argument("place", metavar="[DIR|FLOW]", required=False)
@click.argument("operator", metavar="[OPERATOR]", required=False)
@click.option("--state", "state_dir", metavar="DIR", help="The state directory, instead of the first argument.")
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P.")
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help=f"Show at most N keys, 0 for all. Default: {ROWS_SHOWN}."
)
@json_option("Write one JSON object a line.")
def ls(
    place: Optional[str],
    operator: Optional[str],
    state_dir: Optional[str],
    prefix: str,
    limit: Optional[int],
    as_json: bool,
) -> None:
    """List the operators that keep state, or the keys of one of them.

    Give a state directory, or a flow whose default state directory is meant. Keys are in their order.
    """
    if state_dir is not None:
        if operator is not None:
            msg = f"--state {state_dir} and {place!r} both name a state directory: give one"
            raise click.UsageError(msg)
        place, operator = state_dir, place
    if place is None:
        msg = "give a state directory or a flow: headway state ls .headway/NAME, or: headway state ls FLOW"
        raise click.UsageError(msg)
    most = ROWS_SHOWN if limit is None else limit
    with _reader(place) as reader:
        for line in _operators(reader, as_json) if operator is None else _rows(reader, operator, prefix, most, as_json):
            say(line)


@state.command(
    name="get",
    epilog=examples(
        "headway state get .headway/abandoned-carts abandonment u000123",
    ),
)
@click.argument("place", metavar="DIR|FLOW")
@click.argument("operator")
@click.argument("key")
@json_option("Write one JSON object.")
@click.pass_context
def get(ctx: click.Context, place: str, operator: str, key: str, as_json: bool) -> None:
    """Show what one operator keeps for one key. The exit code is 1 when it keeps nothing."""
    with _reader(place) as reader:
        row = reader.get(operator, key)
    if row is None:
        click.echo(f"{operator} keeps nothing for {key!r}", err=True)
        if as_json:
            say("null")
        ctx.exit(1)
    say(_record(row) if as_json else _block(row))


def _reader(place: str) -> StateReader:
    from headway.cli.places import state_dir_of
    from headway.state.reader import StateReader

    return StateReader(state_dir_of(place))


def _operators(reader: StateReader, as_json: bool) -> Iterator[str]:
    names = reader.operators()
    if as_json:
        yield from (_json({"operator": name}) for name in names)
    else:
        yield from names or ["no operator keeps state"]


def _rows(reader: StateReader, operator: str, prefix: str, most: int, as_json: bool) -> Iterator[str]:
    shown = 0
    for row in reader.rows(operator, prefix, limit=most + 1 if most else None):
        shown += 1
        if most and shown > most:
            if not as_json:
                yield f"... and more: --limit 0 shows all, --limit N the first N (shown: {most})"
            return
        yield _record(row) if as_json else _line(row)
    if not shown and not as_json:
        yield f"{operator} keeps nothing" + (f" for keys that begin with {prefix!r}" if prefix else "")


def _line(row: StoredRow) -> str:
    return "  ".join([row.key, _json(row.state), *_timers(row)])


def _block(row: StoredRow) -> str:
    import msgspec

    from headway.times import format_time

    state = msgspec.json.format(_json(row.state), indent=2)
    return "\n".join([state, *_timers(row), f"last touched {format_time(row.touched_ms)}, key group {row.group}"])


def _timers(row: StoredRow) -> list[str]:
    from headway.times import format_time

    return [f"timer {name} at {format_time(due_ms)}" for name, due_ms in sorted(row.timers.items())]


def _record(row: StoredRow) -> str:
    return _json({"key": row.key, "state": row.state, "timers": row.timers, "touched_ms": row.touched_ms})


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
