"""Flows of the case `kafka`: `--set job=carts`, the shipped flow on a topic; `copy`, a trigger for each record."""

from __future__ import annotations

import headway as hw
from headway.flows.abandoned_carts import Abandonment, Shop


class Ping(hw.Event):
    """What `benchmarks.kafka_pings` writes, and what is read from a file."""

    n: int
    sent_us: int
    at: hw.Time = 0


flow = hw.Flow("kafka")
job = flow.param("job", "carts", help="carts or copy")
servers = flow.param("servers", "", help="addresses of brokers")
topic = flow.param("topic", "", help="the topic that is read; none where a file is")
files = flow.param("input", "", help="a file that is read instead")
to = flow.param("to", "", help="the topic that triggers are written to")
output = flow.param("output", "triggers.jsonl", help="file for the triggers of the carts")

source = hw.files(files) if files else hw.kafka(servers, topic)
if job == "carts":
    shop = flow.source("shop", Shop, source, time="at")
    changes = shop.filter(hw.where(kind=("add", "remove", "checkout")), name="changes")
    carts = changes.key_by("user").process("abandonment", Abandonment(hw.duration_ms("30m")))
    carts.trigger("cart.abandoned", hw.to_jsonl(output))
else:
    pings = flow.source("pings", Ping, source, time="at" if files else hw.record_time)
    target = hw.to_kafka(servers, to, batch=5_000)
    pings.key_by("n").trigger("ping.seen", target, waiting_max=10_000_000)
