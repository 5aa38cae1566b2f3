"""Kinds of values that options take, and options that several commands share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click
from click.core import ParameterSource

from headway.basics.times import duration_ms, parse_time
from headway.errors import UsageError

__all__ = [
    "DURATION",
    "MOMENT",
    "SINCE",
    "SIZE",
    "examples",
    "flow_argument",
    "host_name_option",
    "is_given",
    "json_option",
    "pairs",
    "set_option",
    "token_option",
]

C = TypeVar("C", bound=Callable[..., Any])

if TYPE_CHECKING:
    _ParamType = click.ParamType[int]
else:
    # Older versions of click know no type arguments.
    _ParamType = click.ParamType

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class _Duration(_ParamType):
    """A length of time; milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        try:
            return duration_ms(value, what="the duration")
        except UsageError as error:
            self.fail(str(error), param, ctx)


class _Size(_ParamType):
    """A number of bytes."""

    name = "size"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is not a size: write bytes with a unit, such as 256MiB, 1GiB or 500MB", param, ctx)
        number, prefix, binary = match.groups()
        return int(Decimal(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])


class _Moment(_ParamType):
    """A point in time; epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_time(int(value) if re.fullmatch(r"-?\d+", value) else value)
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2026-01-01T00:00:00Z, or epoch milliseconds", param, ctx)


class _Since(_ParamType):
    """A point in time, or how long ago it was; epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        if isinstance(value, int):
            return value
        try:
            return time.time_ns() // 1_000_000 - duration_ms(value, what="the duration")
        except UsageError:
            return int(MOMENT.convert(value, param, ctx))


DURATION = _Duration()
"""Text such as `1s` or `1h30m`; the command gets milliseconds."""
SIZE = _Size()
"""Text such as `256MiB`; the command gets bytes."""
MOMENT = _Moment()
"""RFC 3339 text or epoch milliseconds; the command gets milliseconds."""


SINCE = _Since()
"""As `MOMENT`, or a duration that is counted back from now; the command gets epoch milliseconds."""


def examples(*lines: str) -> str:
    """The end of a help text: calls to copy."""
    # The control character keeps click from filling the lines.
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def flow_argument(command: C) -> C:
    """The flow that a command is about."""
    return click.argument("flow", metavar="FLOW")(command)


def set_option(command: C) -> C:
    """Values for the parameters that a flow declares."""
    text = "Set a parameter of the flow; may be given several times. 'headway explain FLOW' lists them."
    return click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, callback=pairs, help=text)(command)


def json_option(text: str) -> Callable[[C], C]:
    """The switch to output for programs."""

    def add(command: C) -> C:
        return click.option("--json", "as_json", is_flag=True, help=text)(command)

    return add


def token_option(command: C) -> C:
    """Which bearer tokens a server takes."""
    text = (
        "Ask for a bearer token: env:NAME or file:PATH, with one token a line. May be given several times; any of the "
        "tokens is taken."
    )
    return click.option("--token", "tokens", metavar="WHERE", multiple=True, help=text)(command)


def host_name_option(command: C) -> C:
    """Under which names a server is asked."""
    text = "A name under which clients ask, besides those of this machine; may be given several times."
    return click.option("--host-name", "host_names", metavar="NAME", multiple=True, help=text)(command)


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """The values of an option that is given as NAME=VALUE, each name once."""
    settings: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            example = ", such as --set after=1h" if "--set" in param.opts else ""
            msg = f"{text!r} has no '=': write {param.opts[0]} NAME=VALUE{example}"
            raise click.BadParameter(msg, ctx, param)
        if name in settings:
            msg = f"{name!r} is given twice: {settings[name]!r} and {value!r}"
            raise click.BadParameter(msg, ctx, param)
        settings[name] = value
    return settings


def is_given(*names: str) -> bool:
    """Whether the command line that is being carried out has any of these options, also with their default values."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)
