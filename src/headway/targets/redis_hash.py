"""Triggers into hashes of Redis: the newest value of each key, as a view that others read without asking a flow.

Each hash has, beside the fields of the value, the *version* of the trigger that wrote it: its sequence, which grows
with time and, at one time, with the ordinal, and its id. A script compares and writes in one step, and an older version
never replaces a newer one, in whatever order triggers come, and however often. So the hashes are a function of the
triggers that were made: no position is kept, and an old state directory that sends them again leads to the same hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Optional, Union

import msgspec

from headway.basics.times import Duration, duration_ms
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import OutputError, UsageError
from headway.targets.base import DONE, Answer, Delivery, Guarantee, Limits, Outcome, Target
from headway.targets.columns import key_names, no_key, rows_of
from headway.targets.limits import limits_of
from headway.targets.positions import all_retried
from headway.targets.redis_script import RedisScript
from headway.types.schema import Json

__all__ = ["VERSION_FIELD", "RedisHash", "to_redis_hash"]

VERSION_FIELD: Final = "headway:version"
"""The field that has the version."""

_SCRIPT: Final = """
local found, at = {}, 2
local field = ARGV[1]
for index, key in ipairs(KEYS) do
    local version, expires, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local kind = redis.call('TYPE', key)['ok']
    local kept = kind == 'hash' and redis.call('HGET', key, field)
    if kind ~= 'none' and not kept then
        found[index] = kind
    else
        if not kept or kept < version then
            redis.call('DEL', key)
            for pair = at + 3, at + 2 + count, 2 do redis.call('HSET', key, ARGV[pair], ARGV[pair + 1]) end
            redis.call('HSET', key, field, version)
            if expires > 0 then redis.call('PEXPIRE', key, expires) end
        end
        found[index] = ''
    end
    at = at + 3 + count
end
return found
"""


def to_redis_hash(
    url: str,
    prefix: str,
    *,
    key: Union[str, Sequence[str], None] = None,
    delete: Optional[str] = None,
    ttl: Optional[Duration] = None,
    batch: int = 200,
    concurrency: int = 4,
    rate: Optional[float] = None,
    timeout: Duration = "20s",
    name: Optional[str] = None,
) -> RedisHash:
    """Keep the newest value of each key in a hash of Redis, whose fields are those of the value.

    The hash of the key `ann` is `prefix:ann`. `key` names the field of the value that is the key, or several, which are
    joined by `:`; without it, it is the trigger's, and where that has none there is one hash, `prefix`. Text is stored
    as it is, all else as JSON; a null is no field. The field `headway:version` says which trigger has written it: an
    older one never replaces a newer one. Where the field `delete` of the value is true, the hash has nothing but its
    version. With `ttl` a hash that has not been written for that long expires, also one that was deleted; it should be
    longer than a delivery may be tried again.

    A key in whose place is something else, such as a hash without a version, is left as it is, and its triggers go to
    the dead letters. `batch` triggers are one call of a script, which needs one server: Redis 7 or newer, no cluster.
    Needs the extra `redis`. Raises `UsageError` for an option that cannot be.

    >>> to_redis_hash("redis://localhost:6379", "cart", key="cart", ttl="30d")
    <RedisHash redis localhost:6379 cart:*>
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
    if not isinstance(prefix, str) or not prefix:
        msg = f"to_redis_hash(..., {prefix!r}): expected what the keys of the hashes begin with, such as 'cart'"
        raise UsageError(msg)
    if delete is not None and not (isinstance(delete, str) and delete):
        msg = f"to_redis_hash(..., delete={delete!r}): expected the name of a field that is true where a key is gone"
        raise UsageError(msg)
    ttl_ms = 0 if ttl is None else duration_ms(ttl, what="ttl")
    if ttl is not None and ttl_ms < 1_000:
        msg = f'to_redis_hash(..., ttl={ttl!r}): expected a second or more, such as "30d"'
        raise UsageError(msg)
    address = ServerUrl(url, "to_redis_hash(...)", REDIS)
    return RedisHash(address, prefix, key_names(key), delete, ttl_ms, limits, name)


