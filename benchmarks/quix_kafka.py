"""Quix Streams as a reference for Kafka: abandoned carts as its documentation would have them.

`python -m benchmarks.quix_kafka SERVERS TOPIC OUTPUT AFTER_MS STATE COUNT` handles so many records, and tells how long
it took as one line of JSON. It needs Quix Streams and nothing of Headway, so it runs in an environment of its own.

State is kept in its RocksDB store by the record's key, with changelog topics, and committed each second, at least once.
It has no timers: a cart is told when its user comes again too late.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any, Optional

from quixstreams import Application  # type: ignore[import-not-found,unused-ignore]


def taker(after_ms: int) -> Any:
    """The function that handles the events of a user."""

    def take(event: dict[str, Any], state: Any) -> Optional[dict[str, Any]]:
        cart = state.get("cart")
        told = None
        if cart is not None and event["at"] > cart["due"]:
            told = {"user": event["user"], "due": cart["due"], "items": cart["items"], "total": cart["cents"] / 100}
            cart = None
        items = {} if cart is None else cart["items"]
        cents = 0 if cart is None else cart["cents"]
        kind, sku = event["kind"], event.get("sku")
        if kind == "checkout":
            items = {}
        elif kind == "add":
            items[sku] = items.get(sku, 0) + 1
            cents += round(event["price"] * 100)
        elif sku in items:
            items[sku] -= 1
            cents -= round(event["price"] * 100)
            if not items[sku]:
                del items[sku]
        elif cart is not None:
            return told
        if items:
            state.set("cart", {"items": items, "cents": cents, "due": event["at"] + after_ms})
        else:
            state.delete("cart")
        return told

    return take


def main() -> None:
    """Entry point of the process."""
    servers, name, out, after_ms, state_dir, count = sys.argv[1:]
    started, started_cpu = time.perf_counter(), time.process_time()
    left = int(count)

    def handled(topic: str, partition: int, offset: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            app.stop()

    app = Application(
        broker_address=servers,
        consumer_group=f"carts-{time.time_ns()}",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=state_dir,
        loglevel="ERROR",
        on_message_processed=handled,
    )
    topic = app.topic(name, key_deserializer="str", value_deserializer="json")
    with open(out, "w") as lines:
        frame = app.dataframe(topic)
        frame = frame[frame["kind"] != "view"]
        told = frame.apply(taker(int(after_ms)), stateful=True).filter(lambda cart: cart is not None)
        told.update(lambda cart: lines.write(json.dumps(cart) + "\n"))
        app.run()
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
