"""`headway dead-letters`: what was set aside, and how it is put back in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.commands import Commands
from headway.cli.escapes import json_text, printable, printable_line
from headway.cli.options import examples, json_option
from headway.cli.process import say

if TYPE_CHECKING:
    from headway.runtime.letterbox import Letterbox
    from headway.types.letters import DeadLetter

__all__ = ["dead_letters"]

LETTERS_SHOWN = 20
_REASON_SHOWN = 100


@click.group(name="dead-letters", cls=Commands)
def dead_letters() -> None:
    """Look at what could not be used or what code of the flow has failed on, also while it runs, and put it back in.

    Shown is what is durable and in the state directory: a flow that reads the dead letters of a source itself has them.
    """


@dataclass(frozen=True)
class _Wanted:
    """Which letters are meant."""

    source: Optional[str]
    step: Optional[str]
    reason: Optional[str]

    def of(self, letter: DeadLetter) -> bool:
        return (
            self.source in (None, letter.source)
            and self.step in (None, letter.step)
            and (self.reason is None or self.reason in letter.reason)
        )


def _of_letters(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands have: whose letters, and which of them. The command is given the letterbox and `_Wanted`."""

    @click.argument("place", metavar="FLOW|DIR")
    @click.option(
        "--state",
        "state_dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="The state directory, as for `headway run`. Default: that of the flow.",
    )
    @click.option("--source", metavar="NAME", help="Only letters of this source.")
    @click.option("--step", metavar="NAME", help="Only letters of this operator or step.")
    @click.option("--reason", metavar="TEXT", help="Only letters whose reason holds TEXT.")
    @wraps(command)
    def with_letterbox(
        place: str,
        state_dir: Optional[Path],
        source: Optional[str],
        step: Optional[str],
        reason: Optional[str],
        **options: Any,
    ) -> None:
        from headway.cli.places import state_dir_of
        from headway.runtime.letterbox import Letterbox

        box = Letterbox(state_dir_of(place) if state_dir is None else state_dir)
        command(box, _Wanted(source, step, reason), **options)

    return with_letterbox


@dead_letters.command(
    name="ls",
    epilog=examples(
        "headway dead-letters ls flows/abandoned_carts.py",
        "headway dead-letters ls .headway/abandoned-carts --reason time",
    ),
)
@_of_letters
@json_option("Write one JSON object a line.")
def ls(box: Letterbox, wanted: _Wanted, as_json: bool) -> None:
    """Count the dead letters by source, partition, step and reason, with the first and the last of each."""
    groups: dict[tuple[str, str, str, str], list[str | int]] = {}
    redriven = 0
    for letter in filter(wanted.of, box.letters()):
        where = _where(letter)
        group = groups.setdefault((letter.source, letter.partition, letter.step or "", letter.reason), [0, where, ""])
        group[0] = int(group[0]) + 1
        group[2] = where
        redriven += box.is_redriven(letter)
    for (of_source, partition, of_step, why), (count, first, last) in groups.items():
        if as_json:
            names = {"source": of_source, "partition": partition, "step": of_step or None, "reason": why}
            say(json_text({**names, "count": count, "first": first, "last": last}))
        else:
            shown = why if len(why) <= _REASON_SHOWN else why[: _REASON_SHOWN - 1] + "…"
            parts = [printable(part) for part in (of_source or "-", partition or "-", of_step or "-")]
            places = first if first == last else f"{first} to {last}"
            say(printable_line(f"{count:>8,}  {'  '.join(parts)}  {shown}  ({places})"))
    if not as_json:
        say(f"{sum(int(g[0]) for g in groups.values()):,} dead letters, {redriven:,} redriven" if groups else "none")


@dead_letters.command(
    name="show",
    epilog=examples(
        "headway dead-letters show flows/abandoned_carts.py --reason ValueError --limit 5",
        "headway dead-letters show .headway/abandoned-carts --limit 0 --json > letters.jsonl",
    ),
)
@_of_letters
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help=f"Show at most N letters, 0 for all. Default: {LETTERS_SHOWN}."
)
@json_option("Write one JSON object a line: what `redrive --from` takes, once `raw` is mended.")
def show(box: Letterbox, wanted: _Wanted, limit: Optional[int], as_json: bool) -> None:
    """Show dead letters: where each comes from, why it is one, and its content."""
    most = LETTERS_SHOWN if limit is None else limit
    for number, letter in enumerate(filter(wanted.of, box.letters())):
        if most and number == most:
            if not as_json:
                say(f"... and more: --limit 0 shows all, --limit N the first N (shown: {most})")
            return
        for line in [json_text(letter)] if as_json else _block(letter, redriven=box.is_redriven(letter)):
            say(line)


@dead_letters.command(
    name="redrive",
    epilog=examples(
        "headway dead-letters redrive flows/abandoned_carts.py --step abandonment",
        "headway dead-letters redrive flows/abandoned_carts.py --from mended.jsonl",
    ),
)
@_of_letters
@click.option(
    "--from",
    "mended",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Letters as `show --json` has written them, with `raw` or `key` corrected. Default: the letters as they are.",
)
@json_option("Write one JSON object.")
def redrive(box: Letterbox, wanted: _Wanted, mended: Optional[Path], as_json: bool) -> None:
    """Make dead letters input again, each of them once: the running flow, or its next run, reads them.

    A letter of a source goes through all steps, one of an operator straight back to it. They are never late: they
    happen at their own time, or at the first moment that has not passed, and so once time goes on; at the end of the
    input that is with --drain. Letters of timers, and of what an operator has sent, cannot be put back in.
    """
    done = box.redrive(wanted.of, mended)
    if as_json:
        say(json_text({"redriven": done.redriven, "before": done.before, "refused": done.refused}))
        return
    say(f"{done.redriven:,} redriven, {done.before:,} had been before")
    for why, count in done.refused.items():
        say(printable_line(f"{count:,} cannot be: {why}"))


def _where(letter: DeadLetter) -> str:
    from headway.basics.times import format_time

    if letter.position:
        return letter.position
    return "" if letter.time is None else format_time(letter.time)


def _block(letter: DeadLetter, *, redriven: bool) -> Iterator[str]:
    from headway.basics.times import format_time

    place = " of ".join(part for part in (letter.position, letter.partition, letter.source) if part)
    facts = {
        "step": letter.step,
        "key": letter.key,
        "timer": letter.timer,
        "sent by": letter.sender,
        "at": None if letter.time is None else format_time(letter.time),
    }
    told = [place, *(f"{name} {printable(value)}" for name, value in facts.items() if value is not None)]
    yield printable_line(", ".join(part for part in told if part) + (", redriven" if redriven else ""))
    yield printable_line(f"  {letter.reason}")
    if letter.raw:
        yield printable_line(f"  {letter.raw}")
