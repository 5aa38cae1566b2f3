"""Case `concerns`: carts with no filter before the key: the operator says what concerns it, or its code does."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate
from benchmarks.shop import run_bare, run_carts, shop_stream

__all__ = ["CASE"]

_OF_BARE = 0.65


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events, without the step that filters the views out"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    bare = Arm("bare loop, nothing durable", partial(run_bare, stream), sizes.events)
    filtered = Arm("views filtered out", partial(run_carts, stream, workers=1), sizes.events)
    told = Arm("the operator says so", partial(run_carts, stream, workers=1, concerns="yes"), sizes.events)
    untold = Arm("its code ignores them", partial(run_carts, stream, workers=1, concerns="no"), sizes.events)
    alternate([bare, filtered, told, untold], sizes.repeats)
    rows = [against(told, bare, _OF_BARE), against(told, filtered), against(untold, bare, _OF_BARE)]
    cpu = ", ".join(f"{arm.label} {arm.by_cpu / bare.by_cpu:.2f}" for arm in (filtered, told, untold))
    return Finding(rows, [f"counted in CPU time, of the bare loop: {cpu}"])


CASE = Case("concerns", _about, _find)
