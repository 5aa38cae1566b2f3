"""`headway generate`: synthetic streams, and whether a flow found in them what it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Optional, TypeVar

import click

from headway.cli.commands import Commands
from headway.cli.escapes import printable_lines
from headway.cli.options import DURATION, MOMENT, examples, json_option
from headway.cli.process import say
from headway.generate.nexmark_options import NexmarkOptions
from headway.generate.options import COMPRESSIONS, ShopOptions

__all__ = ["generate"]

C = TypeVar("C", bound=Callable[..., Any])

_TYPES: dict[str, Any] = {"int": click.INT, "float": click.FLOAT, "str": click.STRING}
_NAMES = {"disorder_ms": ("--out-of-order", "--disorder")}
_KINDS: dict[str, Any] = {"start_ms": MOMENT, "compress": click.Choice(COMPRESSIONS)}
_HELP = {
    "start_ms": "Time of the start: RFC 3339, or epoch milliseconds.",
    "disorder_ms": "Events stand behind others of their partition by less than this; 0 = in order.",
    "compress": "Compression of the partition files.",
}
_DEFAULTS = {"start_ms": "2026-01-01T00:00:00Z"}


@click.group(cls=Commands, short_help="Make synthetic streams, and check flows against them.")
def generate() -> None:
    """Make synthetic streams with known results, and check what a flow found in them."""


def _options_of(options: type) -> Callable[[C], C]:
    """One option for each field of a generator's options, with the field's help."""
    from headway.basics.times import format_duration

    def add(command: C) -> C:
        for field in reversed(fields(options)):
            is_duration = field.name.endswith("_ms") and field.name not in _KINDS
            kind = _KINDS.get(field.name) or (DURATION if is_duration else _TYPES[str(field.type)])
            names = _NAMES.get(field.name, ("--" + field.name.removesuffix("_ms").replace("_", "-"),))
            default = format_duration(int(field.default)) if is_duration else _DEFAULTS.get(field.name, field.default)
            text = _HELP.get(field.name) or field.metadata["help"].replace(", in milliseconds", "")
            option = click.option(*names, field.name, type=kind, default=default, show_default=True, help=text)
            command = option(command)
        return command

    return add


@generate.command(
    short_help="Write the events of a synthetic shop.",
    epilog=examples(
        "headway generate shop events",
        "headway generate shop events --events 1000000 --late 0.01 --corrupt 0.001 --overwrite",
    ),
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@_options_of(ShopOptions)
@click.option("--overwrite", is_flag=True, help="Replace another stream that is in DIRECTORY.")
@click.option("--quiet", is_flag=True, help="Show nothing but errors.")
@json_option("Write what the stream holds as one JSON object.")
def shop(directory: Path, overwrite: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Write the events of a synthetic shop into DIRECTORY, with the abandoned carts that a flow must find.

    The events are in shop-*.jsonl, a file for each partition, the expected result is in expected.jsonl, and
    what there is of everything is in summary.json. Equal options give equal bytes: a stream that is there
    already is not made again. Durations are numbers with a unit, such as 250ms, 90s or 30m; shares are numbers
    from 0 to 1.
    """
    from headway.generate.shop import generate_shop

    summary, made = _made(ShopOptions(**options), directory, generate_shop, overwrite=overwrite)
    _tell(directory, summary, None if quiet else _shop_text(directory, summary, made), as_json)


