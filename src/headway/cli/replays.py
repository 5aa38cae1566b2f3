"""`headway functions replay-check`: whether the code of today goes on with what is under way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import json_text, printable
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say
from headway.errors import InputError, OutputError, ReplayMismatch, UsageError

if TYPE_CHECKING:
    from headway.errors import FunctionBlocked
    from headway.functions.recorded import Recorded
    from headway.state.reader import StoredRow

__all__ = ["replay_check"]

_OPERATOR = "functions"
_UNDER_WAY = ("running", "blocked")


@click.command(
    name="replay-check",
    short_help="Replay what is under way against the code of today.",
    epilog=examples(
        "headway functions replay-check flows/refund_order.py",
        "headway functions replay-check flows/refund_order.py --save histories.jsonl",
        "headway functions replay-check flows/refund_order.py --from histories.jsonl",
    ),
)
@flow_argument
@set_option
@state_option
@click.option("--ended", is_flag=True, help="Also those that have ended and are still known.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the histories into a file as well, for --from.",
)
@click.option(
    "--from",
    "saved",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Replay the histories of a file, and not those of the state directory.",
)
@json_option("Write one JSON object a line: those that differ, and then how many there are.")
@click.pass_context
def replay_check(
    ctx: click.Context,
    flow: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    ended: bool,
    save: Optional[Path],
    saved: Optional[Path],
    as_json: bool,
) -> None:
    """Replay the histories of all functions that are under way against the code of today.

    Runs no step and changes nothing, also while the flow runs. Tells which instances could not go on, what their
    history says there and what the code does. The exit code is 1 if there are any. For those that are blocked it tells
    whether `headway functions retry` would help.

    Before a new version is put in place: --save the histories where it runs, and check them with --from where it is
    built.
    """
    from headway.declare.loading import FlowSpec, load_flow
    from headway.durable.flow import Functions
    from headway.functions.recorded import difference

    loaded = load_flow(FlowSpec(flow, settings))
    if not isinstance(loaded, Functions):
        msg = f"the flow {loaded.name!r} has no durable functions: declare it with hw.Functions(NAME, [FUNCTION, ...])"
        raise UsageError(msg)
    if saved is not None and (state_dir is not None or save is not None or ended):
        msg = "--from reads a file: leave out --state, --save and --ended, which are about a state directory"
        raise UsageError(msg)
    count = differ = 0
    for recorded in _saved(saved) if saved is not None else _stored(loaded, state_dir, save, with_ended=ended):
        count += 1
        blocked = difference(recorded, loaded.callees)
        if blocked is not None:
            differ += 1
            say(_json(recorded, blocked) if as_json else _text(recorded, blocked))
    if as_json:
        say(json_text({"replayed": count, "differ": differ}))
    elif not differ:
        say(f"replayed: {count}, all go on" if count else "replayed: 0, there is nothing under way")
    else:
        say(f"replayed: {count}, of which {differ} could not go on")
    if differ:
        ctx.exit(1)


def _stored(flow: Any, state_dir: Optional[Path], save: Optional[Path], *, with_ended: bool) -> Iterator[Recorded]:
    from headway.cli.places import default_state_dir
    from headway.state.reader import StateReader

    with StateReader(state_dir or default_state_dir(flow)) as reader:
        if _OPERATOR not in reader.operators():
            msg = f"the flow {reader.manifest.flow!r} has no durable functions in its state directory"
            raise UsageError(msg)
        rows = (
            recorded_of(row) for row in reader.rows(_OPERATOR) if with_ended or row.state.get("status") in _UNDER_WAY
        )
        if save is None:
            yield from rows
            return
        try:
            with save.open("w", encoding="utf-8") as file:
                for recorded in rows:
                    file.write(f"{recorded.to_line()}\n")
                    yield recorded
        except OSError as error:
            msg = f"{save}: the histories cannot be written: {error.strerror or error}"
            raise OutputError(msg) from None


def _saved(path: Path) -> Iterator[Recorded]:
    from headway.functions.recorded import Recorded

    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    yield Recorded.from_line(line)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: the histories cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from None


def recorded_of(row: StoredRow) -> Recorded:
    """The history that is kept of an instance."""
    from headway.durable.messages import parts_of
    from headway.functions.history import Happening, Identity, decode
    from headway.functions.recorded import Recorded

    state = row.state
    entries = tuple(decode(data) for data in state.get("history", ()))
    held: tuple[Happening, ...] = tuple(decode(data) for data in state.get("held", ()))  # type: ignore[misc]
    return Recorded(Identity(*parts_of(row.key), state.get("run", 0) - state.get("resets", 0)), entries, held)


def _text(recorded: Recorded, blocked: FunctionBlocked) -> str:
    who = recorded.identity
    return printable(f"{who.name}/{who.id}  {blocked}")


def _json(recorded: Recorded, blocked: FunctionBlocked) -> str:
    who = recorded.identity
    told: dict[str, Any] = {"instance": f"{who.name}/{who.id}", "run": who.run, "reason": str(blocked)}
    if isinstance(blocked, ReplayMismatch):
        told |= {
            "expected": blocked.expected,
            "found": blocked.found,
            "after_entry": blocked.position,
            "line": blocked.line,
        }
    return json_text(told)
