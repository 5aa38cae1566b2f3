"""The application that takes posts: it checks, has them made durable, and gives a receipt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Optional

import msgspec

from headway.basics.histogram import Histogram
from headway.errors import StateError
from headway.inbox.appender import Appender, Told
from headway.inbox.commits import ConflictError, Inbox, Item, Outcome, Receipt
from headway.inbox.log import NoRoomError
from headway.ingest.bodies import Parsed, inflate, parse, parts_behind, translated
from headway.ingest.door import Door, RefusedError
from headway.ingest.openapi import document
from headway.metrics.snapshots import SourceIngest
from headway.web.middleware import busy, header
from headway.web.problems import ProblemError, Receive, Scope, Send, answer

__all__ = ["IngestApp"]

_JSON: Final = b"application/json"
_QUEUED_MOST: Final = 64 << 20
"""Bytes that wait to be made durable before requests are refused."""
_READING_MOST: Final = 256 << 20
"""Bytes of bodies that are under way before requests are refused."""
_DISK_IS_SLOW: Final = "events come faster than the disk takes them"
_MUCH_UNDER_WAY: Final = "the bodies under way are too large together"
_encode: Final = msgspec.json.Encoder().encode


@dataclass
class _Partition:
    name: str
    appender: Appender
    source: str


@dataclass
class IngestApp:
    """An ASGI application over the doors of a flow's sources, by path.

    `open_inbox` opens the inbox of a partition of a source; it is called in `start`. `on_broken` is called when one of
    them takes nothing any more. `max_body` is in bytes, unpacked.
    """

    flow: str
    doors: Mapping[str, Door]
    open_inbox: Callable[[Door, str], Inbox]
    on_broken: Callable[[], None]
    max_body: int = 8 << 20
    has_tokens: bool = False
    taken: dict[str, SourceIngest] = field(default_factory=dict)
    """What was taken for each source."""
    _partitions: dict[str, _Partition] = field(default_factory=dict)
    _reading: int = 0
    _loop: Optional[asyncio.AbstractEventLoop] = None

    def start(self) -> None:
        """Open all inboxes. Raises what `InboxLog` raises."""
        for door in self.doors.values():
            self.taken[door.node.name] = SourceIngest()
            for name in door.input.partitions():
                inbox = self.open_inbox(door, name)
                appender = Appender(inbox, self._deliver, self.on_broken)
                self._partitions[name] = _Partition(name, appender, door.node.name)
        self._openapi = _encode(document(self.flow, self.doors, max_body=self.max_body, has_tokens=self.has_tokens))

    def close(self) -> None:
        """Make durable what was submitted, and let the inboxes go."""
        for partition in self._partitions.values():
            partition.appender.close()

    @property
    def queued_bytes(self) -> int:
        """What waits to be made durable, about."""
        return sum(partition.appender.queued_bytes for partition in self._partitions.values())

    def statistics(self) -> dict[str, SourceIngest]:
        """What was taken for each source, with the times of its syncs. Called by any thread."""
        found = {}
        for name, taken in self.taken.items():
            syncs = Histogram()
            for partition in list(self._partitions.values()):
                if partition.source == name:
                    syncs = syncs.plus(partition.appender.syncs)
            found[name] = SourceIngest(events=taken.events, duplicates=taken.duplicates, syncs=syncs)
        return found

    def not_ready(self) -> Optional[str]:
        """Why it should get no requests."""
        broken = [partition.name for partition in self._partitions.values() if partition.appender.is_broken]
        return f"the inbox {broken[0]} is to be opened anew" if broken else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if path == "/openapi.json":
            if method not in ("GET", "HEAD"):
                raise ProblemError(405, f"{path} is read by GET", headers={"allow": "GET, HEAD"})
            await answer(send, 200, self._openapi, _JSON)
            return
        door = self.doors.get(path) or self._door_above(path)
        if door is None:
            raise ProblemError(404, f"there is no source {path!r}: there are {', '.join(sorted(self.doors))}")
        if method != "POST":
            raise ProblemError(405, f"{path} takes events by POST", headers={"allow": "POST"})
        parsed = await self._body(door, scope, receive)
        partition = self._partitions[door.input.partition_of(parsed.partition_key)]
        outcome = await self._committed(partition.appender, parsed)
        taken = self.taken[partition.source]
        taken.events += parsed.records
        taken.duplicates += sum(receipt.duplicate for receipt in outcome)
        if "headway.receipt" in scope:
            position = max(receipt.position for receipt in outcome)
            about = {"source": partition.source, "log": partition.name, "position": position, "events": parsed.records}
            scope["headway.receipt"] = {f"headway.{name}": value for name, value in about.items()}
        await answer(send, 200, _answer(partition.name, parsed, outcome), _JSON)

    def _door_above(self, path: str) -> Optional[Door]:
        """The door to which a path belongs that goes on behind its own."""
        for above, door in self.doors.items():
            if door.input.translator is not None and path.startswith(f"{above}/"):
                return door
        return None

    async def _body(self, door: Door, scope: Scope, receive: Receive) -> Parsed:
        """Read, unpack and check the events of a request."""
        if self.queued_bytes > _QUEUED_MOST:
            raise busy(_DISK_IS_SLOW)
        size = 0
        try:
            parts: list[bytes] = []
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                part = message.get("body", b"")
                parts.append(part)
                # What has come counts, not what was declared: who declares much and sends nothing takes no room.
                size += len(part)
                self._reading += len(part)
                if self._reading > _READING_MOST:
                    raise busy(_MUCH_UNDER_WAY)
                if not message.get("more_body"):
                    break
            body = inflate(header(scope, b"content-encoding"), b"".join(parts), self.max_body)
            if door.input.translator is None:
                parsed = parse(scope, body, door.input.envelope)
            else:
                parsed = translated(scope, body, door.input.translator, parts_behind(scope, door.input.path))
            if door.input.require_key and any(item.key is None for item in parsed.items):
                raise ProblemError(400, "an idempotency key is required: send Idempotency-Key, or CloudEvents")
            door.check(parsed.lines, parsed.records)
        except RefusedError as error:
            raise ProblemError(422, str(error), title="Event refused", errors=error.refusals) from None
        finally:
            self._reading -= size
        return parsed

    async def _committed(self, appender: Appender, parsed: Parsed) -> list[Receipt]:
        loop = asyncio.get_running_loop()
        self._loop = loop
        size = sum(len(item.lines) for item in parsed.items)
        waiter: asyncio.Future[Outcome] = loop.create_future()
        appender.submit(parsed.items, size, waiter)
        try:
            outcome = await waiter
        finally:
            appender.delivered(size)
        if isinstance(outcome, list):
            return outcome
        raise _problem_of(outcome, parsed.items)

    def _deliver(self, told: Told) -> None:
        """Called in the thread of an appender."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(partial(_resolve, told))


