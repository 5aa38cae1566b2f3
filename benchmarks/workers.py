"""Case `workers`: the shipped flow in one, two and three processes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, against, alone, alternate
from benchmarks.noise import cores_free
from benchmarks.shop import run_carts, shop_stream

__all__ = ["CASE"]

_TARGET = 1.7
_ENOUGH_CORES = 1.85
_FILES = 6
_LONGER = 3


def _about(sizes: Sizes) -> str:
    events = _longer(sizes).events
    return f"abandoned carts, {events:,} events in {_FILES} files, in one to three processes"


def _longer(sizes: Sizes) -> Sizes:
    """More events than in other cases: that processes find each other and agree on the end takes some 0.2 s."""
    return replace(sizes, name=f"{sizes.name}-longer", events=_LONGER * sizes.events)


def _find(sizes: Sizes) -> Finding:
    longer = _longer(sizes)
    stream = shop_stream(longer, _FILES)
    one, two, three = (
        Arm(f"{count} process{'es' if count > 1 else ''}", partial(run_carts, stream, workers=count), longer.events)
        for count in (1, 2, 3)
    )
    cores_before = cores_free()
    alternate([one, two, three], sizes.fine_repeats)
    cores = min(cores_before, cores_free())
    note = f"two pure-Python loops side by side got {cores:.2f} cores"
    if cores < _ENOUGH_CORES:
        note += ": two cores were not free, so the figure says little"
    return Finding([alone(one), against(two, one, _TARGET), against(three, one)], [note])


CASE = Case("workers", _about, _find)
