"""The input `rabbitmq_stream`: streams of RabbitMQ, by offsets that are kept with the flow's state.

**Positions.** A stream stores messages in *chunks*, each with the offset of its first message and the time at which it
was written. A position is the next offset, with these two numbers of the chunk that holds the message before it. The
protocol gives a stream no identity; but one that was deleted and made anew has no chunk that begins at the same offset
at the same millisecond, and neither has one that has lost what was read. So reading on begins with the message *before*
the next one, and looks at its chunk.

**The end.** The server does not tell how far a stream goes. It sends the last chunk when it is asked to begin there,
and says nothing for an empty stream; but it answers in order, so that the answer to a further question says that there
was none.

**Copies.** What was read is committed: a server sends a chunk when enough of its copies have it. The server's own store
of offsets, by names of consumers, is not used: it would be a second truth beside the state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.connectors.amqp import body_of, properties_of
from headway.connectors.base import Input, Position, Session
from headway.connectors.parts import RecordPart
from headway.connectors.queued import BATCH, QueuedReader
from headway.connectors.rabbit_link import StreamLink, check_name, place_of
from headway.connectors.records import RecordsChunk
from headway.connectors.remote import ANEW, LOOK_EVERY_S, LoopSession, RemoteInput, format_without_header, one_of
from headway.connectors.server_url import STREAMS, ServerUrl
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike

__all__ = ["RabbitStreamInput", "rabbitmq_stream"]

_CREDITS: Final = 4
"""Chunks that may be under way, of up to a megabyte each."""
_SILENCE_S: Final = 5.0
"""After so long without a chunk the server is asked for the stream: a connection that was cut says nothing."""

_LAG_S: Final = 2.0
"""How long a node's copy of a stream may lag behind the one that was read before."""


def rabbitmq_stream(
    url: str,
    *streams: str,
    super_stream: Optional[str] = None,
    key: Optional[str] = None,
    messages: str = "amqp",
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    start: str = "earliest",
    expired: str = "stop",
    advertised: bool = True,
) -> Input:
    """Read streams of RabbitMQ: each is a partition, in the order of its offsets.

    With `super_stream` its partitions are read, also those that it gets later. Positions are offsets, kept with the
    state; no consumer's offset is stored in the server. A run without `--follow` reads up to the last message that
    there was when it began. When messages were deleted by the stream's retention that were not read yet,
    `expired="stop"` ends the run, and `"earliest"` goes on at the oldest one and says how many are missing. A stream
    that was made anew, or has lost what was read, is refused.

    `messages` is what a message is: `"amqp"`, an AMQP 1.0 message, as all clients write them whose messages have
    properties, and queues of AMQP 0.9.1; its body is the value, its application properties are the headers, and `key`
    names the one that is the key. Or `"bytes"`, for clients that write bytes as they are. The time of a message is that
    of its chunk, at which the server took it.

    `url` is `rabbitmq-stream://user:password@host:5552/vhost` or `rabbitmq-stream+tls://...` (with
    `?cafile=...&certfile=...&keyfile=...`), or where it stands: `env:RABBIT_URL`, `file:/path`. A client connects to
    the node that has the stream, by the address that this node advertises; with `advertised=False` always to that of
    `url`, for a single node behind a proxy. Needs the extra `rabbitmq`. Raises `UsageError` for an option that cannot
    be.

    >>> rabbitmq_stream("rabbitmq-stream://localhost:5552", "orders").describe()
    'rabbitmq stream orders at localhost:5552'
    """
    if (super_stream is None) == (not streams) or len(set(streams)) < len(streams):
        given = ", ".join([*map(repr, streams), *([] if super_stream is None else [f"{super_stream=}"])])
        msg = f"rabbitmq_stream(..., {given}): expected the names of streams, each of them once, or super_stream="
        raise UsageError(msg)
    for name in streams if super_stream is None else (super_stream,):
        check_name(name, "rabbitmq_stream(...): the name of a stream")
    one_of("rabbitmq_stream", "messages", messages, "amqp", "bytes")
    one_of("rabbitmq_stream", "start", start, "earliest", "latest")
    one_of("rabbitmq_stream", "expired", expired, "stop", "earliest")
    form = format_without_header(format, "rabbitmq_stream")
    address = ServerUrl(url, "rabbitmq_stream(...)", STREAMS)
    if not address.reference:
        place_of(address)
    is_amqp, skips = messages == "amqp", expired == "earliest"
    return RabbitStreamInput(address, streams, super_stream, key, is_amqp, start, skips, advertised, form)


