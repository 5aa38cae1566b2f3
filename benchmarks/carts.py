"""Case `carts`: the shipped flow against a bare loop, and against bytewax, on the same file."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate
from benchmarks.shop import run_bare, run_bytewax, run_carts, shop_stream

__all__ = ["CASE"]

_OF_BARE = 0.70
_OF_BYTEWAX = 4


def _about(sizes: Sizes) -> str:
    return f"abandoned carts, {sizes.events:,} events of {sizes.users:,} users, 1 s epochs, one process"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    bare = Arm("bare loop, nothing durable", partial(run_bare, stream), sizes.events)
    documented, quicker = (
        Arm(f"bytewax with {module}, recovery each 1 s", partial(run_bytewax, stream, module), sizes.events)
        for module in ("json", "orjson")
    )
    engine = Arm("abandoned carts", partial(run_carts, stream, workers=1), sizes.events)
    alternate([bare, engine, documented, quicker], sizes.fine_repeats)
    rows = [against(engine, bare, _OF_BARE), against(engine, documented, _OF_BYTEWAX), against(engine, quicker)]
    notes = [
        f"counted in CPU time it is {engine.by_cpu / bare.by_cpu:.2f} of the bare loop",
        "bytewax has no time of the whole stream: it tells a cart when its user comes again or at the end of input; "
        "what it tells is compared, not when",
        "all examples of bytewax's documentation use json; orjson is what one would put in its place for speed",
    ]
    return Finding(rows, notes)


CASE = Case("carts", _about, _find)
