"""The flow of the case `deliveries`: a trigger for each event, to a webhook, a database or a receiver that is gone."""

from __future__ import annotations

import headway as hw


class Step(hw.Event):
    """What `benchmarks.hooks` posts, and what is read from a file."""

    at: hw.Time
    user: str
    n: int


flow = hw.Flow("deliveries")
to = flow.param("to", "")
files = flow.param("input", "")
source = hw.files(files) if files else hw.http_source("/steps")
steps = flow.source("steps", Step, source, time="at")
target = hw.postgres(to, "steps", batch=1_000) if to.startswith("postgresql") else hw.webhook(to, concurrency=32)
steps.key_by("user").trigger("step.taken", target, waiting_max=10_000_000)