@generate.command(
    short_help="Write the events of the Nexmark auction house.",
    epilog=examples(
        "headway generate nexmark auctions",
        "headway generate nexmark auctions --events 1000000 --rate 1000 --out-of-order 2s --overwrite",
    ),
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@_options_of(NexmarkOptions)
@click.option("--overwrite", is_flag=True, help="Replace another stream that is in DIRECTORY.")
@click.option("--quiet", is_flag=True, help="Show nothing but errors.")
@json_option("Write what the stream holds as one JSON object.")
def nexmark(directory: Path, overwrite: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Write the events of the Nexmark benchmark into DIRECTORY: persons, auctions and bids, in its proportions.

    The events are in nexmark-*.jsonl, a file for each partition, and what there is of everything is in
    summary.json. Equal options give equal bytes: a stream that is there already is not made again. Durations are
    numbers with a unit, such as 250ms, 90s or 30m.
    """
    from headway.generate.nexmark import generate_nexmark

    summary, made = _made(NexmarkOptions(**options), directory, generate_nexmark, overwrite=overwrite)
    _tell(directory, summary, None if quiet else _nexmark_text(directory, summary, made), as_json)


_STORIES = {
    "orders": ("orders", "the life of orders, and what must be undone", "order_saga"),
    "payments": ("payments", "payments with cards, some of them stolen", "fraud_score"),
    "clicks": ("clicks", "clicks of visitors, and their sessions", "session_funnel"),
    "tickets": ("tickets", "tickets of a help desk, some of them late or reopened", "sla_watch"),
}


def _story_command(kind: str, what: str, flow: str) -> click.Command:
    """The command of one kind of stories."""

    @click.command(
        name=kind,
        short_help=f"Write {what}.",
        help=f"Write {what} into DIRECTORY, for flows/{flow}.py.\n\nThe events are in {kind}-*.jsonl, the triggers "
        "that the flow must write are in expected.jsonl, and what there is of everything is in summary.json. Equal "
        "options give equal bytes: a stream that is there already is not made again.",
        epilog=examples(
            f"headway generate {kind} {kind}", f"headway generate {kind} {kind} --events 200000 --overwrite"
        ),
    )
    @click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
    @click.option("--events", type=click.INT, default=20_000, show_default=True, help="At least so many events.")
    @click.option("--partitions", type=click.INT, default=2, show_default=True, help="Number of files.")
    @click.option(
        "--out-of-order", "disorder_ms", type=DURATION, default="1s", show_default=True, help=_HELP["disorder_ms"]
    )
    @click.option("--seed", type=click.INT, default=0, show_default=True, help="Another seed gives another stream.")
    @click.option("--overwrite", is_flag=True, help="Replace another stream that is in DIRECTORY.")
    @click.option("--quiet", is_flag=True, help="Show nothing but errors.")
    @json_option("Write what the stream holds as one JSON object.")
    def command(directory: Path, overwrite: bool, quiet: bool, as_json: bool, **options: Any) -> None:
        from headway.generate.stories import StoryOptions, generate_stories

        summary, made = _made(StoryOptions(kind, **options), directory, generate_stories, overwrite=overwrite)
        _tell(directory, summary, None if quiet else _story_text(directory, summary, made, kind), as_json)

    return command


for _story in _STORIES.values():
    generate.add_command(_story_command(*_story))


def _made(options: Any, directory: Path, write: Callable[..., Any], *, overwrite: bool) -> tuple[dict[str, Any], bool]:
    """The summary of a stream, and whether it was made now."""
    from headway.generate.demo import earlier_stream

    summary = earlier_stream(directory, options)
    if summary is not None:
        return summary, False
    return {**write(options, directory, overwrite=overwrite).as_dict(), "options": asdict(options)}, True


def _tell(directory: Path, summary: dict[str, Any], text: Optional[str], as_json: bool) -> None:
    if as_json:
        import json

        say(json.dumps({"directory": str(directory), **summary}))
    elif text is not None:
        click.echo(printable_lines(text), err=True)


def _shop_text(directory: Path, summary: dict[str, Any], made: bool) -> str:
    from headway.cli.texts import count_text

    extras = [f"{summary[name]:,} {name}" for name in ("late", "duplicates", "corrupt") if summary[name]]
    found = f"{count_text(summary['abandoned'], 'abandoned cart')}: {directory / 'expected.jsonl'}"
    return f"{_stream_text(directory, summary, made, 'shop', extras)}\n  to be found  {found}"


def _nexmark_text(directory: Path, summary: dict[str, Any], made: bool) -> str:
    from headway.cli.texts import count_text

    kinds = ", ".join(count_text(summary[f"{name}s"], name) for name in ("person", "auction", "bid"))
    return f"{_stream_text(directory, summary, made, 'nexmark', [])}\n  of these     {kinds}"


def _story_text(directory: Path, summary: dict[str, Any], made: bool, kind: str) -> str:
    from headway.cli.texts import count_text

    rules = f"\n  rules        {directory / 'rules-*.jsonl'}" if kind == "payments" else ""
    found = f"{count_text(summary['expected'], 'trigger')}: {directory / 'expected.jsonl'}"
    return f"{_stream_text(directory, summary, made, kind, [])}{rules}\n  to be found  {found}"


def _stream_text(directory: Path, summary: dict[str, Any], made: bool, kind: str, extras: list[str]) -> str:
    from headway.basics.times import format_time
    from headway.cli.texts import bytes_text, count_text

    files = count_text(len(summary["files"]), "file")
    verb = "holds" if made else "already holds this stream:"
    return "\n".join(
        [
            f"{directory} {verb} {count_text(summary['events'], 'event')}{''.join(f', {text}' for text in extras)}",
            f"  events       {files}, {bytes_text(summary['bytes'])}: {directory / f'{kind}-*.jsonl'}",
            f"  from, to     {format_time(summary['first_ms'])}, {format_time(summary['last_ms'])}",
        ]
    )


@generate.command(
    short_help="Compare triggers with the expected result.",
    epilog=examples(
        "headway generate check events triggers.jsonl",
        "headway generate check orders order-*.jsonl",
    ),
)
@click.argument("expected", type=click.Path(exists=True, path_type=Path))
@click.argument("triggers", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option("Write the outcome as one JSON object.")
@click.pass_context
def check(ctx: click.Context, expected: Path, triggers: tuple[Path, ...], as_json: bool) -> None:
    """Compare the triggers that a flow wrote with those that a generated stream must lead to.

    EXPECTED is the directory of the stream, or its expected.jsonl; TRIGGERS are files of CloudEvents. The
    exit code is 0 when both hold the same, 1 when not.
    """
    from headway.cli.compare import compare

    outcome = compare(expected, *triggers)
    if as_json:
        import json

        say(json.dumps(outcome.as_dict()))
    else:
        say(printable_lines(outcome.as_text()))
    ctx.exit(0 if outcome.equal else 1)
