"""The flow of the case `ingest`: sums for each user, of orders that are posted."""

from __future__ import annotations

import headway as hw


class Order(hw.Event):
    """What `benchmarks.poster` posts."""

    id: str
    at: hw.Time
    user: str
    cents: int = 0


flow = hw.Flow("ingest")
output = flow.param("output", "spent.jsonl")
orders = flow.source("orders", Order, hw.http_source("/orders"), time="at", out_of_order="1s")
spent = orders.key_by("user").aggregate("spent", cents=hw.sum("cents"))
spent.to("totals", hw.to_jsonl(output))
