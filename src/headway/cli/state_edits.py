"""`headway state set`, `delete` and `import`: rows of a stopped flow are changed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.changes import state_option
from headway.cli.escapes import printable
from headway.cli.options import examples, flow_argument, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.state.edits import Edit, Edited

__all__ = ["EDITS"]


@click.command(
    name="set",
    epilog=examples(
        'headway state set flows/abandoned_carts.py abandonment u000123 \'{"items": {"s0001": 1}}\'',
    ),
)
@flow_argument
@click.argument("operator")
@click.argument("key")
@click.argument("state", metavar="JSON")
@set_option
@state_option
def set_(flow: str, operator: str, key: str, state: str, settings: dict[str, str], state_dir: Optional[Path]) -> None:
    """Give one key of a stopped flow another state, or a first one. Its timers stay.

    JSON is the whole state, and must be one of the operator's class. What was there before is kept as a savepoint.
    """
    found = _Flow(flow, settings, state_dir, operator)
    found.carry_out([found.states.edit(key, state.encode(errors="surrogateescape"), None, "the state given")])


@click.command(
    epilog=examples("headway state delete flows/abandoned_carts.py abandonment u000123 u000124"),
)
@flow_argument
@click.argument("operator")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@set_option
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def delete(
    ctx: click.Context,
    flow: str,
    operator: str,
    keys: Sequence[str],
    settings: dict[str, str],
    state_dir: Optional[Path],
    yes: bool,
) -> None:
    """Delete what an operator of a stopped flow keeps for some keys, with their timers.

    What was there before is kept as a savepoint. The exit code is 1 when nothing was kept for some of them.
    """
    from headway.state.edits import Edit

    found = _Flow(flow, settings, state_dir, operator)
    for key in keys:
        found.states.check_key(key)
    if not yes:
        click.confirm(f"Delete what {operator} keeps for {', '.join(map(printable, keys))}?", abort=True, err=True)
    done = found.carry_out([Edit(key, None) for key in keys])
    if done.missing:
        ctx.exit(1)


@click.command(name="import", epilog=examples("headway state import flows/abandoned_carts.py abandonment carts.jsonl"))
@flow_argument
@click.argument("operator")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@set_option
@state_option
def import_(flow: str, operator: str, file: Path, settings: dict[str, str], state_dir: Optional[Path]) -> None:
    """Set the rows of a stopped flow that a file of JSON lines has, as `headway state export` writes them.

    Each line has `key` and `state`, and may have `timers`: without, those of the key stay. Rows of other keys stay. All
    of the file is checked first. What was there before is kept as a savepoint.
    """
    found = _Flow(flow, settings, state_dir, operator)
    with file.open("rb") as lines:
        edits = list(found.edits(lines, str(file)))
    found.carry_out(edits)


class _Flow:
    """The stopped flow whose rows are edited, and one of its operators."""

    def __init__(self, flow: str, settings: dict[str, str], state_dir: Optional[Path], operator: str) -> None:
        from headway.cli.places import default_state_dir
        from headway.declare.loading import FlowSpec, load_flow
        from headway.runtime.directory import StateDirectory
        from headway.runtime.run import plan_of
        from headway.savepoints.editing import check_same_state
        from headway.state.given import GivenStates

        loaded = load_flow(FlowSpec(flow, settings))
        self.directory = StateDirectory(state_dir or default_state_dir(loaded))
        plan = plan_of(loaded, self.directory.path)
        check_same_state(plan, self.directory, operator)
        types = {node.name: node.operator.state_type for stage in plan.stages for node in stage.operators}
        # Of an operator that is not there, whoever edits says so.
        self.states = GivenStates(operator, types.get(operator, dict))
        self._operator = operator

    def edits(self, lines: Any, name: str) -> Iterator[Edit]:
        """The rows of a file."""
        import msgspec

        from headway.errors import UsageError
        from headway.state.edits import RowLine

        decoder = msgspec.json.Decoder(RowLine)
        for number, line in enumerate(lines, 1):
            where = f"{name}, line {number}"
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{where}: {error}; expected a JSON object with key and state; nothing was changed"
                raise UsageError(msg) from error
            yield self.states.edit(row.key, bytes(row.state), row.timers, where)

    def carry_out(self, edits: list[Edit]) -> Edited:
        """Carry the edits out, and tell what was done."""
        from headway.cli.texts import count_text
        from headway.savepoints.editing import edit_state

        done, before = edit_state(self.directory, self._operator, edits, self.states.fresh)
        told = {"added": done.added, "changed": done.changed, "deleted": done.deleted, "not there": done.missing}
        text = ", ".join(f"{count_text(count, 'row')} {what}" for what, count in told.items() if count)
        say(printable(f"{self._operator}: {text or 'nothing to do'}; what was there before is the savepoint {before}"))
        return done


EDITS = (set_, delete, import_)
"""The commands of this module, for `headway state`."""
