"""Triggers into a stream of Redis, exact: a script adds entries and keeps our position in one step.

Beside the stream is a hash, `{stream}:headway`, with a field for each place of an outbox: the number and the id of the
last trigger that is in. The script passes over what is not above it, adds the others, and writes the position; Redis
runs it as a whole, and writes its effects to its log as one. So an answer that is lost makes no second entry. What
Redis itself loses, such as in a failover, is lost with its position, and is not sent again. What the rest means is said
in `headway.targets.positions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Optional

from headway.basics.needed import whole_in
from headway.basics.times import Duration
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Target
from headway.targets.cloudevents import attributes
from headway.targets.limits import limits_of
from headway.targets.positions import all_retried, answers_placed, by_place
from headway.targets.redis_script import RedisScript

__all__ = ["RedisStream", "to_redis_stream"]

_SCRIPT: Final = """
local place, maxlen, formers = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HGET', KEYS[2], place)
if not kept then
    for index = 4, 3 + formers do
        local former = redis.call('HGET', KEYS[2], ARGV[index])
        if former and (not kept or tonumber(former:match('^%d+')) > tonumber(kept:match('^%d+'))) then kept = former end
    end
end
local number, id = -1, ''
if kept then number, id = kept:match('^(%d+) (.*)$') number = tonumber(number) end
local at, added = 4 + formers, 0
while at <= #ARGV do
    local own, own_id, count = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
    if own == number and own_id ~= id then return redis.error_reply('HEADWAY ' .. id) end
    if own > number then
        local entry = {KEYS[1]}
        if maxlen > 0 then entry = {KEYS[1], 'MAXLEN', '~', maxlen} end
        entry[#entry + 1] = '*'
        for index = at + 3, at + 2 + count do entry[#entry + 1] = ARGV[index] end
        redis.call('XADD', unpack(entry))
        number, id, added = own, own_id, added + 1
    end
    at = at + 3 + count
end
if added > 0 then redis.call('HSET', KEYS[2], place, number .. ' ' .. id) end
return added
"""


def to_redis_stream(
    url: str,
    stream: str,
    *,
    maxlen: Optional[int] = None,
    batch: int = 200,
    concurrency: int = 4,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    name: Optional[str] = None,
) -> RedisStream:
    """Write triggers to a stream of Redis, each exactly once as far as Redis keeps what it has acknowledged.

    An entry has the fields `data`, the value as JSON, and the attributes of the CloudEvent: `id`, `type`, `source`,
    `subject`, `time`, `sequence` and others. `maxlen` trims the stream to about so many entries. `batch` triggers are
    one call of a script, which keeps our position in the hash `{stream}:headway`. `url` is as for `redis_stream`.
    Needs the extra `redis`. Raises `UsageError` for an option that cannot be.

    >>> to_redis_stream("redis://localhost:6379", "abandoned-carts")
    <RedisStream redis localhost:6379 abandoned-carts>
    """
    limits = limits_of(
        concurrency=concurrency,
        rate=rate,
        timeout=timeout,
        batch=batch,
        batch_most=200,
        concurrency_most=100,
        timeout_least_ms=100,
    )
    if maxlen is not None:
        whole_in("maxlen", maxlen, 1, 2**53)
    return RedisStream(ServerUrl(url, "to_redis_stream(...)", REDIS), stream, maxlen or 0, limits, name)


class RedisStream(Target):
    """A stream that takes triggers; made by `hw.to_redis_stream`."""

    guarantee = Guarantee.EXACT
    in_order = True

    def __init__(
        self, address: ServerUrl, stream: str, maxlen: int, limits: Limits, name: Optional[str] = None
    ) -> None:
        if not isinstance(stream, str) or not stream:
            msg = f"to_redis_stream(..., {stream!r}): expected the key of a stream"
            raise UsageError(msg)
        self.limits = limits
        self._stream = stream
        self._maxlen = maxlen
        self._name = name or f"redis {address.shown} {stream}"
        self._script = RedisScript(address, _SCRIPT, "hw.to_redis_stream(...)", limits.timeout_s)

    @property
    def name(self) -> str:
        """`redis`, the server and the stream."""
        return self._name

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        self._script.check()

    async def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        self._script.open()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Add the batch, one call of the script for each place in it."""
        return answers_placed(batch, {place: await self._deliver(place, own) for place, own in by_place(batch).items()})

    async def look(self) -> str:
        """Ask what is under the stream's key."""
        import redis.exceptions

        try:
            kind = (await self._script.client.type(self._stream)).decode()
        except (redis.exceptions.RedisError, OSError) as error:
            raise OutputError(self._script.reason(error)) from error
        if kind not in ("none", "stream"):
            msg = f"{self._stream} is a {kind}, expected a stream"
            raise OutputError(msg)
        return "the stream is there" if kind == "stream" else "the stream is not there yet; the first trigger makes it"

    async def close(self) -> None:
        """End the client."""
        await self._script.close()

    async def _deliver(self, place: str, batch: list[Delivery]) -> list[Answer]:
        import redis.exceptions

        formers = batch[0].former_places
        given: list[Any] = [place, self._maxlen, len(formers), *formers]
        for delivery in batch:
            fields = {**attributes(delivery), "datacontenttype": "application/json", "data": delivery.data}
            given += [delivery.number, delivery.id, 2 * len(fields)]
            for name, value in fields.items():
                given += [name, value]
        try:
            await self._script.run([self._stream, f"{{{self._stream}}}:headway"], given)
        except redis.exceptions.RedisError as error:
            return all_retried(batch, self._reason(error, place))
        return [DONE] * len(batch)

    def _reason(self, error: Exception, place: str) -> str:
        text = str(error)
        if "HEADWAY " in text:
            other = text.partition("HEADWAY ")[2].partition(" ")[0]
            return (
                f"{{{self._stream}}}:headway has the place {place!r} for the trigger {other}, and now it is another: "
                "another state directory has written there. If this one is right, delete that field"
            )
        return self._script.reason(error)
