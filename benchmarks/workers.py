"""Case `workers`: the shipped flow in one, two and three processes."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, against, alone, alternate
from benchmarks.noise import cores_free
from benchmarks.shop import run_carts, shop_stream

__all__ = ["CASE"]

_TARGET = 1.7
_ENOUGH_CORES = 1.85
_FILES = 6


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events in {_FILES} files, in one to three processes"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, _FILES)
    one, two, three = (
        Arm(f"{count} process{'es' if count > 1 else ''}", partial(run_carts, stream, workers=count), sizes.events)
        for count in (1, 2, 3)
    )
    cores_before = cores_free()
    alternate([one, two, three], sizes.repeats)
    cores = min(cores_before, cores_free())
    note = f"two pure-Python loops side by side got {cores:.2f} cores"
    if cores < _ENOUGH_CORES:
        note += ": two cores were not free, so the figure says little"
    return Finding([alone(one), against(two, one, _TARGET), against(three, one)], [note])


CASE = Case("workers", _about, _find)
