"""A flow that takes posts, and its application on a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from tests.inbox_harness import FaultyFiles
from tests.web_harness import Answer, ask, served

import headway as hw
from headway.inbox.commits import Inbox
from headway.inbox.reader import InboxReader
from headway.ingest.app import IngestApp
from headway.ingest.door import Door
from headway.ingest.server import doors_of
from headway.web.addresses import Address
from headway.web.middleware import Gate, guarded
from headway.web.tokens import Tokens


class Order(hw.Event):
    id: str
    at: hw.Time
    cents: int = 0


def shop() -> hw.Flow:
    flow = hw.Flow("shop")
    orders = flow.source("orders", Order, hw.http_source("/orders"), time="at")
    orders.to("orders_out", hw.to_list([]))
    any_ = flow.source("any", hw.Json, hw.http_source("/any", partitions=4), time=hw.INGESTION_TIME)
    any_.to("any_out", hw.to_list([]))
    events = flow.source("events", hw.Json, hw.http_source("/events", format="cloudevents"), time="time")
    events.to("events_out", hw.to_list([]))
    keyed = flow.source("keyed", hw.Json, hw.http_source("/keyed", require_key=True), time=hw.INGESTION_TIME)
    keyed.to("keyed_out", hw.to_list([]))
    return flow


@dataclass
class Running:
    """The application as it runs."""

    at: Address
    app: IngestApp
    gate: Gate
    state_dir: Path
    files: FaultyFiles
    broken: list[bool] = field(default_factory=list)

    def post(self, path: str, body: bytes | str, kind: Optional[str] = "application/json", **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind is not None:
            fields["content-type"] = kind
        return ask(self.at, "POST", path, body.encode() if isinstance(body, str) else body, fields)

    def lines(self, partition: str) -> list[bytes]:
        return lines_of(self.state_dir, partition)


def lines_of(state_dir: Path, partition: str) -> list[bytes]:
    """What a flow would read."""
    reader = InboxReader(state_dir / "inbox" / partition, partition, None, follow=False)
    with contextlib.closing(reader):
        found: list[bytes] = []
        while (chunk := reader.read(1_000)) is not None:
            found += chunk.data.splitlines()
        return found


@contextlib.contextmanager
def running(
    state_dir: Path, tokens: Optional[Tokens] = None, max_body: int = 1 << 20, **guards: Any
) -> Iterator[Running]:
    files = FaultyFiles()
    broken: list[bool] = []

    def open_inbox(door: Door, partition: str) -> Inbox:
        return Inbox(door.input.directory(partition), door.input.settings, files=files, room_bytes=0)

    app = IngestApp(
        "shop", doors_of(shop(), state_dir), open_inbox, lambda: broken.append(True), max_body, has_tokens=bool(tokens)
    )
    app.start()
    gate = Gate(not_ready=app.not_ready)
    try:
        with served(guarded(app, gate=gate, tokens=tokens, max_body=max_body, **guards), gate=gate) as at:
            yield Running(at, app, gate, state_dir, files, broken)
    finally:
        app.close()
