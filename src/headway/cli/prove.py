"""`headway prove`: whether a flow gives the same whatever happens to it."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click

from headway.cli.options import examples, flow_argument, json_option, set_option
from headway.cli.process import INTERRUPTED, say

if TYPE_CHECKING:
    from headway.proving.proof import Proof

__all__ = ["prove"]

LINE_EVERY_S = 5.0
STEPS_SHOWN = 12


def _logs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    logs = []
    for text in values:
        name, equals, path = text.partition("=")
        if not equals or not name or not Path(path).is_file():
            msg = f"{text!r} is not SOURCE=FILE with a file that is there: such as --log steps=events.jsonl"
            raise click.BadParameter(msg, ctx, param)
        logs.append((name, path))
    return logs


@click.command(
    epilog=examples(
        "headway prove flows/abandoned_carts.py",
        "headway prove flows/order_saga.py --set after=1h --runs 1000 --minutes 10",
        "headway prove headway.flows.fraud_score --seed 7 --json",
    ),
    short_help="Kill a flow many times, and compare every byte.",
)
@flow_argument
@set_option
@click.option(
    "--runs",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    metavar="N",
    help="How many runs are disturbed, besides the few that each proof begins with. With 0 there are these alone.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    help="Draw the disturbances from this number; another one gives others. Default: drawn, and told.",
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), metavar="M", help="Stop after so long, however many runs."
)
@click.option(
    "--events",
    "count",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    metavar="N",
    help="How many events are read from the beginnings of the flow's inputs, about.",
)
@click.option(
    "--log",
    "logs",
    metavar="SOURCE=FILE",
    multiple=True,
    callback=_logs,
    help="Read a source from this file, in the format of the source, and not from its input: plain or compressed, with "
    "its header if it has one. Each file is a partition; may be given several times.",
)
@click.option(
    "--run-steps",
    is_flag=True,
    help="Allow to run the steps of durable functions: for real, many times, and killed on the way.",
)
@click.option("--first", type=click.IntRange(1), metavar="N", help="With --again: take only so many of these events.")
@click.option(
    "--again",
    metavar="PLAN",
    help="Carry out one plan again, as it was printed with a difference, up to ten times until it shows.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option("Write what was found as one JSON object.")
@click.pass_context
def prove(
    ctx: click.Context,
    flow: str,
    settings: dict[str, str],
    runs: int,
    seed: Optional[int],
    minutes: Optional[float],
    count: int,
    logs: list[tuple[str, str]],
    run_steps: bool,
    first: Optional[int],
    again: Optional[str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a flow undisturbed, then many times with disturbances, and compare all that it leaves byte for byte.

    Its code runs as it is, on the first events of its inputs. Its outputs are not touched: what it writes or delivers
    goes to files that are gone afterwards. Steps of durable functions do run: such a flow is refused without
    --run-steps. Disturbed runs are killed by SIGKILL before and after each durable step and at random moments, lose
    what was not synced, are stopped, go on with other numbers of workers and key groups, and get their events in other
    batches and epochs. Outputs, deliveries, dead letters and state must be the same.

    The exit code is 1 when something differs, or there was nothing to compare. Where something differs, what,
    where, and one command that shows it again are printed.
    Ctrl-C ends it, and tells what was found so far; the exit code is 130 then, unless something differs.
    """
    from headway.declare.loading import FlowSpec, load_flow
    from headway.errors import UsageError
    from headway.proving.plans import Trial
    from headway.proving.proof import again_command, proof_json
    from headway.proving.prove import ProofOptions, prove_flow
    from headway.proving.sample import logged_sample, taken_sample
    from headway.proving.scope import check_steps
    from headway.runtime.stopping import StopFlag

    if first is not None and again is None:
        msg = f"--first {first} goes with --again PLAN; to take fewer events use --events {first}"
        raise UsageError(msg)
    spec = FlowSpec(flow, settings)
    loaded = load_flow(spec)
    check_steps(loaded, may_run=run_steps)
    seed = secrets.randbelow(100_000) if seed is None else seed
    trial = None if again is None else Trial.parse(again)
    options = ProofOptions(runs, seed, minutes, trial, shrink=again is None, run_steps=run_steps)
    sample = logged_sample(loaded, logs, count) if logs else taken_sample(loaded, count)
    sample = sample if first is None else sample.first(first)
    shows = _shown(loaded.name, seed, quiet=quiet or as_json)
    try:
        with StopFlag().on_signals() as stop:
            proof = prove_flow(spec, loaded, sample, options, observe=shows.observe, stop=stop)
    finally:
        shows.end()
    command = None
    if proof.fault is not None:
        fault = proof.fault if first is None else replace(proof.fault, events=first)
        command = again_command(spec, fault, count, logs=logs, run_steps=run_steps)
    if as_json:
        import json

        say(json.dumps({**proof_json(proof), "seed": seed, "command": command}))
    else:
        say(proof_text(proof, seed, command))
    if proof.fault is None and stop.by_interrupt:
        ctx.exit(INTERRUPTED)
    ctx.exit(0 if proof.holds else 1)