@dataclass(frozen=True)
class RabbitStreamInput(RemoteInput):
    """What `rabbitmq_stream` returns."""

    address: ServerUrl
    streams: tuple[str, ...]
    super_stream: Optional[str]
    key: Optional[str]
    is_amqp: bool
    start: str
    skips_expired: bool
    uses_advertised: bool
    format: Format = JSON

    def session(self) -> Session:
        """One client for the process."""
        needed("rstream", "rabbitmq", "hw.rabbitmq_stream(...)")
        return RabbitStreamSession(self)

    def describe(self) -> str:
        """The streams and the server."""
        named = "streams" if len(self.streams) > 1 else "stream"
        what = f"super stream {self.super_stream}" if self.super_stream else f"{named} {', '.join(self.streams)}"
        return f"rabbitmq {what} at {self.address.shown}"

    def records_before(self, position: Position) -> Optional[int]:
        """The offset."""
        return position.get("offset")


class StreamChunk(RecordsChunk):
    """Messages of one stream, of one chunk of the server's."""

    def __init__(
        self, given: RabbitStreamInput, stream: str, first: int, time_ms: int, messages: Sequence[bytes]
    ) -> None:
        self.ordinals = range(first, first + len(messages))
        self._messages = messages
        self._reasons: dict[int, str] = {}
        self._time_ms = time_ms
        self._stream = stream
        self._key = given.key
        self._is_amqp = given.is_amqp
        self.values = list(map(self._value, range(len(messages)), messages)) if given.is_amqp else messages

    def _value(self, index: int, message: bytes) -> Optional[bytes]:
        try:
            return body_of(message)
        except ValueError as error:
            self._reasons[index] = str(error)
            return None

    def place_of(self, index: int) -> str:
        """Its offset."""
        return f"offset {self.ordinals[index]}"

    def absence_of(self, index: int) -> str:
        """Why it is no message of AMQP."""
        return self._reasons[index]

    def raw_of(self, index: int) -> bytes:
        """The value; the whole message where it has none."""
        return self.values[index] or self._messages[index]

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What a message has besides its value."""
        if part is RecordPart.TIME:
            return self._time_ms
        if part is RecordPart.OFFSET:
            return self.ordinals[index]
        if part is RecordPart.PARTITION:
            return self._stream
        headers = properties_of(self._messages[index]) if self._is_amqp else []
        if part is RecordPart.HEADERS:
            return headers
        return None if self._key is None else dict(headers).get(self._key)


class RabbitStreamSession(LoopSession):
    """A connection that looks for streams, and one for each reader: a slow one must not stand before the others."""

    def __init__(self, given: RabbitStreamInput) -> None:
        self._rabbit = given
        self._described = given.describe()
        self._link: Optional[StreamLink] = None
        super().__init__(given)

    async def connect(self) -> None:
        """Connect."""
        try:
            self._link = await StreamLink.open(place_of(self._rabbit.address), self._described)
        except UsageError as error:
            raise InputError(str(error)) from error

    async def disconnect(self) -> None:
        """End the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def names(self) -> list[str]:
        """The streams that are there."""
        link, given = self._link, self._rabbit
        assert link is not None
        if given.super_stream is None:
            found = [stream for stream in given.streams if await link.stream_exists(stream, self._described)]
            for stream in sorted(given.streams):
                tell = self.troubles.found if stream in found else self.troubles.missing
                tell(f"the stream {stream}")
            return sorted(found)
        found = await link.partitions(given.super_stream, self._described)
        tell = self.troubles.found if found else self.troubles.missing
        tell()
        return sorted(found)

    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for a stream."""
        return QueuedReader(self, name, position, follow=follow)

    async def feed(self, reader: QueuedReader) -> None:
        """Read chunks from the next offset on, over a connection of its own."""
        if self._link is None:
            msg = "the connection has ended"
            raise ConnectionError(msg)
        place = place_of(self._rabbit.address)
        node = await self._link.node_of(reader.name, self._described, is_leader=False)
        if node is not None and self._rabbit.uses_advertised:
            place = place._replace(host=node[0], port=node[1])
        link = await StreamLink.open(place, self._described)
        try:
            await self._read(reader, link)
        finally:
            await link.close()

    async def _read(self, reader: QueuedReader, link: StreamLink) -> None:
        from rstream import OffsetType
        from rstream.schema import OffsetSpec

        known = reader.fetched
        latest, looked_s = (await self._end(reader.name, link))["offset"], time.monotonic()
        end = None if reader.follow else latest
        at = known or await self._start(reader.name, link)
        if known is None:
            reader.reached(at)
        reader.unfetched = max(0, latest - at["offset"])
        if end is not None and at["offset"] >= end and "chunk" not in at:
            if at["offset"] > end:
                raise self._anew(reader.name, at)
            reader.finish()
            return
        chunks: asyncio.Queue[Any] = asyncio.Queue()
        begin = OffsetSpec.from_params(OffsetType.OFFSET, at["offset"] - ("chunk" in at))
        number = await link.subscribe(reader.name, begin, _CREDITS, self._described, chunks.put_nowait)
        if number is None:
            raise self._anew(reader.name, at)
        self.troubles.up(reader.name)
        is_checked = False
        while end is None or at["offset"] < end or not is_checked:
            chunk = await self._next(reader, link, chunks, None if is_checked else at)
            if not is_checked:
                at = self._checked(reader.name, at, chunk)
                is_checked = True
            elif chunk.chunk_first_offset != at["offset"]:
                at = await self._behind_a_gap(reader.name, link, at, chunk)
            first, count = chunk.chunk_first_offset, chunk.num_records
            until = first + count if end is None else min(first + count, end)
            messages = self._unpacked(chunk)
            for begins in range(at["offset"], until, BATCH):
                part = [bytes(one) for one in messages[begins - first : min(begins + BATCH, until) - first]]
                at = {"offset": begins + len(part), "chunk": first, "time_ms": chunk.timestamp}
                records = StreamChunk(self._rabbit, reader.name, begins, chunk.timestamp, part)
                reader.take(records, at, sum(map(len, part)))
            if reader.follow and time.monotonic() - looked_s > LOOK_EVERY_S:
                latest, looked_s = (await self._end(reader.name, link))["offset"], time.monotonic()
            reader.unfetched = max(0, latest - at["offset"])
            if end is not None and first >= end:
                break
            await self.room(reader)
            await link.credit(number)
        reader.finish()

    async def _next(
        self, reader: QueuedReader, link: StreamLink, chunks: asyncio.Queue[Any], begins_at: Optional[Position]
    ) -> Any:
        """The next chunk; `begins_at` for the first one. In silence, look whether stream and connection are there."""
        is_known = begins_at is not None and "chunk" in begins_at
        while True:
            with suppress(asyncio.TimeoutError):
                return await link.ask(asyncio.wait_for(chunks.get(), _LAG_S if is_known else _SILENCE_S))
            if begins_at is not None and is_known:
                raise self._anew(reader.name, begins_at)
            if not await link.stream_exists(reader.name, self._described):
                msg = f"{self._described}: the stream {reader.name} is gone while it is read; {ANEW}"
                raise InputError(msg)

    def _unpacked(self, chunk: Any) -> list[bytes]:
        try:
            return list(chunk.get_messages())
        except Exception as error:
            msg = (
                f"{self._described}: the messages from offset {chunk.chunk_first_offset} on are compressed in a way "
                "that the client library cannot read: let producers compress them by gzip, or not at all"
            )
            raise InputError(msg) from error

    async def _end(self, stream: str, link: StreamLink) -> Position:
        """Behind the last message that there is now."""
        from rstream import OffsetType
        from rstream.schema import OffsetSpec

        last = await link.first_chunk(stream, OffsetSpec(OffsetType.LAST), self._described)
        if last is not None:
            return {
                "offset": last.chunk_first_offset + last.num_records,
                "chunk": last.chunk_first_offset,
                "time_ms": last.timestamp,
            }
        if await link.first_chunk(stream, OffsetSpec(OffsetType.FIRST), self._described) is not None:
            # The last chunk is not on all the copies yet that have to have it.
            raise asyncio.TimeoutError
        return {"offset": 0}

    async def _start(self, stream: str, link: StreamLink) -> Position:
        """Where a flow without a position begins."""
        from rstream import OffsetType
        from rstream.schema import OffsetSpec

        if self._rabbit.start == "latest":
            return await self._end(stream, link)
        first = await link.first_chunk(stream, OffsetSpec(OffsetType.FIRST), self._described)
        return {"offset": 0 if first is None else first.chunk_first_offset}

    def _checked(self, stream: str, at: Position, chunk: Any) -> Position:
        """Where to go on in the first chunk. Raises `InputError` where that is not what was read before."""
        offset, first = at["offset"], chunk.chunk_first_offset
        if first < offset:
            is_same = (first, chunk.timestamp) == (at.get("chunk", first), at.get("time_ms", chunk.timestamp))
            if not is_same or offset > first + chunk.num_records:
                raise self._anew(stream, at)
            return at
        if first > offset:
            self._deleted(stream, offset, first)
        return {"offset": first}

    async def _behind_a_gap(self, stream: str, link: StreamLink, at: Position, chunk: Any) -> Position:
        """Where to go on when a chunk does not begin where the one before it ended.

        The server numbers entries of its own like messages (what it knows of publishers and of consumers, at the
        beginning of a segment), and sends them to nobody. So a gap is as it should be when nothing else begins in it.
        """
        from rstream import OffsetType
        from rstream.schema import OffsetSpec

        offset, first = at["offset"], chunk.chunk_first_offset
        there = await link.first_chunk(stream, OffsetSpec.from_params(OffsetType.OFFSET, offset), self._described)
        if first < offset or there is None or there.chunk_first_offset < first:
            msg = f"offset {offset} of {stream} was to come next, and {first} came"
            raise ConnectionError(msg)
        oldest = await link.first_chunk(stream, OffsetSpec(OffsetType.FIRST), self._described)
        if oldest is not None and oldest.chunk_first_offset > offset:
            self._deleted(stream, offset, first)
        return {"offset": first}

    def _deleted(self, stream: str, offset: int, first: int) -> None:
        """Messages from `offset` up to `first` are gone. Raises `InputError` unless that was asked for."""
        told = f"{first - offset} messages of {stream} from offset {offset} on were deleted before they were read"
        if not self._rabbit.skips_expired:
            msg = (
                f"{self._described}: {told}; keep more of the stream (max-length-bytes, max-age), and go on "
                'without them with expired="earliest", or start with a new state directory'
            )
            raise InputError(msg)
        self.troubles.tell(told)

    def _anew(self, stream: str, at: Position) -> InputError:
        msg = (
            f"{self._described}: offset {at['offset']} of {stream} is to be read next, and what was read before it is "
            "not there: the stream was made anew, or has lost messages; start with a new state directory"
        )
        return InputError(msg)

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._rabbit.address.without_secrets(super().words(error))
