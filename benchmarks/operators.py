"""Case `operators`: `absence` and a pattern against an operator written for the same job."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from benchmarks.cache import scratch
from benchmarks.case import Arm, Case, Finding, Sizes, against, alone, alternate, run_engine
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run
from benchmarks.shop import AFTER_MS, shop_stream

__all__ = ["CASE"]

_FLOW: Final = "benchmarks.flows_carts"
_TARGETS: Final = {"absence": 0.85, "pattern": 0.6}

_Left = Counter[tuple[str, str, int]]


def _about(sizes: Sizes) -> str:
    return f"carts left after their last add, {sizes.events:,} events, the same job in three ways"


def _find(sizes: Sizes) -> Finding:
    stream = shop_stream(sizes, 1)
    arms = {
        job: Arm(label, partial(_run, stream, job), sizes.events)
        for job, label in (("operator", "hand-written operator"), ("absence", "`absence`"), ("pattern", "`match`"))
    }
    alternate(list(arms.values()), sizes.fine_repeats)
    hand = arms["operator"]
    rows = [alone(hand), *(against(arms[job], hand, target) for job, target in _TARGETS.items())]
    by_cpu = ", ".join(f"{job} {arms[job].by_cpu / hand.by_cpu:.2f}" for job in _TARGETS)
    return Finding(rows, [f"counted in CPU time: {by_cpu}"])


def _run(stream: Path, job: str) -> Run:
    """Run the job in one of the ways, and check what it found."""
    with scratch() as directory:
        out = directory / "left.jsonl"
        parameters = {"job": job, "input": str(stream / "shop-0000.jsonl"), "output": str(out)}
        run = run_engine(EngineSpec(flow=_FLOW, parameters=parameters, state_dir=str(directory / "state")))
        expected, until_ms = _expected(stream)
        with out.open("rb") as lines:
            records = [orjson.loads(line) for line in lines]
        # The pattern tells a millisecond later, so that it may not have told the very last.
        found = Counter(
            (left["user"], left["sku"], left["since"]) for left in records if left["since"] + AFTER_MS < until_ms
        )
        if found != expected:
            wrong = (found - expected) + (expected - found)
            msg = f"{job}: {wrong.total()} of {expected.total()} carts are missing or surplus: {next(iter(wrong))}"
            raise BenchmarkError(msg)
        return run


def _expected(stream: Path) -> tuple[_Left, int]:
    """The carts that were left, and the last watermark, before which all of them are due."""
    waiting: dict[str, tuple[str, int]] = {}
    left: _Left = Counter()
    at_ms = 0
    with (stream / "shop-0000.jsonl").open("rb") as lines:
        for event in map(orjson.loads, lines):
            user, kind, at_ms = event["user"], event["kind"], event["at"]
            if kind not in ("add", "checkout"):
                continue
            last = waiting.pop(user, None)
            if last is not None and at_ms > last[1] + AFTER_MS:
                left[(user, last[0], last[1])] += 1
            if kind == "add":
                waiting[user] = event["sku"], at_ms
    left.update((user, *last) for user, last in waiting.items())
    until_ms = at_ms - 1
    expected = Counter({cart: count for cart, count in left.items() if cart[2] + AFTER_MS < until_ms})
    if not expected:
        msg = f"{stream} holds no cart that is left before its end: it proves nothing; make it longer"
        raise BenchmarkError(msg)
    return expected, until_ms


CASE = Case("operators", _about, _find)
