"""Groups of commands."""

from __future__ import annotations

import difflib
from typing import Final, Optional

import click

__all__ = ["Commands"]


_SENTENCE: Final = 500
"""Characters, more than any sentence has: click cuts off what is longer."""


class Commands(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        """Find the command; raises `click.UsageError` with a suggestion for one that does not exist."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}{self._suggestion(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        if name.endswith(".py"):
            return f"; to run a flow: headway run {name}"
        close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
        return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(self.list_commands(ctx))}"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with the whole first sentence of its help."""
        known = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(_SENTENCE)) for name, command in known])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)
