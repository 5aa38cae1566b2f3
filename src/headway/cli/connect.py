"""`headway connect`: whether the systems around a flow can be reached, and what is in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.commands import Commands
from headway.cli.escapes import printable_lines
from headway.cli.options import examples, json_option, pairs, set_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.probing.base import Look, Probe
    from headway.probing.records import Shown

__all__ = ["connect"]


@click.group(cls=Commands, short_help="Look at the systems around a flow: brokers, databases, receivers.")
def connect() -> None:
    """Look at the systems that a flow reads from and writes to. Nothing is written there."""


@connect.command(
    short_help="Whether a server, or all that a flow is connected to, can be reached.",
    epilog=examples(
        "headway connect check kafka://localhost:9092",
        "headway connect check kafka://broker:9093 carts --option security.protocol=SSL",
        "headway connect check nats://localhost:4222 ORDERS",
        "headway connect check env:DATABASE_URL",
        "headway connect check my_flow.py --set servers=broker:9092",
    ),
)
@click.argument("what", metavar="URL|FLOW")
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=pairs,
    help="A setting of the client of Kafka; values may be env:NAME and file:PATH. May be given several times.",
)
@set_option
@json_option("Write what was found as one JSON object.")
def check(what: str, name: Optional[str], options: dict[str, str], settings: dict[str, str], as_json: bool) -> None:
    """Connect, be let in, list what is there, read three records, and say what a flow would need.

    URL is a server: kafka://, nats://, redis://, postgresql://, mysql://, http:// or https://; with a password in it,
    better env:NAME or file:PATH. NAME is a topic or a stream, of which the first records are shown. FLOW is the file or
    the module of a flow: then all of its inputs and targets are looked at, with the options that it gives them.
    """
    from headway.probing.urls import is_url, probe_of

    if not is_url(what):
        if name is not None or options:
            given = name if name is not None else "--option"
            msg = f"{given!r} is for the URL of a server, and {what!r} is a flow, which says by itself what it reads"
            raise click.UsageError(msg)
        _check_flow(what, settings, as_json=as_json)
        return
    if settings:
        msg = "--set is for the parameters of a flow"
        raise click.UsageError(msg)
    _check_server(probe_of(what, options), name, as_json=as_json)


def _check_server(probe: Probe, name: Optional[str], *, as_json: bool) -> None:
    from headway.errors import InputError
    from headway.probing.records import declaration, first_records

    began_s = time.monotonic()
    look = probe.look()
    took_ms = (time.monotonic() - began_s) * 1_000
    read: Sequence[Shown] = ()
    declared = ""
    if name is not None:
        given = probe.input(name)
        if given is None:
            msg = f"{probe.shown}: no {probe.unit} is read here by name: leave {name!r} out"
            raise click.UsageError(msg)
        if not look.more and name not in {one.name for one in look.names}:
            there = ", ".join(one.name for one in look.names[:10]) or "none"
            msg = f"{probe.shown} has no {probe.unit} {name!r}: there are {there}"
            raise InputError(msg)
        read = first_records(given)
        declared = declaration(name, probe.source(name), [one.value for one in read])
    if as_json:
        _say_json(probe, look, read, declared)
        return
    say(printable_lines("\n".join(_lines(probe, look, read, name, declared, took_ms))))


def _lines(
    probe: Probe, look: Look, read: Sequence[Shown], name: Optional[str], declared: str, took_ms: float
) -> list[str]:
    lines = [f"{probe.shown}", f"  reached  {look.server} ({took_ms:,.0f} ms)"]
    if name is None:
        width = max((len(one.name) for one in look.names), default=0)
        plural = probe.units
        for index, one in enumerate(look.names):
            lines.append(f"  {plural if not index else '':<8} {one.name:<{width}}  {one.size}")
        if not look.names and probe.unit != "address":
            lines.append(f"  {plural:<8} none")
        if look.more:
            lines.append(f"  {'':<8} and {look.more:,} more")
        if look.names and probe.input(look.names[0].name) is not None:
            lines.append(f"To read one: headway connect check {probe.reference or probe.shown} {look.names[0].name}")
        return lines
    [size] = [one.size for one in look.names if one.name == name] or ["it is not among those that are listed"]
    lines.append(f"  {probe.unit:<8} {name}: {size}")
    for index, record in enumerate(read):
        lines.append(f"  {'read' if not index else '':<8} {record.line}")
    if not read:
        lines.append("  read     no record yet")
    lines += ["", f"A flow needs pip install 'headway[{probe.extra}]', and would say:", ""]
    return lines + [f"    {line}" if line else "" for line in declared.splitlines()]


def _say_json(probe: Probe, look: Look, read: Sequence[Shown], declared: str) -> None:
    import json

    found: dict[str, Any] = {
        "url": probe.shown,
        "server": look.server,
        probe.units: [one._asdict() for one in look.names],
        "more": look.more,
        "records": [{**one._asdict(), "value": one.value.decode(errors="backslashreplace")} for one in read],
        "declaration": declared,
    }
    say(json.dumps(found, indent=2))


def _check_flow(what: str, settings: dict[str, str], *, as_json: bool) -> None:
    from headway.declare.loading import FlowSpec, load_flow
    from headway.errors import InputError
    from headway.probing.flows import look_at

    flow = load_flow(FlowSpec(what, settings))
    looks = []
    for look in look_at(flow):
        looks.append(look)
        if not as_json:
            mark = "ok   " if look.is_good else "wrong"
            text = "\n".join([f"{mark}  {look.name}: {look.described}", f"       {look.found}"])
            say(printable_lines("\n".join([text, *(f"       {record}" for record in look.records)])))
    if as_json:
        import json

        say(json.dumps({"flow": flow.name, "edges": [look._asdict() for look in looks]}, indent=2))
    wrong = [look.name for look in looks if not look.is_good]
    if wrong and as_json:
        click.get_current_context().exit(InputError.exit_code)
    if wrong:
        msg = f"{len(wrong)} of {len(looks)} ends of {flow.name} cannot be used: {', '.join(wrong)}"
        raise InputError(msg)
