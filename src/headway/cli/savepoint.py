"""`headway savepoint`: named copies of what a flow keeps, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click

from headway.cli.changes import state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable, printable_line
from headway.cli.options import DURATION, examples, is_given, json_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.errors import StateError
    from headway.runtime.directory import StateDirectory
    from headway.runtime.run import Beside
    from headway.state.savepoint import SavepointInfo

__all__ = ["check_kept", "savepoint", "savepoint_options", "savepoints_beside"]


@click.group(cls=Commands)
def savepoint() -> None:
    """Make named copies of what a flow keeps, also while it runs, and let a flow go on from one.

    A savepoint is the whole state at one committed epoch: state, timers, positions, what waits, and what is still to be
    delivered. It lies in the state directory, as hard links: it takes room only for what the flow has rewritten since.
    """


C = TypeVar("C", bound=Callable[..., Any])


def savepoint_options(command: C) -> C:
    """What `headway run` has of savepoints."""
    command = click.option(
        "--keep",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        metavar="N",
        help="How many savepoints of --savepoint-every are kept; those with a name of their own all are.",
    )(command)
    return click.option(
        "--savepoint-every",
        "savepoint_every_ms",
        type=DURATION,
        callback=_at_least_a_second,
        metavar="DURATION",
        help="Make a savepoint every so often, such as 10m, while the flow runs; see headway savepoint.",
    )(command)


def _at_least_a_second(ctx: click.Context, param: click.Parameter, value: Optional[int]) -> Optional[int]:
    if value is not None and value < 1_000:
        msg = f"{value}ms is too short: it must be 1s or longer"
        raise click.BadParameter(msg, ctx, param)
    return value


def check_kept(every_ms: Optional[int]) -> None:
    """Raise `click.UsageError` for a number of savepoints to keep where none are made."""
    if every_ms is None and is_given("keep"):
        msg = "--keep is about the savepoints of --savepoint-every DURATION: give that too"
        raise click.UsageError(msg)


def savepoints_beside(beside: Beside, directory: StateDirectory, every_ms: int, keep: int) -> Beside:
    """What goes on beside a run, and savepoints every so often."""

    @contextmanager
    def both() -> Iterator[None]:
        from headway.savepoints.automatic import AutomaticSavepoints

        with beside(), AutomaticSavepoints(directory, every_ms, keep):
            yield

    return both


place_argument = click.argument("place", metavar="FLOW|DIR")
file_argument = click.argument("archive", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")


@savepoint.command(
    epilog=examples(
        "headway savepoint create flows/abandoned_carts.py",
        "headway savepoint create .headway/abandoned-carts before-the-sale",
    )
)
@place_argument
@click.argument("name", required=False)
@state_option
@click.option(
    "--wait",
    "wait_ms",
    type=DURATION,
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="How long a running flow may take to answer: it does at the end of an epoch.",
)
@json_option("Write what was made as one JSON object.")
def create(place: str, name: Optional[str], state_dir: Optional[Path], wait_ms: int, as_json: bool) -> None:
    """Make a savepoint of a flow, which may be running. Without NAME it is called after the time.

    A running flow goes on meanwhile: each of its processes pauses for some 3 ms for each of its key groups.
    """
    from headway.savepoints.create import create_savepoint

    info = create_savepoint(_directory(place, state_dir), name, wait_s=wait_ms / 1_000)
    say(json_text(_record(info)) if as_json else printable(f"savepoint {info.name}: {_summary(info)}"))


@savepoint.command(
    name="list", epilog=examples("headway savepoint list flows/abandoned_carts.py", "headway savepoint list DIR --json")
)
@place_argument
@state_option
@json_option("Write one JSON object a line.")
def list_(place: str, state_dir: Optional[Path], as_json: bool) -> None:
    """List the savepoints of a flow, the oldest first."""
    from headway.savepoints.shelf import Shelf

    found = Shelf(_directory(place, state_dir).path).all()
    for line in _json_lines(found) if as_json else _table(found):
        say(line)


@savepoint.command(
    epilog=examples(
        "headway savepoint inspect flows/abandoned_carts.py before-the-sale",
        "headway savepoint inspect .headway/abandoned-carts before-the-sale --json",
    )
)
@place_argument
@click.argument("name")
@state_option
@json_option("Write one JSON object.")
def inspect(place: str, name: str, state_dir: Optional[Path], as_json: bool) -> None:
    """Show what a savepoint holds, once every file of it is compared with its checksum.

    A damaged savepoint is refused with the name of the file. Reads all of it, about a gigabyte a second.
    """
    from headway.savepoints.shelf import Shelf
    from headway.state.savepoint import check_savepoint

    path = Shelf(_directory(place, state_dir).path).path(name)
    info = check_savepoint(path)
    for line in [json_text(_record(info))] if as_json else _details(info, path):
        say(line)


@savepoint.command(
    epilog=examples(
        "headway savepoint restore flows/abandoned_carts.py before-the-sale",
        "headway savepoint restore .headway/abandoned-carts before-the-sale --into /var/lib/carts-test --outputs new",
    )
)
@place_argument
@click.argument("name")
@state_option
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Another state directory, which may be empty. Default: the one that has the savepoint.",
)
@click.option(
    "--outputs",
    type=click.Choice(["back", "new"]),
    help="What becomes of files that the flow has written: cut back to where the savepoint knows them (the default in "
    "the same directory), or moved aside, and begun anew.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option("Write what was restored as one JSON object.")
def restore(
    place: str,
    name: str,
    state_dir: Optional[Path],
    into: Optional[Path],
    outputs: Any,
    yes: bool,
    as_json: bool,
) -> None:
    """Let a stopped flow go on from a savepoint, with any number of workers, and changed as any flow may be.

    Every file of the savepoint is checked first. What is in the state directory is kept as a savepoint of its own, if
    it can be read; the last five of these stay. Logs are read again from where they stood; what was posted since is in
    them. Triggers that were delivered since are made and delivered again, with the same ids.
    """
    from headway.runtime.directory import StateDirectory
    from headway.savepoints.restore import restore_savepoint
    from headway.savepoints.shelf import BEFORE_RESTORE, KEPT_BEFORE, Shelf

    directory = _directory(place, state_dir)
    path = Shelf(directory.path).path(name)
    target = directory if into is None else StateDirectory(into)
    if not yes and target.path.exists() and any(target.path.iterdir()):
        click.confirm(f"Let {target} go on from the savepoint {name}?", abort=True, err=True)
    before: list[str] = []
    info = restore_savepoint(path, target, outputs=outputs, before=lambda: before.extend(_kept_before(target)))
    Shelf(target.path).prune(KEPT_BEFORE, BEFORE_RESTORE, spared=name)
    if as_json:
        say(json_text({"restored": _record(info), "into": str(target), "before": before[0] if before else None}))
        return
    say(printable(f"{target} goes on from the savepoint {info.name}: {_summary(info)}"))
    for name_before in before:
        say(printable(f"what was there before is the savepoint {name_before}"))


def _kept_before(target: StateDirectory) -> list[str]:
    """Keep what a directory holds as a savepoint; its name, or none where it holds nothing that can be read."""
    from headway.errors import CorruptStateError, IncompatibleStateError
    from headway.savepoints.create import create_savepoint
    from headway.savepoints.shelf import BEFORE_RESTORE

    try:
        if target.manifest() is None:
            return []
        return [create_savepoint(target, prefix=BEFORE_RESTORE, is_held=True).name]
    except (CorruptStateError, IncompatibleStateError) as error:
        click.echo(f"headway: what {target} holds is not kept as a savepoint: {printable_line(str(error))}", err=True)
        return []


@savepoint.command(epilog=examples("headway savepoint export flows/abandoned_carts.py before-the-sale carts.tar"))
@place_argument
@click.argument("name")
@file_argument
@state_option
def export(place: str, name: str, archive: Path, state_dir: Optional[Path]) -> None:
    """Write a savepoint to one file, an archive that `headway savepoint import` takes anywhere.

    It holds what the flow knows of its events: only its owner may read it.
    """
    from headway.savepoints.archive import export_savepoint
    from headway.savepoints.shelf import Shelf

    info = export_savepoint(Shelf(_directory(place, state_dir).path).path(name), archive)
    say(printable(f"{archive}: the savepoint {info.name}, {_summary(info)}"))


@savepoint.command(name="import", epilog=examples("headway savepoint import /var/lib/carts carts.tar"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@file_argument
@click.option("--name", metavar="NAME", help="Call it so. Default: as it was called.")
def import_(directory: Path, archive: Path, name: Optional[str]) -> None:
    """Put the savepoint of an archive into a state directory, which may be empty; nothing of it is restored yet.

    All of the archive is checked before it gets a name there. Whoever gives it to you decides what the flow remembers.
    """
    from headway.savepoints.archive import import_savepoint

    info = import_savepoint(archive, directory, name)
    say(printable(f"savepoint {info.name}: {_summary(info)}"))


@savepoint.command(epilog=examples("headway savepoint delete flows/abandoned_carts.py before-the-sale"))
@place_argument
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(place: str, names: Sequence[str], state_dir: Optional[Path], yes: bool) -> None:
    """Delete savepoints. The flow and its other savepoints keep what they share with them."""
    from headway.savepoints.shelf import Shelf

    shelf = Shelf(_directory(place, state_dir).path)
    for name in names:
        shelf.path(name)
    if not yes:
        click.confirm(f"Delete {', '.join(names)}?", abort=True, err=True)
    for name in names:
        shelf.delete(name)
    say(printable(f"deleted: {', '.join(names)}"))


def _directory(place: str, state_dir: Optional[Path]) -> StateDirectory:
    from headway.cli.places import state_dir_of
    from headway.runtime.directory import StateDirectory

    return StateDirectory(state_dir or state_dir_of(place))


def _summary(info: SavepointInfo) -> str:
    from headway.cli.texts import bytes_text, count_text

    return f"{count_text(info.events, 'event')}, {count_text(info.rows, 'row')}, {bytes_text(info.size_bytes)}"


def _details(info: SavepointInfo, path: Path) -> Iterator[str]:
    from headway.basics.times import format_time
    from headway.cli.texts import count_text

    yield printable(f"savepoint {info.name} of the flow {info.flow}, {format_time(info.made_ms)}")
    running = "of a running flow " if info.running else ""
    yield printable(f"made by headway {info.by} {running}in {info.origin}")
    yield f"{_summary(info)}, {count_text(info.timers, 'timer')}, {info.key_groups} key groups"
    if info.written:
        yield printable(f"outputs that have written: {', '.join(info.written)}")
    yield printable(f"{count_text(len(info.files), 'file')} in {path}, all as they were made")


def _json_lines(found: Sequence[tuple[str, SavepointInfo | StateError]]) -> Iterator[str]:
    for name, info in found:
        yield json_text({"name": name, "error": str(info)} if isinstance(info, Exception) else _record(info))


def _table(found: Sequence[tuple[str, SavepointInfo | StateError]]) -> Iterator[str]:
    from headway.basics.times import format_time
    from headway.cli.texts import bytes_text

    if not found:
        yield "no savepoints"
        return
    width = max(len(name) for name, _ in found)
    for name, info in found:
        if isinstance(info, Exception):
            yield printable(f"{name:{width}}  {info}")
        else:
            at, size = format_time(info.made_ms), bytes_text(info.size_bytes)
            yield printable(f"{name:{width}}  {at}  {info.events:>13,} events  {info.rows:>11,} rows  {size:>8}")


def _record(info: SavepointInfo) -> dict[str, Any]:
    """For programs: without the checksums."""
    return {
        "name": info.name,
        "flow": info.flow,
        "made_ms": info.made_ms,
        "origin": info.origin,
        "by": info.by,
        "automatic": info.automatic,
        "running": info.running,
        "key_groups": info.key_groups,
        "events": info.events,
        "rows": info.rows,
        "timers": info.timers,
        "written": info.written,
        "files": len(info.files),
        "bytes": info.size_bytes,
    }
