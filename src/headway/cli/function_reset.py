"""`headway functions reset`: has an instance go on before one of its calls."""

from __future__ import annotations

from pathlib import Path
from typing import Optional
from urllib.parse import quote

import click

from headway.cli.changes import state_option
from headway.cli.function_messages import append_message
from headway.cli.function_queries import loaded_functions
from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.errors import FunctionBlocked, UsageError

__all__ = ["reset"]


@click.command(
    short_help="Have an instance go on before one of its calls.",
    epilog=examples(
        "headway functions reset flows/refund_order.py refund_order/o-17 --to refund_payment",
        "headway functions reset flows/refund_order.py refund_order/o-17 --to 2",
    ),
)
@flow_argument
@click.argument("instance", metavar="NAME/ID")
@click.option(
    "--to",
    "step",
    required=True,
    metavar="N|STEP",
    help="The number of a call, or its name: the last one of that name.",
)
@set_option
@state_option
@json_option("Write the receipt as JSON.")
@click.pass_context
def reset(
    ctx: click.Context,
    flow: str,
    instance: str,
    step: str,
    settings: dict[str, str],
    state_dir: Optional[Path],
    as_json: bool,
) -> None:
    """Have an instance go on before one of its calls, as if that and all that came after it had not been.

    It may be at work, blocked, or have ended. Its history is cut back, and a new run goes on from there with the code
    of today: calls that stay keep their answers, signals that came later are given again, and what still comes for the
    run before is passed over. What was done outside is done: steps are called again, children that are called again
    give what they have.

    Refused where there is no such call, and where the code of today does not go the way of what stays. The exit code is
    1 where there is no such instance.
    """
    from headway.cli.places import default_state_dir
    from headway.cli.replays import recorded_of
    from headway.functions.cutting import cut_before
    from headway.functions.recorded import Recorded, replayed
    from headway.state.reader import StateReader

    loaded = loaded_functions(flow, settings)
    with StateReader(state_dir or default_state_dir(loaded)) as reader:
        row = reader.get("functions", instance)
        recorded = None if row is None else recorded_of(row)
    if recorded is None:
        click.echo(f"there is no instance {instance!r}", err=True)
        ctx.exit(1)
    kept = cut_before(recorded.entries, step).entries
    try:
        if kept:
            replayed(Recorded(recorded.identity, tuple(kept)), loaded.callees).close()
    except FunctionBlocked as error:
        msg = f"{instance} cannot go on before {step!r}: {error}"
        raise UsageError(msg) from None
    append_message(flow, settings, state_dir, instance, f"/reset/{quote(step, safe='')}", "null", as_json=as_json)
