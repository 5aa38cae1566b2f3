"""`headway ingest`."""

from __future__ import annotations

import json
import os
import select
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from headway.cli.escapes import printable_line
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say
from headway.errors import InputError, UsageError

if TYPE_CHECKING:
    from headway.ingest.append import Batch
    from headway.ingest.door import Door

__all__ = ["ingest"]

_BATCH_LINES: Final = 1_000
_BATCH_BYTES: Final = 1 << 20
_LINE_MOST: Final = 4 << 20
_SHOW_S: Final = 0.5
_IDLE_S: Final = 1.0


@click.command(
    short_help="Append events of a file to a source that takes posts.",
    epilog=examples(
        "headway ingest flows/my_flow.py orders orders.jsonl --id-field order_id",
        "headway ingest flows/my_flow.py orders -",
    ),
)
@flow_argument
@click.argument("source", metavar="SOURCE")
@click.argument("file", metavar="FILE")
@set_option
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The state directory of the flow. Default: .headway/NAME-OF-THE-FLOW.",
)
@click.option(
    "--id-field",
    metavar="NAME",
    help="The field that tells an event from others: one that was appended before, within the window of the source, is "
    "not appended again.",
)
@json_option("Write what was appended as one JSON object to stdout, and show no progress.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary; errors only.")
def ingest(
    flow: str,
    source: str,
    file: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    id_field: Optional[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Append the JSON lines of FILE to SOURCE, an http_source of the flow, also while the flow runs. - is stdin.

    Events are checked as those that are posted, and are durable when the command says so. A line that is refused ends
    it, with the number of the line; nothing of its batch, of up to 1,000 lines, is appended.
    """
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.ingest.append import Appending
    from headway.ingest.server import doors_of
    from headway.state.manifest import Manifest
    from headway.state.private import make_private

    loaded = load_flow(FlowSpec(flow, settings))
    directory = state_dir or default_state_dir(loaded)
    door = _door(doors_of(loaded, directory), source)
    if id_field is not None and door.input.envelope == "cloudevents":
        msg = f"the source {source!r} takes CloudEvents, which have their ids: leave --id-field out"
        raise UsageError(msg)
    manifest = Manifest.load(directory)
    if manifest is not None:
        manifest.check_undrained(directory, draining=False)
        if manifest.flow != loaded.name:
            msg = f"{directory} belongs to the flow {manifest.flow!r}, and this is {loaded.name!r}: give its --state"
            raise UsageError(msg)
    make_private(directory)
    totals = _Totals(source, shows=not (quiet or as_json))
    with _opened(file) as descriptor, Appending(door, directory) as appending:
        for batch in _batches(descriptor, file, door, id_field, appending.let_go):
            taken = appending.append(batch)
            totals.add(taken.events, taken.duplicates, taken.position)
    totals.end()
    if as_json:
        say(json.dumps(totals.told()))
    elif not quiet:
        click.echo(totals.text(), err=True)


def _door(doors: dict[str, Door], source: str) -> Door:
    for path, door in doors.items():
        if source in (path, door.node.name):
            return door
    known = ", ".join(repr(door.node.name) for door in doors.values())
    msg = f"there is no source {source!r} that takes posts: there are {known}"
    raise UsageError(msg)


@contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == "-":
        yield 0
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}; check the path"
        raise InputError(msg) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _batches(
    descriptor: int, file: str, door: Door, id_field: Optional[str], idle: Callable[[], None]
) -> Iterator[Batch]:
    """The lines in batches; of a stream what is there, without waiting for a batch to be full.

    `idle` is called when nothing has come for a second.
    """
    from headway.ingest.append import Batch, envelope
    from headway.ingest.bodies import BATCHED, LINES

    run = uuid.uuid4().hex
    count = 0
    for lines in _pieces(descriptor, file, idle):
        found = [(number, line) for number, line in enumerate(lines, count + 1) if line.strip()]
        count += len(lines)
        if not found:
            continue
        numbers = [number for number, _ in found]
        if door.input.envelope == "cloudevents":
            yield Batch(BATCHED, b"[" + b",".join(line for _, line in found) + b"]", None, numbers)
        elif id_field is not None:
            events = [envelope(line, id_field, number) for number, line in found]
            yield Batch(BATCHED, b"[" + b",".join(events) + b"]", None, numbers)
        else:
            # The key makes it safe to send the batch again when no answer came.
            yield Batch(LINES[0], b"\n".join(line for _, line in found), f"ingest-{run}-{numbers[0]}", numbers)


def _pieces(descriptor: int, file: str, idle: Callable[[], None]) -> Iterator[list[bytes]]:
    """Whole lines, up to a batch of them."""
    rest = b""
    while True:
        try:
            if not select.select([descriptor], [], [], _IDLE_S)[0]:
                idle()
            data = os.read(descriptor, _BATCH_BYTES)
        except OSError as error:
            msg = f"cannot read {file}: {error.strerror}; check the file"
            raise InputError(msg) from error
        lines = (rest + data).split(b"\n")
        rest = lines.pop() if data else b""
        if len(rest) > _LINE_MOST:
            msg = f"{file} has a line of more than {_LINE_MOST:,} bytes: no event may be as large"
            raise InputError(msg)
        for start in range(0, len(lines), _BATCH_LINES):
            yield lines[start : start + _BATCH_LINES]
        if not data:
            return


@dataclass
class _Totals:
    """How much was appended, shown as it goes on."""

    source: str
    shows: bool
    events: int = 0
    duplicates: int = 0
    position: Optional[int] = None
    began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    def add(self, events: int, duplicates: int, position: int) -> None:
        self.events += events
        self.duplicates += duplicates
        self.position = position
        now = time.monotonic()
        if self.shows and sys.stderr.isatty() and now - self._shown > _SHOW_S:
            self._shown = now
            click.echo(f"\r\033[K{self.text()}", nl=False, err=True)

    def end(self) -> None:
        self.seconds = time.monotonic() - self.began
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)

    def text(self) -> str:
        seconds = max(time.monotonic() - self.began, 0.001)
        doubled = f", {self.duplicates:,} of them were there before" if self.duplicates else ""
        source = printable_line(self.source)
        return f"{source}: {self.events:,} events in {seconds:.1f} s, {self.events / seconds:,.0f}/s{doubled}"

    def told(self) -> dict[str, object]:
        return {
            "source": self.source,
            "events": self.events,
            "duplicates": self.duplicates,
            "position": self.position,
            "seconds": round(self.seconds, 3),
        }
