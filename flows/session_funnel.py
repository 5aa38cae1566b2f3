"""Sessions of visitors: how far each one came, where it ended, and how many do so in each hour.

    headway run flows/session_funnel.py --drain
    headway run flows/session_funnel.py --set input='clicks/clicks-*.jsonl' --set gap=20m

Without `input` the flow reads synthetic clicks, made at its first start; `headway generate clicks` makes others.
"""

from typing import Literal

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
    """One visit: the furthest step of the funnel ("none" where not even the first was taken), and how long it took."""

    start: hw.Time
    clicks: int
    duration_ms: int
    reached: str
    paid: bool


def session_of(window: hw.WindowContents[Click]) -> Session:
    """What a visitor did in one session."""
    taken = 0
    for click in window.events:
        if taken < len(STEPS) and click.page == STEPS[taken]:
            taken += 1
    times = [click.at for click in window.events]
    return Session(
        start=times[0],
        clicks=len(times),
        duration_ms=times[-1] - times[0],
        reached=STEPS[taken - 1] if taken else "none",
        paid=taken == len(STEPS),
    )


flow = hw.Flow("session-funnel")
path = flow.param("input", "", help="files of clicks, such as 'clicks/clicks-*.jsonl'; generated if empty")
output = flow.param("output", "sessions.jsonl", help="file for the sessions")
funnel = flow.param("funnel", "funnel.jsonl", help="file for the numbers of each hour")
gap = flow.param("gap", "30m", help="how long nothing happens before a session is over")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("clicks")
clicks = flow.source("clicks", Click, source, time="at", out_of_order=out_of_order, idle_after="1m")
sessions = clicks.key_by("visitor").window_apply("sessions", hw.session(gap), session_of)
sessions.trigger("session.ended", hw.to_jsonl(output))

hours = sessions.key_by("reached").window(
    "hourly", hw.tumbling("1h"), sessions=hw.count(), clicks=hw.sum("clicks"), mean_ms=hw.mean("duration_ms")
)
hours.trigger("funnel.hour", hw.to_jsonl(funnel), id_by=("start", "end"))
