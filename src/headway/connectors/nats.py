"""The input `nats`: a stream of NATS JetStream, by sequence numbers that are kept with the flow's state.

A consumer of JetStream is made for each reader, in memory, without acknowledgements: what counts is the position. It
begins at a sequence number, so that it can be made anew at any time: after a restart of the server it is gone, and says
nothing about it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Optional, Union

from headway.basics.needed import needed
from headway.connectors.base import Input, Position, Session
from headway.connectors.nats_servers import NatsLink, NatsServers
from headway.connectors.parts import RecordPart
from headway.connectors.queued import BATCH, QueuedReader
from headway.connectors.records import RecordsChunk
from headway.connectors.remote import ANEW, LoopSession, RemoteInput, format_without_header, one_of
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike

__all__ = ["NatsInput", "nats"]

_NAME: Final = re.compile(r"[^\s.*>/\\]{1,255}")
_WAIT_S: Final = 1.0
_FORGET_S: Final = 60.0


def nats(
    servers: Union[str, Sequence[str]],
    stream: str,
    *,
    subjects: Sequence[str] = (">",),
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    start: str = "earliest",
    expired: str = "stop",
    token: Optional[str] = None,
    user: Optional[str] = None,
    password: Optional[str] = None,
    credentials: Optional[str] = None,
) -> Input:
    """Read a stream of NATS JetStream: a partition for each of the `subjects`, in the order of its sequence numbers.

    By default all of the stream is one partition. Several subjects, such as `["orders.eu.>", "orders.us.>"]`, are read
    side by side, each with its own watermark; a message that matches two of them is read twice. Positions are sequence
    numbers, kept with the state; the stream sees no durable consumer. A run without `--follow` reads up to the last
    message that there was when it began. When messages were deleted that were not read yet, `expired="stop"` ends the
    run, and `"earliest"` goes on at the oldest one and says how many are missing. A stream that was made anew is
    refused.

    The time, the headers, the sequence number and the subject, as the key, of messages can be used (`hw.record_time`
    and others). `token`, `user` and `password` are texts, `env:NAME` or `file:/path`; `credentials` is the path of a
    file with a JWT and a seed. Needs the extra `nats`. Raises `UsageError` for an option that cannot be.

    >>> nats("nats://localhost:4222", "ORDERS").describe()
    'nats stream ORDERS at localhost:4222'
    """
    at = NatsServers("hw.nats(...)", servers, token=token, user=user, password=password, credentials=credentials)
    if not isinstance(stream, str) or not _NAME.fullmatch(stream):
        msg = f"nats(..., {stream!r}): expected the name of a stream"
        raise UsageError(msg)
    if isinstance(subjects, str) or not subjects or len(set(subjects)) < len(tuple(subjects)):
        msg = f"nats(..., subjects={subjects!r}): expected a list of subjects, each of them once"
        raise UsageError(msg)
    one_of("nats", "start", start, "earliest", "latest")
    one_of("nats", "expired", expired, "stop", "earliest")
    form = format_without_header(format, "nats")
    return NatsInput(at, stream, tuple(subjects), start, expired == "earliest", form)


@dataclass(frozen=True)
class NatsInput(RemoteInput):
    """What `nats` returns."""

    servers: NatsServers = field(compare=False)
    stream: str
    subjects: tuple[str, ...]
    start: str
    skips_expired: bool
    format: Format = JSON

    def session(self) -> Session:
        """One client for the process."""
        needed("nats", "nats", "hw.nats(...)")
        return NatsSession(self)

    def describe(self) -> str:
        """The stream and the servers."""
        return f"nats stream {self.stream} at {self.servers.shown}"

    def records_before(self, position: Position) -> Optional[int]:
        """The sequence number, of messages of all subjects."""
        return position.get("sequence")

    def partition_of(self, subject: str) -> str:
        """The name of a subject's partition."""
        return self.stream if subject == ">" else f"{self.stream}/{subject}"