def _resolve(told: Told) -> None:
    for waiter, outcome in told:
        if not waiter.done():  # A client that has gone has its event in the log all the same.
            waiter.set_result(outcome)


def _answer(log: str, parsed: Parsed, receipts: list[Receipt]) -> bytes:
    """The receipt of the whole request: with its position, whoever reads can ask for what includes all its events."""
    told: dict[str, Any] = {
        "log": log,
        "position": max(receipt.position for receipt in receipts),
        "duplicate": all(receipt.duplicate for receipt in receipts),
        "events": parsed.records,
    }
    if parsed.has_own_keys and len(parsed.items) > 1:
        told["receipts"] = [{"position": one.position, "duplicate": one.duplicate} for one in receipts]
    return _encode(told)


def _problem_of(error: Any, items: list[Item]) -> ProblemError:
    if isinstance(error, ConflictError):
        return ProblemError(
            422, str(error), title="Idempotency key reused", errors=[{"index": error.number, "reason": str(error)}]
        )
    if isinstance(error, NoRoomError):
        return ProblemError(507, "the disk of the inbox is full: nothing was taken", headers={"retry-after": "30"})
    assert isinstance(error, StateError)
    detail = "the event was perhaps not made durable: send it again with the same idempotency key"
    return ProblemError(503, detail, headers={"retry-after": "1"})
