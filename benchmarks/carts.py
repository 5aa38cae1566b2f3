"""Case `carts`: the shipped flow against a bare loop, on the same file."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, alternate
from benchmarks.shop import run_bare, run_carts, shop_stream

__all__ = ["CASE"]

_TARGET = 0.45


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events, 1 s epochs, one process; against a bare loop, nothing durable"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    bare = Arm("bare loop", partial(run_bare, stream), sizes.events)
    engine = Arm("headway", partial(run_carts, stream, workers=1), sizes.events)
    alternate([bare, engine], sizes.repeats)
    ratio = engine.running / bare.running
    note = f"counted in CPU time it is {engine.by_cpu / bare.by_cpu:.2f}"
    return Finding([bare, engine], ratio, ratio >= _TARGET, f"{ratio:.2f} of the bare loop's events/s", [note])


CASE = Case("carts", _about, f">= {_TARGET}", _find)
