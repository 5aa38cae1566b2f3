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
    from headway.state.edits import Edit

    maker = _StateMaker(flow, settings, state_dir, operator)
    _carry_out(maker, operator, [Edit(key, maker.encoded(state.encode(), "the state given"))])


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

    maker = _StateMaker(flow, settings, state_dir, operator)
    if not yes:
        click.confirm(f"Delete what {operator} keeps for {', '.join(map(printable, keys))}?", abort=True, err=True)
    done = _carry_out(maker, operator, [Edit(key, None) for key in keys])
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
    maker = _StateMaker(flow, settings, state_dir, operator)
    with file.open("rb") as lines:
        edits = list(maker.edits(lines, str(file)))
    _carry_out(maker, operator, edits)


class _StateMaker:
    """Makes states of an operator out of JSON."""

    def __init__(self, flow: str, settings: dict[str, str], state_dir: Optional[Path], operator: str) -> None:
        from headway.cli.places import default_state_dir
        from headway.declare.loading import FlowSpec, load_flow
        from headway.runtime.directory import StateDirectory
        from headway.runtime.run import plan_of
        from headway.savepoints.editing import check_same_state

        loaded = load_flow(FlowSpec(flow, settings))
        self.directory = StateDirectory(state_dir or default_state_dir(loaded))
        plan = plan_of(loaded, self.directory.path)
        check_same_state(plan, self.directory, operator)
        types = {node.name: node.operator.state_type for stage in plan.stages for node in stage.operators}
        self._type = types.get(operator)
        self._operator = operator

    @property
    def fresh(self) -> bytes:
        """The state of a key of which nothing is known."""
        return self.encoded(b"{}", "an empty state")

    def encoded(self, state: bytes, what: str) -> bytes:
        """A state in MessagePack, as it is stored. Raises `UsageError` for one that is not of the operator's class."""
        import msgspec

        from headway.errors import UsageError

        if self._type is None:
            return b"\x80"  # Whoever edits says that there is no such operator.
        try:
            return msgspec.msgpack.encode(msgspec.json.decode(state, type=self._type))
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, NotImplementedError) as error:
            msg = (
                f"{what} cannot be a state of {self._operator!r}, which keeps a {self._type.__name__}: {error}; "
                "nothing was changed"
            )
            raise UsageError(msg) from error

    def edits(self, lines: Any, name: str) -> Iterator[Edit]:
        """The rows of a file."""
        import msgspec

        from headway.errors import UsageError
        from headway.state.edits import Edit, RowLine

        decoder = msgspec.json.Decoder(RowLine)
        for number, line in enumerate(lines, 1):
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{name}, line {number}: {error}; expected a JSON object with key and state; nothing was changed"
                raise UsageError(msg) from error
            yield Edit(row.key, self.encoded(bytes(row.state), f"{name}, line {number}"), row.timers)


def _carry_out(maker: _StateMaker, operator: str, edits: list[Edit]) -> Edited:
    from headway.cli.texts import count_text
    from headway.savepoints.editing import edit_state

    done, before = edit_state(maker.directory, operator, edits, maker.fresh)
    told = {"added": done.added, "changed": done.changed, "deleted": done.deleted, "not there": done.missing}
    text = ", ".join(f"{count_text(count, 'row')} {what}" for what, count in told.items() if count)
    say(printable(f"{operator}: {text or 'nothing to do'}; what was there before is the savepoint {before}"))
    return done


EDITS = (set_, delete, import_)
"""The commands of this module, for `headway state`."""
