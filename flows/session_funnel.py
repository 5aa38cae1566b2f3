"""Sessions of visitors: how far each one came, where it was left, and how many do so in each hour.

    headway run flows/session_funnel.py --drain
    headway run flows/session_funnel.py --set input='clicks/clicks-*.jsonl' --set gap=20m --drain

Without `input` the flow reads synthetic clicks, made at its first start; `headway generate clicks DIR` makes others.
"""

from typing import Any, Literal

import headway as hw
from headway.generate.stories import story_events

STEPS = ("view", "cart", "checkout", "pay")
"""The funnel: a step counts when all steps before it were taken before."""


class Click(hw.Event):
    """A visitor opens a page."""

    visitor: str
    page: Literal["view", "cart", "checkout", "pay", "other"]
    at: hw.Time


class Session(hw.Event):
    """The trigger's data: one visit."""

    start: hw.Time
    clicks: int
    duration_ms: int
    """From the first click to the last."""
    reached: str
    """The furthest step; "none" where not even the first was taken."""
    left_before: str
    """The step that was not taken; empty where all were."""
    paid: bool


def nowhere() -> list[int]:
    """How many steps somebody has taken afterwards who had taken 0, 1, 2, ... before: as many."""
    return list(range(len(STEPS) + 1))


def onwards(progress: list[int], click: Click) -> list[int]:
    """A click leads those on whose next step it is."""
    return [taken + (STEPS[taken : taken + 1] == (click.page,)) for taken in progress]


def joined(earlier: list[int], later: list[int]) -> list[int]:
    """Where the earlier clicks lead to, the later ones lead on from there."""
    return [later[taken] for taken in earlier]


def steps_taken(progress: list[int]) -> int:
    """Sessions begin with no step taken."""
    return progress[0]


def as_session(window: Any) -> Session:
    """What is told of a session: its window ends a gap after the last click."""
    return Session(
        start=window.start,
        clicks=window.clicks,
        duration_ms=window.end - gap_ms - window.start,
        reached=("none", *STEPS)[window.taken],
        left_before=(*STEPS, "")[window.taken],
        paid=window.taken == len(STEPS),
    )


flow = hw.Flow("session-funnel")
path = flow.param("input", "", help="files of clicks, such as 'clicks/clicks-*.jsonl'; generated if empty")
output = flow.param("output", "sessions.jsonl", help="file for the sessions")
funnel = flow.param("funnel", "funnel.jsonl", help="file for the numbers of each hour, by the step that was reached")
gap = flow.param("gap", "30m", help="how long nothing happens before a session is over")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("clicks")
clicks = flow.source("clicks", Click, source, time="at", out_of_order=out_of_order, idle_after="1m")

gap_ms = hw.duration_ms(gap)
# A session is a few numbers, however many clicks it has: the funnel is an aggregate, not a list of clicks.
taken = hw.aggregate(nowhere, onwards, joined, steps_taken)
visits = clicks.key_by("visitor").window("sessions", hw.session(gap), clicks=hw.count(), taken=taken)
sessions = visits.map(as_session)
sessions.trigger("session.ended", hw.to_jsonl(output))

hours = sessions.key_by("reached").window(
    "hourly", hw.tumbling("1h"), sessions=hw.count(), clicks=hw.sum("clicks"), mean_ms=hw.mean("duration_ms")
)
hours.trigger("funnel.hour", hw.to_jsonl(funnel), id_by=("start", "end"))
