"""`headway backup`: copies of a flow's state in an object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click

from headway.cli.backup_options import backup_text
from headway.cli.changes import state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable
from headway.cli.options import examples, json_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.backups.catalog import Listed
    from headway.errors import CorruptStateError

__all__ = ["backup"]

C = TypeVar("C", bound=Callable[..., Any])
DAMAGED = 1
"""The exit code when a backup is not as it was made."""


@click.group(cls=Commands)
def backup() -> None:
    """Keep copies of a flow's state in an object store, and let a flow go on from one.

    URL is the place of one flow's backups: file:PATH (another disk, or one that is shared), s3://BUCKET/PATH,
    gs://BUCKET/PATH or az://ACCOUNT/CONTAINER/PATH. Credentials come from the environment, as AWS_ACCESS_KEY_ID. A
    backup sends only what no backup before it has. headway run FLOW --backup-to URL makes them while the flow runs.
    """


url_argument = click.argument("url", metavar="URL")


@backup.command(
    epilog=examples(
        "headway backup create file:/mnt/backups/carts flows/abandoned_carts.py",
        "headway backup create s3://our-backups/carts .headway/abandoned-carts before-the-sale",
    )
)
@url_argument
@click.argument("place", metavar="FLOW|DIR")
@click.argument("name", required=False)
@state_option
@click.option(
    "--backup-take-over",
    "take_over",
    is_flag=True,
    help="Add to backups that are not the past of this state directory, or that another run makes.",
)
@json_option("Write what was made as one JSON object.")
def create(
    url: str, place: str, name: Optional[str], state_dir: Optional[Path], take_over: bool, as_json: bool
) -> None:
    """Make a backup of a flow, which may be running. Without NAME it is called after the time.

    Not while a run makes backups there by itself.
    """
    from headway.backups.create import Backups
    from headway.backups.store import open_store
    from headway.cli.places import state_dir_of
    from headway.runtime.directory import StateDirectory

    directory = StateDirectory(state_dir or state_dir_of(place))
    backups = Backups.claimed(open_store(url), directory, take_over=take_over, tell=_tell)
    with backups.leased():
        listed = backups.create(name)
    say(json_text(_record(listed)) if as_json else printable(f"made {backup_text(listed)}"))


@backup.command(name="list", epilog=examples("headway backup list s3://our-backups/carts"))
@url_argument
@json_option("Write one JSON object a line.")
def list_(url: str, as_json: bool) -> None:
    """List the backups of a place, the oldest first."""
    from headway.backups.restore import known_backups
    from headway.backups.store import open_store

    found = known_backups(open_store(url)).backups
    for line in (json_text(_record(listed)) for listed in found) if as_json else _table(found):
        say(line)


@backup.command(
    epilog=examples(
        "headway backup verify s3://our-backups/carts", "headway backup verify s3://our-backups/carts --all"
    )
)
@url_argument
@click.argument("name", required=False)
@click.option("--all", "verify_all", is_flag=True, help="Every backup of the place.")
@json_option("Write one JSON object for each backup.")
def verify(url: str, name: Optional[str], verify_all: bool, as_json: bool) -> None:
    """Read all of a backup, by default the last one, and compare each object with its checksum.

    Each object that is missing, cut or changed is named, and the exit code is 1.
    """
    from headway.backups.restore import find_backup, known_backups, verify_backup
    from headway.backups.store import open_store

    if verify_all and name is not None:
        msg = f"--all and {name!r} exclude each other: give one of the two"
        raise click.UsageError(msg)
    store = open_store(url)
    catalog = known_backups(store)
    found = catalog.backups if verify_all else [find_backup(store, catalog, name)]
    damaged = False
    for listed in found:
        wrong = list(verify_backup(store, listed))
        damaged = damaged or bool(wrong)
        for line in [json_text(_verified(listed, wrong))] if as_json else _verified_lines(listed, wrong):
            say(line)
    if damaged:
        raise click.exceptions.Exit(DAMAGED)


@backup.command(
    epilog=examples(
        "headway backup restore s3://our-backups/carts /var/lib/carts",
        "headway backup restore s3://our-backups/carts /var/lib/carts-test before-the-sale --outputs new",
    )
)
@url_argument
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.argument("name", required=False)
@click.option(
    "--outputs",
    type=click.Choice(["back", "new"]),
    help="What becomes of files that the flow has written: cut back to where the backup knows them (the default in the "
    "directory that it was made of), or moved aside, and begun anew.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option("Write what was restored as one JSON object.")
def restore(url: str, directory: Path, name: Optional[str], outputs: Any, yes: bool, as_json: bool) -> None:
    """Let a state directory, which may be empty or missing, go on from a backup, by default from the last one.

    Each object is compared with its checksum before anything is opened. The flow must be stopped.
    """
    from headway.backups.restore import find_backup, known_backups, restore_backup
    from headway.backups.store import open_store
    from headway.runtime.directory import StateDirectory

    store = open_store(url)
    catalog = known_backups(store)
    listed = find_backup(store, catalog, name)
    if not yes and directory.exists() and any(directory.iterdir()):
        click.confirm(f"Let {directory} go on from the backup {listed.name}?", abort=True, err=True)
    restore_backup(store, catalog, listed, StateDirectory(directory), outputs=outputs)
    if as_json:
        say(json_text({"restored": _record(listed), "into": str(directory)}))
    else:
        say(printable(f"{directory} goes on from {backup_text(listed)}"))


@backup.command(epilog=examples("headway backup prune s3://our-backups/carts --keep 7"))
@url_argument
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="How many of the last ones stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(url: str, keep: int, yes: bool) -> None:
    """Drop all but the last backups of a place, and remove what no backup needs any more.

    Not while a run makes backups there: that drops old ones by itself.
    """
    from headway.backups.prune import prune_backups
    from headway.backups.restore import known_backups
    from headway.backups.store import open_store

    store = open_store(url)
    count = len(known_backups(store).backups)
    if count > keep and not yes:
        click.confirm(f"Drop {count - keep} of {count} backups in {store.where}?", abort=True, err=True)
    say(printable(f"dropped: {', '.join(listed.name for listed in prune_backups(store, keep, tell=_tell)) or 'none'}"))


def _tell(text: str) -> None:
    click.echo(printable(text), err=True)


def _table(found: Sequence[Listed]) -> Iterator[str]:
    from headway.basics.times import format_time
    from headway.cli.texts import bytes_text

    if not found:
        yield "no backups"
        return
    width = max(len(listed.name) for listed in found)
    for listed in found:
        sizes = f"{bytes_text(listed.size_bytes):>8}  {bytes_text(listed.sent_bytes):>8} sent"
        at = format_time(listed.made_ms)
        yield printable(f"{listed.name:{width}}  {at}  {listed.events:>13,} events  {listed.rows:>11,} rows  {sizes}")


def _verified_lines(listed: Listed, wrong: Sequence[CorruptStateError]) -> Iterator[str]:
    yield from (printable(str(error)) for error in wrong)
    if not wrong:
        yield printable(f"{backup_text(listed)}: all objects are as they were sent")


def _verified(listed: Listed, wrong: Sequence[CorruptStateError]) -> dict[str, Any]:
    return {"name": listed.name, "damaged": [str(error) for error in wrong]}


def _record(listed: Listed) -> dict[str, Any]:
    """For programs."""
    return {
        "name": listed.name,
        "made_ms": listed.made_ms,
        "origin": listed.origin,
        "events": listed.events,
        "rows": listed.rows,
        "files": listed.files,
        "bytes": listed.size_bytes,
        "sent_bytes": listed.sent_bytes,
    }
