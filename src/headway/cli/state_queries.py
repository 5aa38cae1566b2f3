"""`headway state scan`, `timers`, `stats`, `diff` and `export`: questions about all that is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import json_text, printable
from headway.cli.options import MOMENT, examples, json_option
from headway.cli.process import say
from headway.cli.state_export import FORMATS, export_rows, record_of

if TYPE_CHECKING:
    from headway.state.queries import Difference
    from headway.state.reader import StateReader, StoredRow

__all__ = ["QUERIES"]

_SHOWN = 20


def _reading(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands have: where to look. The command is given the `StateReader`."""

    @click.argument("place", metavar="FLOW|DIR")
    @state_option
    @click.option("--savepoint", metavar="NAME", help="Look into this savepoint, and not at what is there now.")
    @wraps(command)
    def with_reader(place: str, state_dir: Optional[Path], savepoint: Optional[str], **options: Any) -> None:
        with reader_at(place, state_dir, savepoint) as reader:
            command(reader, **options)

    return with_reader


def reader_at(place: str, state_dir: Optional[Path], savepoint: Optional[str]) -> StateReader:
    """Opens a state directory, or a savepoint in it."""
    from headway.cli.places import state_dir_of
    from headway.savepoints.shelf import Shelf
    from headway.state.reader import StateReader

    directory = state_dir or state_dir_of(place)
    return StateReader(directory if savepoint is None else Shelf(directory).path(savepoint))


limit_option = click.option(
    "--limit",
    type=click.IntRange(0),
    default=_SHOWN,
    show_default=True,
    metavar="N",
    help="Show at most N, 0 for all.",
)


@click.command(
    epilog=examples(
        "headway state scan flows/abandoned_carts.py abandonment --from u0001 --to u0002",
        "headway state scan .headway/abandoned-carts abandonment --where cents=700 --limit 0",
    )
)
@_reading
@click.argument("operator")
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P.")
@click.option("--from", "start", default="", metavar="K", help="Only keys from K on.")
@click.option("--to", "end", metavar="K", help="Only keys before K.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only rows whose state has this value there: JSON, or text as it is. May be given several times.",
)
@limit_option
def scan(
    reader: StateReader,
    operator: str,
    prefix: str,
    start: str,
    end: Optional[str],
    conditions: tuple[str, ...],
    limit: int,
) -> None:
    """Write rows of an operator as JSON, one a line, in the order of their keys.

    Without conditions reads only what is asked for.
    """
    wanted = [_condition(text) for text in conditions]
    shown = 0
    for row in _range(reader, operator, prefix, start, end):
        if all(_has(row, field, values) for field, values in wanted):
            if limit and shown == limit:
                click.echo(f"... and more: --limit 0 shows all (shown: {limit})", err=True)
                return
            shown += 1
            say(json_text(record_of(row)))


def _range(reader: StateReader, operator: str, prefix: str, start: str, end: Optional[str]) -> Iterator[StoredRow]:
    for row in reader.rows(operator, prefix, start=max(start, prefix)):
        if end is not None and row.key >= end:
            return
        yield row


def _condition(text: str) -> tuple[str, list[Any]]:
    """A field, and the values that are meant: what is written as JSON, and the text itself."""
    import msgspec

    field, equals, value = text.partition("=")
    if not equals or not field:
        msg = f"--where {text!r} has no '=': write FIELD=VALUE, such as --where cents=700"
        raise click.UsageError(msg)
    try:
        return field, [msgspec.json.decode(value), value]
    except (msgspec.DecodeError, UnicodeEncodeError):
        return field, [value]


def _has(row: StoredRow, field: str, values: list[Any]) -> bool:
    return isinstance(row.state, dict) and field in row.state and row.state[field] in values


@click.command(
    epilog=examples(
        "headway state timers flows/abandoned_carts.py",
        "headway state timers .headway/abandoned-carts --operator abandonment --until 2026-01-01T00:00:00Z --limit 0",
    )
)
@_reading
@click.option("--operator", metavar="NAME", help="Only timers of this operator. Default: of all.")
@click.option("--until", "until_ms", type=MOMENT, metavar="TIME", help="Only those that are due by then.")
@limit_option
@json_option("Write one JSON object a line.")
def timers(reader: StateReader, operator: Optional[str], until_ms: Optional[int], limit: int, as_json: bool) -> None:
    """List timers that are armed, in the order in which they will fire."""
    from itertools import islice

    from headway.basics.times import MAX_TIME_MS, format_time
    from headway.state.queries import timers as armed

    operators = [operator] if operator is not None else reader.operators()
    found = armed(reader, operators, MAX_TIME_MS if until_ms is None else until_ms)
    chosen = islice(found, limit) if limit else found
    if as_json:
        for timer in chosen:
            say(json_text(timer._asdict()))
        return
    rows = ([format_time(t.due_ms), printable(t.operator), printable(t.key), printable(t.name)] for t in chosen)
    tell_table(["due", "operator", "key", "timer"], rows)


