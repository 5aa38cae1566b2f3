"""Cases over streams of clicks, each a job against the same job as a bare loop, or written in another way."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.case import Arm, Case, Finding, Sizes, against, alternate
from benchmarks.clicks import Clicks, run_bare, run_job

__all__ = ["CASES", "clicks_of"]

_PAIRED_USERS: Final = 10_000
_FILTER: Final = 0.8
_STEPS: Final = 0.5


def clicks_of(sizes: Sizes) -> Clicks:
    """The stream of the jobs that keep something for each of many users."""
    return Clicks(f"{sizes.name}-many", sizes.clicks, sizes.click_users)


def _filter(sizes: Sizes) -> Finding:
    clicks = clicks_of(sizes)
    bare = Arm("bare loop", partial(run_bare, clicks, "filter"), clicks.events)
    engine = Arm("parse and filter", partial(run_job, clicks, "filter"), clicks.events)
    alternate([bare, engine], sizes.repeats)
    return Finding([against(engine, bare, _FILTER)], [_by_cpu(engine, bare)])


def _aggregate(sizes: Sizes) -> Finding:
    clicks = clicks_of(sizes)
    bare = Arm("bare loop, nothing durable", partial(run_bare, clicks, "aggregate"), clicks.events)
    engine = Arm("5 aggregates", partial(run_job, clicks, "aggregate"), clicks.events)
    alternate([bare, engine], sizes.repeats)
    return Finding([against(engine, bare)], [_by_cpu(engine, bare)])


def _exchange(sizes: Sizes) -> Finding:
    clicks = clicks_of(sizes)
    bare = Arm("bare loop, nothing durable", partial(run_bare, clicks, "exchange"), clicks.events)
    one, two = (
        Arm(label, partial(run_job, clicks, "exchange", workers=workers, source="part-*.jsonl"), clicks.events)
        for workers, label in ((1, "two stages"), (2, "two stages, 2 processes"))
    )
    alternate([bare, one, two], sizes.repeats)
    return Finding([against(one, bare), against(two, one)], [_by_cpu(one, bare)])


def _steps(sizes: Sizes) -> Finding:
    clicks = clicks_of(sizes)
    hand, pattern = (
        Arm(label, partial(run_job, clicks, job, expected="steps"), clicks.events)
        for job, label in (("by-hand", "hand-written operator"), ("pattern", "`match` of three steps"))
    )
    alternate([hand, pattern], sizes.repeats)
    return Finding([against(pattern, hand, _STEPS)], [_by_cpu(pattern, hand)])


def _join(sizes: Sizes) -> Finding:
    clicks = Clicks(f"{sizes.name}-pairs", sizes.clicks, min(_PAIRED_USERS, sizes.click_users))
    bare = Arm("bare loop, nothing durable", partial(run_bare, clicks, "join"), clicks.events)
    engine = Arm("interval join", partial(run_job, clicks, "join", source="left.jsonl"), clicks.joined)
    alternate([bare, engine], sizes.repeats)
    return Finding([against(engine, bare)], ["the bare loop reads one file in the order of time, the join two"])


def _by_cpu(arm: Arm, reference: Arm) -> str:
    return f"counted in CPU time it is {arm.by_cpu / reference.by_cpu:.2f}"


CASES: Final = (
    Case("filter", lambda sizes: f"a flow without state: parse and filter {sizes.clicks:,} events", _filter),
    Case(
        "aggregate",
        lambda sizes: f"decision state of {sizes.click_users:,} users, {sizes.clicks:,} events, told with each eighth",
        _aggregate,
    ),
    Case(
        "exchange",
        lambda sizes: f"{sizes.clicks:,} events keyed by user, what comes of them keyed by item, in windows",
        _exchange,
    ),
    Case(
        "steps",
        lambda sizes: f"a search, then a view, then a purchase: {sizes.clicks:,} events of {sizes.click_users:,} users",
        _steps,
    ),
    Case("join", lambda sizes: f"each purchase with the user's searches of 10 s, {sizes.clicks:,} events", _join),
)
