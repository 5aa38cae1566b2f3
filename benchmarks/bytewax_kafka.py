"""bytewax as a reference for Kafka: abandoned carts from its own Kafka source, with recovery each second.

`python -m benchmarks.bytewax_kafka SERVERS TOPIC OUTPUT AFTER_MS RECOVERY` reads each partition to its end, and tells
how long it took as one line of JSON. What it keeps of a user is that of `benchmarks.bytewax_carts`; orjson parses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSink
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow

from benchmarks.bytewax_carts import CartLogic, run_recoverably

_BATCH: Final = 10_000


def _event(message: Any) -> Any:
    return orjson.loads(message.value)


def _line(item: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    user, cart = item
    return user, orjson.dumps({"user": user, **cart}).decode()


def carts(servers: str, topic: str, output: Path, after_ms: int) -> Dataflow:
    """The dataflow."""
    flow = Dataflow("abandoned_carts")
    messages = op.input("messages", flow, KafkaSource([servers], [topic], tail=False, batch_size=_BATCH))
    events = op.map("parse", messages, _event)
    changes = op.filter("changes", events, lambda event: event["kind"] != "view")
    users = op.key_on("user", changes, lambda event: event["user"])
    found = op.stateful_batch("carts", users, lambda state: CartLogic(after_ms, state))
    op.output("out", op.map("told", found, _line), FileSink(output))
    return flow


def main() -> None:
    """Entry point of the process."""
    servers, topic, out, after_ms, recovery = sys.argv[1:]
    Path(out).touch()
    run_recoverably(carts(servers, topic, Path(out), int(after_ms)), Path(recovery))


if __name__ == "__main__":
    main()
