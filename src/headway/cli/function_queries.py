"""`headway functions query`: asks an instance something, by the handler that its own code gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import json_text
from headway.cli.function_messages import checked_json
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import say
from headway.errors import UsageError

__all__ = ["loaded_functions", "query"]


@click.command(
    short_help="Ask an instance something: its code answers, and nothing changes.",
    epilog=examples("headway functions query flows/order_fulfilment.py fulfil_order/o-17 stage"),
)
@flow_argument
@click.argument("instance", metavar="NAME/ID")
@click.argument("query_name", metavar="QUERY")
@click.argument("value", default="null")
@set_option
@state_option
@json_option("Write the answer with the instance, its run and its status.")
@click.pass_context
def query(
    ctx: click.Context,
    flow: str,
    instance: str,
    query_name: str,
    value: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    as_json: bool,
) -> None:
    """Ask an instance something, and write what it answers as JSON. VALUE is JSON, and what its handler is given.

    The handler of the function's own code (context.on_query) answers, in a copy of the instance that is made from its
    history, so nothing changes, also while the flow runs. What is durable counts. The exit code is 1 where there is no
    such instance.
    """
    import msgspec

    from headway.cli.places import default_state_dir
    from headway.cli.replays import recorded_of
    from headway.durable import queries
    from headway.state.reader import StateReader

    loaded = loaded_functions(flow, settings)
    with StateReader(state_dir or default_state_dir(loaded)) as reader:
        row = reader.get("functions", instance)
        recorded = None if row is None else recorded_of(row)
    if row is None or recorded is None:
        click.echo(f"there is no instance {instance!r}", err=True)
        ctx.exit(1)
    answer = queries.query(recorded, loaded.callees, query_name, checked_json(value, "VALUE").encode())
    found: Any = msgspec.Raw(answer)
    if as_json:
        status = row.state.get("status", "")
        found = {"instance": instance, "run": recorded.identity.run, "status": status, "value": found}
    say(json_text(found))


def loaded_functions(flow: str, settings: dict[str, str]) -> Any:
    """The group of functions that a command is about. Raises `UsageError` for a flow that has none."""
    from headway.declare.loading import FlowSpec, load_flow
    from headway.durable.flow import Functions

    loaded = load_flow(FlowSpec(flow, settings))
    if not isinstance(loaded, Functions):
        msg = f"the flow {loaded.name!r} has no durable functions: declare it with hw.Functions(NAME, [FUNCTION, ...])"
        raise UsageError(msg)
    return loaded