@click.command(
    epilog=examples(
        "headway state stats flows/abandoned_carts.py", "headway state stats .headway/abandoned-carts --json"
    )
)
@_reading
@json_option("Write one JSON object a line.")
def stats(reader: StateReader, as_json: bool) -> None:
    """Tell how much each operator keeps: rows, timers, bytes, its largest row, and how evenly keys are spread.

    Reads all rows, some 3 µs each.
    """
    from dataclasses import asdict

    from headway.basics.times import format_time
    from headway.state.queries import figures

    rows = []
    for operator in reader.operators():
        found = figures(reader, operator)
        if as_json:
            say(json_text({"operator": operator, **asdict(found)}))
            continue
        largest = f"{found.largest_bytes:,} B {printable(found.largest_key)}" if found.rows else ""
        touched = "" if found.touched_first_ms is None else format_time(found.touched_first_ms)
        spread = f"{found.fewest:,} to {found.most:,}"
        counts = [f"{found.rows:,}", f"{found.timers:,}", f"{found.bytes:,}"]
        rows.append([printable(operator), *counts, largest, spread, touched])
    if not as_json:
        heads = ["operator", "rows", "timers", "bytes", "largest", "rows in a group", "first touched"]
        tell_table(heads, iter(rows))


@click.command(
    epilog=examples(
        "headway state diff flows/abandoned_carts.py before-the-sale",
        "headway state diff .headway/abandoned-carts monday tuesday --operator abandonment --json",
    )
)
@click.argument("place", metavar="FLOW|DIR")
@click.argument("before")
@click.argument("after", required=False)
@state_option
@click.option("--operator", metavar="NAME", help="Only rows of this operator. Default: of all.")
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P.")
@limit_option
@json_option("Write one JSON object a line.")
@click.pass_context
def diff(
    ctx: click.Context,
    place: str,
    before: str,
    after: Optional[str],
    state_dir: Optional[Path],
    operator: Optional[str],
    prefix: str,
    limit: int,
    as_json: bool,
) -> None:
    """Tell which rows differ between a savepoint and another one, or what is there now. The exit code is 1 if any do.

    BEFORE and AFTER are names of savepoints, or state directories. Reads all rows of both, some 5 µs each.
    """
    from headway.state.queries import differences

    shown = 0
    with _either(place, state_dir, before) as old, _either(place, state_dir, after) as new:
        known = {**dict.fromkeys(old.operators()), **dict.fromkeys(new.operators())}
        for name in [operator] if operator is not None else known:
            for found in differences(old, new, name, prefix):
                if limit and shown == limit:
                    click.echo(f"... and more: --limit 0 shows all (shown: {limit})", err=True)
                    ctx.exit(1)
                shown += 1
                for line in [_json_of(name, found)] if as_json else _lines_of(name, found):
                    say(line)
    if shown:
        ctx.exit(1)
    if not as_json:
        say("no row differs")


def _either(place: str, state_dir: Optional[Path], name: Optional[str]) -> StateReader:
    """A savepoint by its name, or a directory by its path; without either what is there now.

    Raises `UsageError` for what may be meant as both.
    """
    from headway.cli.places import state_dir_of
    from headway.savepoints.shelf import Shelf
    from headway.state.reader import StateReader

    if name is None or not Path(name).is_dir():
        return reader_at(place, state_dir, name)
    directory = state_dir or state_dir_of(place)
    shelf = Shelf(directory)
    if name in shelf.names():
        msg = (
            f"{name!r} is a savepoint of {directory}, and a folder here: write ./{name} for the folder, "
            f"{shelf.folder / name} for the savepoint"
        )
        raise click.UsageError(msg)
    return StateReader(name)


def _json_of(operator: str, found: Difference) -> str:
    sides = {
        side: None if row is None else {key: value for key, value in record_of(row).items() if key != "key"}
        for side, row in (("before", found.before), ("after", found.after))
    }
    return json_text({"operator": operator, "key": found.key, **sides})


def _lines_of(operator: str, found: Difference) -> Iterator[str]:
    yield f"{printable(operator)}  {printable(found.key)}"
    for sign, row in (("-", found.before), ("+", found.after)):
        if row is not None:
            record = record_of(row)
            timers_ = f"  timers {json_text(record['timers'])}" if record["timers"] else ""
            yield f"  {sign} {json_text(record['state'])}{timers_}"


@click.command(
    epilog=examples(
        "headway state export flows/abandoned_carts.py abandonment > carts.jsonl",
        "headway state export .headway/abandoned-carts abandonment --format csv --savepoint before-the-sale",
        "headway state export flows/abandoned_carts.py abandonment --format parquet > carts.parquet",
    )
)
@_reading
@click.argument("operator")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="JSON lines, which `headway state import` takes, CSV, or Parquet (extra parquet).",
)
def export(reader: StateReader, operator: str, form: str) -> None:
    """Write all rows of an operator to standard output, in the order of their keys.

    As JSON lines each row is an object: key, state, timers, touched_ms. As CSV and Parquet the fields of states are
    columns, those of all rows; what is no number, boolean or text is JSON in there, and so are timers. A field of one
    of the other names is called state_key and so on; a state without fields is the column value. Reads the rows once,
    for CSV and Parquet twice.
    """
    export_rows(reader, operator, form)


def tell_table(heads: list[str], rows: Iterator[list[str]]) -> None:
    """A table on a terminal; lines with tabs between the cells, and without heads, where another program reads."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(row))
        return
    listed = [heads, *rows]
    widths = [max(len(row[column]) for row in listed) for column in range(len(heads))]
    for row in listed:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


QUERIES = (scan, timers, stats, diff, export)
"""The commands of this module, for `headway state`."""