class NatsChunk(RecordsChunk):
    """Messages of one partition."""

    def __init__(self, partition: str, messages: Sequence[Any]) -> None:
        self.ordinals = [message.metadata.sequence.stream for message in messages]
        self.values = [message.data for message in messages]
        self._messages = messages
        self._partition = partition

    def place_of(self, index: int) -> str:
        """Its sequence number."""
        return f"sequence {self.ordinals[index]}"

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What the stream keeps beside the data; its key is the subject."""
        message = self._messages[index]
        if part is RecordPart.TIME:
            return _milliseconds(message.metadata.timestamp)
        if part is RecordPart.KEY:
            return message.subject
        if part is RecordPart.HEADERS:
            return [(name, value.encode()) for name, value in (message.headers or {}).items()]
        return self.ordinals[index] if part is RecordPart.OFFSET else self._partition


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp() * 1_000)


class NatsSession(LoopSession):
    """One client for all readers of a process."""

    def __init__(self, given: NatsInput) -> None:
        import nats.errors

        self._nats = given
        self._link: Optional[NatsLink] = None
        self.transient = (*LoopSession.transient, nats.errors.Error)
        super().__init__(given)

    async def connect(self) -> None:
        """Connect."""
        self._link = await self._nats.servers.connect_to_read(self._nats.describe())

    async def disconnect(self) -> None:
        """End the client."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def names(self) -> list[str]:
        """The partitions, once the stream is there."""
        import nats.js.errors

        link = self._linked()
        try:
            await link.ask(link.client.jetstream().stream_info(self._nats.stream))
        except nats.js.errors.NotFoundError:
            self.troubles.missing()
            return []
        self.troubles.found()
        return sorted(map(self._nats.partition_of, self._nats.subjects))

    def _linked(self) -> NatsLink:
        if self._link is None:
            msg = "the connection has ended"
            raise ConnectionError(msg)
        return self._link

    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for a subject."""
        return QueuedReader(self, name, position, follow=follow)

    async def feed(self, reader: QueuedReader) -> None:
        """Fetch from a consumer that is made for the reader."""
        from nats.js import api
        from nats.js.errors import NotFoundError

        given, link = self._nats, self._linked()
        stream = link.client.jetstream()
        [subject] = [one for one in given.subjects if given.partition_of(one) == reader.name]
        try:
            info = await link.ask(stream.stream_info(given.stream))
        except NotFoundError as error:
            if reader.fetched is None:
                raise
            msg = f"{given.describe()} is gone while it is read; {ANEW}"
            raise InputError(msg) from error
        sequence = self._begin_at(reader, info)
        end = info.state.last_seq
        if not reader.follow and sequence > end:
            reader.finish()
            return
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(1, sequence),
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=_FORGET_S,
            mem_storage=True,
            num_replicas=1,
            filter_subject=subject,
        )
        made = await link.ask(stream.add_consumer(given.stream, config))
        fetching = await link.ask(stream.pull_subscribe_bind(made.name, given.stream))
        try:
            await self._fetch(reader, link, fetching, info)
        finally:
            with suppress(Exception):  # It is forgotten by itself, too.
                await link.ask(fetching.unsubscribe())
        reader.finish()

    async def _fetch(self, reader: QueuedReader, link: NatsLink, fetching: Any, info: Any) -> None:
        """Take what a consumer gives; returns when a bounded reader has all.

        A consumer without acknowledgements forgets what it has sent. It numbers what it sends: so it is noticed when
        something of it was lost on the way, or is still under way.
        """
        import nats.errors

        end, taken, is_late = info.state.last_seq, 0, False
        while True:
            await self.room(reader)
            try:
                messages = await link.ask(fetching.fetch(BATCH, timeout=_WAIT_S))
            except nats.errors.TimeoutError:
                state = await link.ask(fetching.consumer_info())
                self.troubles.up(reader.name)
                reader.unfetched = state.num_pending
                sent = state.delivered.consumer_seq
                if sent > taken and is_late:
                    msg = f"{sent - taken} messages were lost on the way"
                    raise ConnectionError(msg) from None
                is_late = sent > taken
                if not reader.follow and state.num_pending == 0 and not is_late:
                    return
                continue
            if not messages:
                msg = "the server has forgotten the consumer"
                raise ConnectionError(msg)
            self.troubles.up(reader.name)
            is_late = False
            last = messages[-1].metadata
            if last.sequence.consumer != taken + len(messages):
                msg = f"message {taken + len(messages)} of the consumer was to come, and {last.sequence.consumer} came"
                raise ConnectionError(msg)
            taken = last.sequence.consumer
            if not reader.follow and last.sequence.stream > end:
                messages = [one for one in messages if one.metadata.sequence.stream <= end]
            if messages:
                at = self._at(info, messages[-1].metadata.sequence.stream + 1)
                reader.take(NatsChunk(reader.name, messages), at, sum(len(one.data) for one in messages))
                left = last.num_pending
                reader.unfetched = left if reader.follow else min(left, max(0, end - last.sequence.stream))
            if not reader.follow and (last.sequence.stream >= end or last.num_pending == 0):
                return

    def _at(self, info: Any, sequence: int) -> Position:
        """The position of a sequence number, with what tells the stream from another one of its name."""
        return {"sequence": sequence, "stream": str(info.created)}

    def _begin_at(self, reader: QueuedReader, info: Any) -> int:
        """Where to go on. Raises `InputError` where that is not there any more, or was never."""
        given, known, state = self._nats, reader.fetched, info.state
        if known is None:
            sequence = state.first_seq if given.start == "earliest" else state.last_seq + 1
            reader.reached(self._at(info, sequence))
            return int(sequence)
        if known["stream"] != str(info.created) or known["sequence"] > state.last_seq + 1:
            msg = (
                f"{given.describe()} was made anew at {info.created}, or has lost messages: {known['sequence']} is to "
                f"be read next, and it ends at {state.last_seq}; start with a new state directory"
            )
            raise InputError(msg)
        missing = state.first_seq - known["sequence"]
        if missing > 0 and given.skips_expired:
            self.troubles.tell(f"{missing} messages from {known['sequence']} on were deleted before they were read")
        elif missing > 0:
            msg = (
                f"{given.describe()} begins at {state.first_seq}, and {known['sequence']} is to be read next: "
                f"{missing} messages were deleted before they were read; raise the limits of the stream, and go on "
                'without them with expired="earliest", or start with a new state directory'
            )
            raise InputError(msg)
        return int(max(known["sequence"], state.first_seq))

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._nats.servers.words(error)
