"""Telling durable functions and schedules something from a command: a record of the log of requests."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from headway.cli.escapes import json_text
from headway.cli.process import say
from headway.errors import UsageError

__all__ = ["append_message", "checked_json"]


def checked_json(text: str, what: str) -> str:
    """A text that is JSON. Raises `UsageError` for one that is not, as where the quotes of a JSON text are missing."""
    import msgspec

    try:
        msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError) as error:
        msg = f"{what} is no JSON: {text!r:.100} ({error}); a JSON text has quotes of its own: '\"hello\"'"
        raise UsageError(msg) from None
    return text


def append_message(
    flow: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    instance: str,
    behind: str,
    body: str,
    *,
    as_json: bool,
) -> None:
    """Append what a post to the path of an instance, with `behind` behind it, would append; say so when it is durable.

    Raises `UsageError` for what names no instance and for a flow without functions, `InputError` for what is refused.
    """
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.ingest.append import Appending, Batch
    from headway.ingest.server import doors_of
    from headway.state.private import make_private

    loaded = load_flow(FlowSpec(flow, settings))
    directory = state_dir or default_state_dir(loaded)
    door = next((door for door in doors_of(loaded, directory).values() if door.input.translator is not None), None)
    if door is None:
        msg = f"the flow {loaded.name!r} has no durable functions: declare it with hw.Functions(NAME, [FUNCTION, ...])"
        raise UsageError(msg)
    name, _, instance_id = instance.partition("/")
    if not name or not instance_id:
        msg = f"{instance!r} names no instance: write NAME/ID, such as refund_order/o-17"
        raise UsageError(msg)
    make_private(directory)
    path = f"/{quote(name, safe='')}/{quote(instance_id, safe='')}{behind}"
    with Appending(door, directory) as appending:
        batch = Batch("application/json", body.encode(), f"functions-{uuid.uuid4().hex}", [1], path)
        taken = appending.append(batch)
    say(json_text({"instance": instance, "position": taken.position}) if as_json else f"taken: {instance}")
