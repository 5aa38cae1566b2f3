"""`python -m benchmarks.profile_carts`: where the time goes when the shipped flow finds abandoned carts.

Runs one worker under cProfile, which costs about as much again, and prints the 40 functions that took longest
themselves. Events are 200,000 unless a number is given.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.cache import scratch
from benchmarks.case import QUICK
from benchmarks.shop import FLOW, shop_stream
from headway.declare.loading import FlowSpec, load_flow
from headway.runtime.run import RunOptions, run_flow

__all__ = ["profile"]

_SHOWN: Final = 40


def profile(stream: Path) -> pstats.Stats:
    """Run the flow over a stream of one file."""
    with scratch() as directory:
        output = str(directory / "triggers.jsonl")
        parameters = {"input": f"{stream}/shop-*.jsonl", "output": output, "out_of_order": "0s"}
        flow = load_flow(FlowSpec(FLOW, parameters))
        profiler = cProfile.Profile()
        profiler.runcall(run_flow, flow, RunOptions(directory / "state"))
        return pstats.Stats(profiler)


def main() -> None:
    """Entry point of the command."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else QUICK.events
    sizes = replace(QUICK, name="profile", events=events, users=max(1, events * 84 // 1_000))
    profile(shop_stream(sizes, 1)).sort_stats("tottime").print_stats(_SHOWN)


if __name__ == "__main__":
    main()
