"""Case `two`: the shipped flow in two processes against one."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, alternate
from benchmarks.noise import cores_free
from benchmarks.shop import run_carts, shop_stream

__all__ = ["CASE"]

_TARGET = 1.6
_ENOUGH_CORES = 1.85


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events in 4 files, two processes; against one process"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 4)
    one = Arm("one process", partial(run_carts, stream, workers=1), sizes.events)
    two = Arm("two processes", partial(run_carts, stream, workers=2), sizes.events)
    cores_before = cores_free()
    alternate([one, two], sizes.repeats)
    cores = min(cores_before, cores_free())
    ratio = two.running / one.running
    note = f"two pure-Python loops side by side got {cores:.2f} cores"
    if cores < _ENOUGH_CORES:
        note += ": two cores were not free, so the figure says little"
    return Finding([one, two], ratio, ratio >= _TARGET, f"{ratio:.2f} of one process's events/s", [note])


CASE = Case("two", _about, f">= {_TARGET}", _find)
