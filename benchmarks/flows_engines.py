"""The flow of the case `engines`: each event starts a workflow of Temporal, or calls a handler of Restate."""

from __future__ import annotations

import headway as hw


class Step(hw.Event):
    at: hw.Time
    user: str
    n: int


flow = hw.Flow("engines")
engine = flow.param("engine", "temporal")
to = flow.param("to", "localhost:7233")
files = flow.param("input", "steps.jsonl")
concurrency = flow.param("concurrency", 32)
steps = flow.source("steps", Step, hw.files(files), time="at")
if engine == "temporal":
    target: hw.Target = hw.to_temporal(to, workflow="Nobody", task_queue="nobody", concurrency=concurrency)
else:
    target = hw.to_restate(to, virtual_object="Queue", handler="hold", key="{type}", concurrency=concurrency)
steps.key_by("user").trigger("step.taken", target)