def proof_text(proof: Proof, seed: int, command: Optional[str]) -> str:
    """What was found, for people."""
    from headway.cli.escapes import printable_lines
    from headway.cli.texts import count_text, seconds_text

    ended = sum(proof.disturbances.values())
    killed = ended - proof.disturbances["stopped"]
    at_points = killed - proof.disturbances["at a moment"]
    points = len(proof.disturbances.keys() - {"stopped", "at a moment"})
    lines = [
        f"{proof.flow}: {count_text(proof.runs, 'run')} of {count_text(proof.events, 'event')} "
        f"in {seconds_text(proof.seconds)}, seed {seed}",
        f"  killed {count_text(killed, 'time')}: {at_points:,} at {count_text(points, 'crash point')} of "
        f"{len(proof.reached)} that it reaches, {proof.disturbances['at a moment']:,} at random moments; "
        f"{proof.power_losses:,} of them with a loss of power",
        f"  stopped {count_text(proof.disturbances['stopped'], 'time')}",
        f"  lost its state directory {count_text(sum(proof.restored.values()), 'time')}: went on from a savepoint "
        f"{proof.restored['savepoint']:,}, from a backup {proof.restored['backup']:,}",
    ]
    if 0 < len(proof.untried) <= STEPS_SHOWN and proof.fault is None:
        lines.append(f"  reached, and no run was ended there: {_listed(proof.untried)}")
    never = sorted({point.rpartition(".")[0] for point in proof.never_reached})
    if never:
        lines.append(f"  not reached: {_listed(never)}")
    lines += _not_compared(proof)
    if proof.fault is None and proof.nothing:
        lines.append(f"NOTHING WAS PROVEN: {proof.nothing}")
    elif proof.fault is None:
        clock = "; what durable functions lead to in whatever order" if proof.scope.by_clock else ""
        compared = count_text(proof.lines, "line and row", "lines and rows")
        letters = proof.lines - proof.said
        bad = f", of which {letters:,} are dead letters" if letters else ""
        lines.append(f"the same each time: {compared}{bad}, byte for byte{clock}")
    if proof.fault is None:
        return "\n".join(lines)
    fault = proof.fault
    lines += ["", f"NOT THE SAME: {printable_lines(str(fault.difference))}", f"  {fault.meaning}"]
    if fault.tried > 1:
        lines.append(
            f"  least plan found: {count_text(fault.events, 'event')}, "
            f"{count_text(len(fault.trial.lives), 'process run', 'process runs')}; "
            f"shown {fault.shown} of {fault.tried} times"
        )
    return "\n".join([*lines, "", "see it again with", f"  {command}"])


def _not_compared(proof: Proof) -> list[str]:
    """What the proof says nothing of, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in proof.scope.left_out.items():
        reasons.setdefault(reason, []).append(repr(name))
    return [f"  not compared: {_listed(names)}, as {reason}" for reason, names in reasons.items()]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:STEPS_SHOWN])
    return f"{shown} and {len(names) - STEPS_SHOWN} more" if len(names) > STEPS_SHOWN else shown


class _Silent:
    def observe(self, proof: Proof) -> None:
        """Nothing to show."""

    def end(self) -> None:
        """Nothing to end."""


class _Lines(_Silent):
    """A line every few seconds, for pipes and log files."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._next_s = time.monotonic() + LINE_EVERY_S

    def observe(self, proof: Proof) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LINE_EVERY_S
            self._write(f"{_progress(proof)}\n")


class _Bar(_Silent):
    """One line that changes, on a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
        self._task = self._bar.add_task(f"proving {name}", total=None, told="")
        self._bar.start()

    def observe(self, proof: Proof) -> None:
        killed = sum(proof.disturbances.values())
        what = f"{proof.runs:,} of {proof.wanted:,} runs, ended {killed:,} times"
        told = f"{what}: looking for the least that differs" if proof.fault is not None else what
        self._bar.update(self._task, completed=proof.runs, total=proof.wanted, told=told)

    def end(self) -> None:
        self._bar.stop()


def _progress(proof: Proof) -> str:
    told = "a difference; looking for the least that shows it" if proof.fault is not None else "no difference"
    ended = sum(proof.disturbances.values())
    return f"{proof.flow}: {proof.runs:,} of {proof.wanted:,} runs, ended {ended:,} times, {told}"


def _shown(name: str, seed: int, *, quiet: bool) -> _Silent:
    if quiet:
        return _Silent()
    return _Bar(name) if sys.stderr.isatty() else _Lines(sys.stderr.write)
