"""The other reference: abandoned carts on bytewax itself, written as its documentation would have it.

`python -m benchmarks.bytewax_carts INPUT OUTPUT AFTER_MS RECOVERY MODULE` tells how long it took as one line of JSON. A
file is read line by line, each line is parsed, the stream is keyed, and a `StatefulBatchLogic` for each user keeps the
cart and asks to be notified; recovery is on, with epochs of a second. MODULE is what parses and writes: `json`, as all
examples of the documentation have it, or `orjson`, as one who looks for speed would.

bytewax's notifications are of the wall clock, and there is no time of the whole stream: so a cart is told when its
user comes again too late, when the clock says so, or at the end of input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from typing_extensions import override

from benchmarks.procfs import memory_of

__all__ = ["CartLogic", "abandoned_carts", "run_recoverably"]

Cart = tuple[dict[str, int], int, int]
"""Items, cents, and when it is due."""


class CartLogic(op.StatefulBatchLogic[dict[str, Any], dict[str, Any], Cart]):
    """The cart of one user."""

    def __init__(self, after_ms: int, state: Optional[Cart]) -> None:
        self.after_ms = after_ms
        self.items, self.cents, self.due_ms = state or ({}, 0, 0)
        self.wake_at: Optional[datetime] = None

    @override
    def on_batch(self, values: list[dict[str, Any]]) -> tuple[Iterable[dict[str, Any]], bool]:
        told = []
        for event in values:
            if self.items and event["at"] > self.due_ms:
                told.append(self.abandoned())
            self.take(event)
        self.wake_at = datetime.now(timezone.utc) + timedelta(milliseconds=self.after_ms)
        return told, not self.items

    def take(self, event: dict[str, Any]) -> None:
        """Keep the cart."""
        kind = event["kind"]
        if kind == "checkout":
            self.items.clear()
            self.cents = 0
            return
        sku = event["sku"]
        if kind == "add":
            self.items[sku] = self.items.get(sku, 0) + 1
            self.cents += round(event["price"] * 100)
        elif sku in self.items:
            self.items[sku] -= 1
            self.cents -= round(event["price"] * 100)
            if not self.items[sku]:
                del self.items[sku]
        else:
            return
        self.due_ms = event["at"] + self.after_ms

    def abandoned(self) -> dict[str, Any]:
        """Tell of the cart, and empty it."""
        told = {"due": self.due_ms, "items": dict(self.items), "total": self.cents / 100}
        self.items.clear()
        self.cents = 0
        return told

    @override
    def on_notify(self) -> tuple[Iterable[dict[str, Any]], bool]:
        return [self.abandoned()], self.DISCARD

    @override
    def on_eof(self) -> tuple[Iterable[dict[str, Any]], bool]:
        return ([self.abandoned()] if self.items else []), self.DISCARD

    @override
    def notify_at(self) -> Optional[datetime]:
        return self.wake_at

    @override
    def snapshot(self) -> Cart:
        return dict(self.items), self.cents, self.due_ms


def _json_text(value: Any) -> str:
    return json.dumps(value)


def _orjson_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def abandoned_carts(source: Path, output: Path, after_ms: int, module: str) -> Dataflow:
    """The dataflow."""
    loads, text = (json.loads, _json_text) if module == "json" else (orjson.loads, _orjson_text)
    flow = Dataflow("abandoned_carts")
    lines = op.input("lines", flow, FileSource(source))
    events = op.map("parse", lines, loads)
    changes = op.filter("changes", events, lambda event: event["kind"] != "view")
    users = op.key_on("user", changes, lambda event: event["user"])
    found = op.stateful_batch("carts", users, lambda state: CartLogic(after_ms, state))
    told = op.map("told", found, lambda item: (item[0], text({"user": item[0], **item[1]})))
    op.output("out", told, FileSink(output))
    return flow


def run_recoverably(flow: Dataflow, recovery: Path) -> None:
    """Run it with recovery each second, and tell how long it took as one line of JSON. The folder must be new."""
    recovery.mkdir()
    init_db_dir(recovery, 1)  # type: ignore[no-untyped-call]
    started, started_cpu = time.perf_counter(), time.process_time()
    config = RecoveryConfig(str(recovery))  # type: ignore[no-untyped-call]
    run_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=config)  # type: ignore[no-untyped-call]
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "peak_bytes": memory_of().peak,
    }
    print(json.dumps(report))


def main() -> None:
    """Entry point of the process."""
    source, out, after_ms, recovery, module = sys.argv[1:]
    Path(out).touch()
    run_recoverably(abandoned_carts(Path(source), Path(out), int(after_ms), module), Path(recovery))


if __name__ == "__main__":
    main()
