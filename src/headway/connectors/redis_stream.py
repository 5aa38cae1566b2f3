"""The input `redis_stream`: a stream of Redis, by the ids of its entries, which are kept with the flow's state.

It is read by id and not by group: a group's pending list would be a second truth beside the state. An id is a time and
a number, so entries are counted too: the count orders what has one time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.connectors.base import Input, Position, Session
from headway.connectors.parts import RecordPart
from headway.connectors.queued import BATCH, QueuedReader
from headway.connectors.records import RecordsChunk
from headway.connectors.redis_link import redis_client
from headway.connectors.remote import ANEW, LoopSession, RemoteInput, format_without_header, one_of
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import InputError, UsageError
from headway.formats.base import Format
from headway.formats.named import JSON, FormatLike

__all__ = ["RedisStreamInput", "redis_stream"]

_WAIT_MS: Final = 1_000


def redis_stream(
    url: str,
    *streams: str,
    field: str = "value",
    key: Optional[str] = None,
    format: FormatLike = JSON,  # noqa: A002 - the word of the field
    start: str = "earliest",
    expired: str = "stop",
) -> Input:
    """Read streams of Redis: each is a partition, in the order of its entries.

    The field `field` of an entry holds the value, and `key` names the field with the key; all fields are headers. The
    time of an entry is that in its id. Positions are ids, kept with the state; no group is used. A run without
    `--follow` reads up to the last entry that there was when it began. When entries were trimmed that were not read
    yet, `expired="stop"` ends the run, and `"earliest"` goes on at the oldest one and says so. A stream that was made
    anew, or has lost entries in a failover, is refused where its last id is before the one that was read.

    `url` is `redis://...` or `rediss://...`, with user and password in it, or where it stands: `env:REDIS_URL`,
    `file:/path`. Needs the extra `redis`, and Redis 7. Raises `UsageError` for an option that cannot be.

    >>> redis_stream("redis://localhost:6379", "orders").describe()
    'redis stream orders at localhost:6379'
    """
    if not streams or len(set(streams)) < len(streams) or not all(isinstance(one, str) and one for one in streams):
        msg = f"redis_stream(..., {', '.join(map(repr, streams))}): expected the keys of streams, each of them once"
        raise UsageError(msg)
    one_of("redis_stream", "start", start, "earliest", "latest")
    one_of("redis_stream", "expired", expired, "stop", "earliest")
    form = format_without_header(format, "redis_stream")
    address = ServerUrl(url, "redis_stream(...)", REDIS)
    return RedisStreamInput(address, streams, field, key, start, expired == "earliest", form)


@dataclass(frozen=True)
class RedisStreamInput(RemoteInput):
    """What `redis_stream` returns."""

    address: ServerUrl
    streams: tuple[str, ...]
    field: str
    key: Optional[str]
    start: str
    skips_expired: bool
    format: Format = JSON

    def session(self) -> Session:
        """One client for the process."""
        needed("redis", "redis", "hw.redis_stream(...)")
        return RedisSession(self)

    def describe(self) -> str:
        """The streams and the server."""
        named = "streams" if len(self.streams) > 1 else "stream"
        return f"redis {named} {', '.join(self.streams)} at {self.address.shown}"


class RedisChunk(RecordsChunk):
    """Entries of one stream."""

    def __init__(
        self, given: RedisStreamInput, stream: str, first: int, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]
    ) -> None:
        field = given.field.encode()
        self.ordinals = range(first, first + len(entries))
        self.values = [fields.get(field) for _, fields in entries]
        self._entries = entries
        self._field = given.field
        self._stream = stream
        self._key = None if given.key is None else given.key.encode()

    def place_of(self, index: int) -> str:
        """Its id."""
        return f"entry {self._entries[index][0].decode()}"

    def absence_of(self, index: int) -> str:
        """Which field it has not, and which it has."""
        names = ", ".join(repr(_text(name)) for name in self._entries[index][1])
        return f"it has no field {self._field!r}, only {names}: field= of the input says which one holds the value"

    def raw_of(self, index: int) -> bytes:
        """The value; where there is none, all fields as a JSON object."""
        value = self.values[index]
        if value is not None:
            return value
        shown = {_text(name): _text(content) for name, content in self._entries[index][1].items()}
        return json.dumps(shown).encode()

    def part_of(self, part: RecordPart, index: int) -> Any:
        """What an entry has besides its value."""
        entry, fields = self._entries[index]
        if part is RecordPart.TIME:
            return int(entry.partition(b"-")[0])
        if part is RecordPart.KEY:
            return None if self._key is None else fields.get(self._key)
        if part is RecordPart.HEADERS:
            return [(name.decode(errors="replace"), value) for name, value in fields.items()]
        return self.ordinals[index] if part is RecordPart.OFFSET else self._stream


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


class RedisSession(LoopSession):
    """One client for all readers of a process."""

    def __init__(self, given: RedisStreamInput) -> None:
        import redis.exceptions

        self._redis = given
        self._client: Any = None
        self._added: dict[str, int] = {}
        """How many entries streams have got in their lives, as of the last look."""
        self.transient = (
            *LoopSession.transient,
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.BusyLoadingError,
        )
        super().__init__(given)

    async def connect(self) -> None:
        """Make the client and ask for an answer."""
        import redis.exceptions

        try:
            self._client = redis_client(self._redis.address)
            await self._client.ping()
        except redis.exceptions.AuthenticationError as error:
            msg = f"{self._redis.describe()} refuses to let us in: check user and password in the URL"
            raise InputError(msg) from error
        except UsageError as error:
            raise InputError(str(error)) from error

    async def disconnect(self) -> None:
        """End the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def names(self) -> list[str]:
        """The streams that are there. Raises `InputError` for a key that holds something else."""
        found = []
        for stream in self._redis.streams:
            kind = (await self._client.type(stream)).decode()
            if kind == "stream":
                found.append(stream)
                self.troubles.found(f"the stream {stream}")
                self._added[stream] = (await self._client.xinfo_stream(stream))["entries-added"]
            elif kind == "none":
                self.troubles.missing(f"the stream {stream}")
            else:
                msg = f"{self._redis.describe()}: {stream} is a {kind}, expected a stream"
                raise InputError(msg)
        return sorted(found)

    def reader(self, name: str, position: Optional[Position], *, follow: bool) -> QueuedReader:
        """A reader for a stream."""
        return QueuedReader(self, name, position, follow=follow)

    async def feed(self, reader: QueuedReader) -> None:
        """Read entries behind the last one, as they come."""
        info = await self._client.xinfo_stream(reader.name)
        end = _numbers(info["last-generated-id"])
        at = self._begin_at(reader, info)
        reader.unfetched = max(0, info["entries-added"] - at["added"])
        while reader.follow or _numbers(at["id"]) < end:
            await self.room(reader)
            wait_ms = _WAIT_MS if reader.follow else None
            found = await self._client.xread({reader.name: at["id"]}, count=BATCH, block=wait_ms)
            self.troubles.up(reader.name)
            if not found:
                if not reader.follow:
                    break  # What there was up to the end was deleted.
                await self._check_there(reader, at)
                continue
            [(_, entries)] = found.items() if isinstance(found, dict) else found
            entries = [entry for entry in entries if reader.follow or _numbers(entry[0]) <= end]
            if not entries:
                break
            count = at["record"]
            more = len(entries)
            at = {"id": entries[-1][0].decode(), "record": count + more, "added": at["added"] + more}
            size = sum(len(value) for _, fields in entries for value in fields.values())
            reader.take(RedisChunk(self._redis, reader.name, count, entries), at, size)
            reader.unfetched = max(
                0, (self._added[reader.name] if reader.follow else info["entries-added"]) - at["added"]
            )
        reader.finish()

    async def _check_there(self, reader: QueuedReader, at: Position) -> None:
        """In silence, look whether the stream is still the one that was read."""
        if await self._client.exists(reader.name):
            self._begin_at(reader, await self._client.xinfo_stream(reader.name))
        elif at["record"]:
            msg = f"{self._redis.describe()}: the stream {reader.name} is gone while it is read; {ANEW}"
            raise InputError(msg)

    def _begin_at(self, reader: QueuedReader, info: Mapping[str, Any]) -> Position:
        """Where to go on. Raises `InputError` where that is not there any more, or was never."""
        given, known = self._redis, reader.fetched
        last, gone = info["last-generated-id"].decode(), info["max-deleted-entry-id"].decode()
        removed = info["entries-added"] - info["length"]
        if known is None:
            is_first = given.start == "earliest"
            at = {
                "id": "0-0" if is_first else last,
                "record": 0,
                "added": removed if is_first else info["entries-added"],
            }
            reader.reached(at)
            return at
        if _numbers(known["id"]) > _numbers(last):
            msg = (
                f"{given.describe()}: the stream {reader.name} ends with the entry {last}, and {known['id']} was read: "
                "it was made anew, or has lost entries in a failover; start with a new state directory"
            )
            raise InputError(msg)
        # Entries are trimmed from the beginning, which is known by how many are gone; others are deleted by their ids.
        missing = max(removed - known["added"], int(_numbers(gone) > _numbers(known["id"])))
        if missing <= 0:
            return known
        if not given.skips_expired:
            msg = (
                f"{given.describe()}: at least {missing} entries of {reader.name} behind {known['id']} were trimmed or "
                "deleted before they were read; keep more of the stream (MAXLEN, MINID), and go on without them with "
                'expired="earliest", or start with a new state directory'
            )
            raise InputError(msg)
        self.troubles.tell(
            f"at least {missing} entries of {reader.name} behind {known['id']} were trimmed or deleted before they "
            "were read"
        )
        return {**known, "added": max(known["added"], removed)}

    def words(self, error: BaseException) -> str:
        """Without what is secret."""
        return self._redis.address.without_secrets(super().words(error))


def _numbers(entry: Any) -> tuple[int, int]:
    """An id as what it is ordered by.

    >>> _numbers("9-10") > _numbers(b"9-9")
    True
    """
    text = entry.decode() if isinstance(entry, bytes) else entry
    time_ms, _, number = text.partition("-")
    return int(time_ms), int(number)