class RedisHash(Target):
    """Hashes that take the newest values; made by `hw.to_redis_hash`."""

    guarantee = Guarantee.EXACT

    def __init__(
        self,
        address: ServerUrl,
        prefix: str,
        key: tuple[str, ...],
        delete: Optional[str],
        ttl_ms: int,
        limits: Limits,
        name: Optional[str] = None,
    ) -> None:
        self.limits = limits
        self._prefix = prefix
        self._key = key
        self._delete = delete
        self._ttl_ms = ttl_ms
        self._name = name or f"redis {address.shown} {prefix}:*"
        self._script = RedisScript(address, _SCRIPT, "hw.to_redis_hash(...)", limits.timeout_s)
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    @property
    def name(self) -> str:
        """`redis`, the server and what the keys begin with."""
        return self._name

    def takes(self, trigger_type: str, value_type: Any) -> None:
        """Look whether values of the type have the fields that are named."""
        if value_type not in (Any, Json, dict):
            rows_of(value_type, (*self._key, *([self._delete] if self._delete else [])))

    def check(self) -> None:
        """Look whether the library and the URL are there."""
        self._script.check()

    async def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        self._script.open()

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        """Write the batch by one call of the script."""
        import redis.exceptions

        answers: list[Answer] = [DONE] * len(batch)
        indexes: list[int] = []
        keys: list[str] = []
        given: list[Any] = [VERSION_FIELD]
        for index, delivery in enumerate(batch):
            try:
                key, fields = self._row_of(delivery)
            except ValueError as error:
                answers[index] = Answer(Outcome.NEVER, str(error))
                continue
            indexes.append(index)
            keys.append(key)
            given += [f"{delivery.sequence} {delivery.id}", self._ttl_ms, len(fields), *fields]
        try:
            kinds = await self._script.run(keys, given) if keys else []
        except redis.exceptions.RedisError as error:
            return all_retried(batch, self._script.reason(error))
        for index, key, kind in zip(indexes, keys, kinds):
            if kind:
                answers[index] = Answer(Outcome.NEVER, _not_ours(key, kind.decode()))
        return answers

    async def look(self) -> str:
        """Ask the server whether it is there."""
        import redis.exceptions

        try:
            await self._script.client.ping()
        except (redis.exceptions.RedisError, OSError) as error:
            raise OutputError(self._script.reason(error)) from error
        return f"the server is there; hashes are {self._prefix}:..."

    async def close(self) -> None:
        """End the client."""
        await self._script.close()

    def _row_of(self, delivery: Delivery) -> tuple[str, list[Any]]:
        """The key of the hash, and its fields with their values. Raises `ValueError` for a value that has none."""
        try:
            value = self._decode(delivery.data)
        except msgspec.DecodeError as error:
            msg = f"the value is no object with fields ({error})"
            raise ValueError(msg) from error
        if self._key:
            parts = [_stored(value.get(name)) for name in self._key]
        else:
            parts = [] if delivery.subject is None else [delivery.subject.encode()]
        if any(part is None for part in parts):
            raise ValueError(no_key(self._key))
        key = ":".join([self._prefix, *(part.decode() for part in parts if part is not None)])
        if self._delete and bytes(value.get(self._delete, b"")) == b"true":
            return key, []
        stored = {name: _stored(raw) for name, raw in value.items() if name != VERSION_FIELD}
        return key, [part for name, text in stored.items() if text is not None for part in (name, text)]


def _stored(raw: Optional[msgspec.Raw]) -> Optional[bytes]:
    """A value as it is stored: text as it is, all else as JSON; None for a null."""
    data = b"null" if raw is None else bytes(raw)
    if data == b"null":
        return None
    return msgspec.json.decode(data, type=str).encode() if data.startswith(b'"') else data


def _not_ours(key: str, kind: str) -> str:
    what = f"a hash without {VERSION_FIELD}" if kind == "hash" else f"a {kind}"
    return f"{key} is {what}, which this flow did not write: expected nothing there, or a hash of its own"
