"""`headway functions schedules`: what starts functions again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Optional

import click

from headway.basics.times import format_time
from headway.cli.changes import state_option
from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable
from headway.cli.function_messages import append_message
from headway.cli.function_queries import loaded_functions
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.durable.schedules import Schedule
    from headway.state.reader import StoredRow

__all__ = ["schedules"]

_OPERATOR: Final = "schedules"


@click.group(cls=Commands)
def schedules() -> None:
    """Show the schedules of a flow, pause and resume them, also while it runs."""


@schedules.command(epilog=examples("headway functions schedules ls flows/loan_review.py"))
@flow_argument
@set_option
@state_option
@click.option("--next", "count", type=click.IntRange(1, 100), default=3, show_default=True, help="How many next times.")
@json_option("Write one JSON object a line.")
def ls(flow: str, settings: dict[str, str], state_dir: Optional[Path], count: int, as_json: bool) -> None:
    """List schedules, with their next times on the clocks of their zones, and what they have done.

    Told is also which ones no run has known yet, and which ones of a former run the code has no more.
    """
    loaded = loaded_functions(flow, settings)
    rows = _rows(loaded, state_dir)
    known: dict[str, Schedule] = loaded.schedules
    if not known and not rows and not as_json:
        say("there are none")
    for name in [*known, *sorted(rows.keys() - known.keys())]:
        told = _told(name, known.get(name), rows.get(name), count)
        say(json_text(told) if as_json else _text(told))


def _acting(name: str, help_text: str) -> None:
    """Add a command that tells a schedule what its name says."""

    def tell(flow: str, schedule: str, settings: dict[str, str], state_dir: Optional[Path], as_json: bool) -> None:
        from headway.durable.messages import SCHEDULES, address_of

        address = address_of(SCHEDULES, schedule)
        append_message(flow, settings, state_dir, address, f"/{name}", "null", as_json=as_json)

    for option in (json_option("Write the receipt as JSON."), state_option, set_option):
        tell = option(tell)
    tell = click.argument("schedule", metavar="SCHEDULE")(tell)
    schedules.command(name=name, help=help_text)(flow_argument(tell))


_acting("pause", "Have a schedule start nothing until it is resumed.")
_acting("resume", "Go on with a schedule that is paused. What was due meanwhile is left out.")
_acting("trigger", "Have a schedule do now what it does when it is due, also one that is paused.")


def _rows(loaded: Any, state_dir: Optional[Path]) -> dict[str, StoredRow]:
    """What is kept of schedules, by their names; nothing where there is no state yet."""
    from headway.cli.places import default_state_dir
    from headway.durable.messages import parts_of
    from headway.state.manifest import MANIFEST_NAME
    from headway.state.reader import StateReader

    directory = state_dir or default_state_dir(loaded)
    if not (directory / MANIFEST_NAME).exists():
        return {}
    with StateReader(directory) as reader:
        if _OPERATOR not in reader.kept():
            return {}
        return {parts_of(row.key)[1]: row for row in reader.rows(_OPERATOR)}


def _told(name: str, schedule: Optional[Schedule], row: Optional[StoredRow], count: int) -> dict[str, Any]:
    state: dict[str, Any] = {} if row is None else row.state
    status = "paused" if state.get("paused") else "active"
    if schedule is None:
        status = "removed: the code does not have it any more"
    elif row is None:
        status = "new: it begins with the next run"
    elif state.get("timetable") != schedule.timetable.text:
        status = f"changed: until the next run it is {state.get('timetable')}"
    return {
        "schedule": name,
        "status": status,
        "function": "" if schedule is None else schedule.function.name,
        "timetable": state.get("timetable", "") if schedule is None else schedule.timetable.text,
        "next": _next(schedule, state, count) if status.startswith(("active", "changed")) else [],
        "reason": state.get("reason", ""),
        "last": format_time(state["last_ms"]) if state.get("last_ms") else "",
        "last_id": state.get("last_id", ""),
        "started": state.get("calls", 0),
        "running": sorted(state.get("running", {}).values()),
        "waiting": [format_time(at_ms) for at_ms in state.get("buffered", [])],
        "skipped": state.get("skipped", 0),
        "missed": state.get("missed", 0),
    }


def _next(schedule: Optional[Schedule], state: dict[str, Any], count: int) -> list[str]:
    """The next times, by the clocks of the zone, with their offsets from UTC."""
    from datetime import datetime

    at_ms: Optional[int] = state.get("next_ms", 0)
    found: list[str] = []
    while schedule is not None and at_ms and len(found) < count:
        found.append(datetime.fromtimestamp(at_ms / 1_000, schedule.timetable.zone).isoformat())
        at_ms = schedule.timetable.next_after(at_ms)
    return found


def _text(told: dict[str, Any]) -> str:
    lines = [f"{told['schedule']:<24}{told['status']:<10}{told['function']}  {told['timetable']}"]
    for name, value in told.items():
        if name not in ("schedule", "status", "function", "timetable") and value not in ("", [], 0):
            lines.append(f"  {name:<10}{value if isinstance(value, (str, int)) else '  '.join(map(str, value))}")
    return "\n".join(printable(line) for line in lines)
