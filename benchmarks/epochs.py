"""Case `epochs`: the shipped flow with progress made durable often, and seldom."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.case import Arm, Case, Finding, Sizes, against, alone, alternate
from benchmarks.shop import run_carts, shop_stream

__all__ = ["CASE"]

_EPOCHS: Final = {1_000: "1 s", 100: "100 ms", 10_000: "10 s"}

_TARGET: Final = 0.8


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events, epochs of 100 ms, 1 s and 10 s"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    arms = [
        Arm(f"epochs of {label}", partial(run_carts, stream, workers=1, epoch_ms=epoch_ms), sizes.events)
        for epoch_ms, label in _EPOCHS.items()
    ]
    alternate(arms, sizes.repeats)
    second, tenth, ten = arms
    return Finding([alone(second), against(tenth, second, _TARGET), against(ten, second)])


CASE = Case("epochs", _about, _find)
