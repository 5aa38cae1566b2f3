"""`headway state rescale`: other numbers of key groups and reader slots."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from headway.cli.changes import state_option
from headway.cli.options import examples
from headway.cli.process import say

__all__ = ["rescale"]


@click.command(
    epilog=examples(
        "headway state rescale flows/abandoned_carts.py --key-groups 24",
        "headway state rescale .headway/abandoned-carts --key-groups 24 --slots 8",
    )
)
@click.argument("place", metavar="FLOW|DIR")
@state_option
@click.option(
    "--key-groups",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Shards of the key space: the most workers there can be.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, 64),
    metavar="M",
    help="Readers of each source, at most one for each partition: what several workers share.",
)
def rescale(place: str, state_dir: Optional[Path], key_groups: Optional[int], slots: Optional[int]) -> None:
    """Change how finely a stopped flow is divided. Its state, timers and positions stay what they are.

    Other key groups move each row: some 6 µs for each, while the old ones stay beside them. Whoever is killed leaves
    either the old or the new form.
    """
    from headway.cli.places import state_dir_of
    from headway.runtime.directory import StateDirectory
    from headway.runtime.opening import rescale as rescale_state

    if key_groups is None and slots is None:
        msg = "say what is to be changed: --key-groups N, --slots M, or both"
        raise click.UsageError(msg)
    directory = StateDirectory(state_dir or state_dir_of(place))
    with directory.locked():
        settled = rescale_state(directory, key_groups=key_groups, slots=slots)
    readers = ", ".join(f"{name} {entry.slots}" for name, entry in settled.sources.items())
    say(f"{settled.flow}: {settled.key_groups} key groups; reader slots: {readers}")
