"""What the clients of views say and hear, without a network: requests as data, and what an answer means."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, Optional, TypeVar, Union
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headway.basics.secret import Secret
from headway.basics.times import Duration, duration_ms
from headway.client.logs import decode_shown
from headway.errors import NotYetError, ServiceError, UsageError

__all__ = [
    "Answer",
    "AtLeast",
    "Reply",
    "Request",
    "Status",
    "ViewProtocol",
    "bearer",
    "check_url",
    "error_of",
    "foreign",
    "problem_of",
    "unanswered",
]

T = TypeVar("T")
AtLeast = Optional[Union[str, Mapping[str, Any]]]
"""A receipt as text, or what ingest by HTTP has answered: its `log` and `position`."""
_BEHIND: Final = (412, 503)
WAIT_MOST_S: Final = 60.0


class Status(enum.Enum):
    """Whether a view has something for a key."""

    PRESENT = "present"
    ABSENT = "absent"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a view says of one key."""

    key: str
    status: Status
    value: Optional[T]
    """None where there is nothing, or nothing any more."""
    epoch: int
    """Of which epoch it is; greater ones are newer."""
    watermark: Optional[int]
    """Up to which event time everything is in it, in epoch milliseconds; None while that is not known."""
    age_ms: int
    """How long ago it was the newest."""
    etag: str = ""
    """Tells this version from others; the same on each server. Empty in answers about several keys."""
    timers: Mapping[str, int] = field(default_factory=dict)
    """What is armed for the key, where the view shows a state: event times in epoch milliseconds."""


class Request(NamedTuple):
    """What is asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Optional[bytes] = None
    wait_s: float = 0.0
    """How long the server may hold the answer back, in seconds."""
    limit_s: Optional[float] = None
    """How long the answer may take in all, in seconds, where that is less than what the client allows."""

    def timeout_s(self, timeout_s: float) -> float:
        """How long to wait for the answer, in seconds, of a client with this time limit for each answer.

        >>> Request("GET", "/", {}, wait_s=60.0).timeout_s(10.0), Request("GET", "/", {}, limit_s=0.5).timeout_s(10.0)
        (70.0, 0.5)
        """
        allowed_s = timeout_s + self.wait_s
        return allowed_s if self.limit_s is None else min(allowed_s, self.limit_s)


class Reply(NamedTuple):
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a server's URL; raises `UsageError` for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        msg = f"{url!r} is not the address of a server: give one such as http://127.0.0.1:8090"
        raise UsageError(msg)
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def bearer(token: Optional[str]) -> Callable[[], dict[str, str]]:
    """What gives the header that shows a bearer token: the text itself, `env:NAME` or `file:/path`.

    A file is read again when it has changed. Raises `UsageError`, at once, where there is no token.
    """
    if token is None:
        return dict
    secret = Secret(token, "token")
    secret.one()
    return lambda: {"authorization": f"Bearer {secret.one()}"}


class ViewProtocol(Generic[T]):
    """Requests about one view, and what the answers mean. Knows the newest epoch that it has seen."""

    def __init__(self, name: str, value_type: type[T], *, monotone: bool) -> None:
        self.name = name
        self.epoch = 0
        self._base = f"/v1/views/{quote(name, safe='')}"
        self._monotone = monotone
        kind: Any = value_type
        self._decode_one, self._decode_several = _decoders_of(kind)

    def read(
        self, key: str, *, at_least: AtLeast, wait: Duration, after: str = "", default_wait_s: float = 0.0
    ) -> Request:
        """One key; with `after`, an ETag, a version that is another one, for which the server waits."""
        headers = {"if-none-match": after} if after else {}
        return self._get(f"/{quote(key, safe='')}", {}, at_least, wait, headers, default_wait_s)

    def one(self, key: str, reply: Reply) -> Optional[Answer[T]]:
        """What is said of one key; None when it is as it was."""
        if reply.status == 304:
            return None
        status = {200: Status.PRESENT, 404: Status.ABSENT, 410: Status.FORGOTTEN}.get(reply.status)
        if status is None or (status is not Status.PRESENT and problem_of(reply).reason != status.value):
            raise error_of(reply)
        if "headway-epoch" not in reply.headers or "headway-age-ms" not in reply.headers:
            raise foreign(reply)
        self._saw(int(reply.headers["headway-epoch"]))
        record = self._decoded(self._decode_one, reply) if status is Status.PRESENT else None
        watermark = reply.headers.get("headway-watermark-ms")
        return Answer(
            key,
            status,
            None if record is None else record.value,
            int(reply.headers["headway-epoch"]),
            None if watermark is None else int(watermark),
            int(reply.headers["headway-age-ms"]),
            reply.headers.get("etag", ""),
            {} if record is None else record.timers,
        )

    def many(self, keys: Iterable[str], *, at_least: AtLeast, wait: Duration) -> Request:
        """Several keys, all of one epoch."""
        asked = self._get(":batch", {}, at_least, wait, {"content-type": "application/json"})
        return asked._replace(method="POST", body=msgspec.json.encode({"keys": list(keys)}))

    def page(self, prefix: str, limit: int, cursor: str) -> Request:
        """Some keys in order."""
        given: dict[str, Union[str, int]] = {"limit": limit}
        given |= {"cursor": cursor} if cursor else {"prefix": prefix}
        return self._get(":list", given, None, 0, is_first=not cursor)

    def top(self, count: int, by: Optional[str]) -> Request:
        """The keys with the greatest values of the indexed field."""
        return self._get(":top", {"n": count, **({} if by is None else {"by": by})}, None, 0)

    def count(self, prefix: str) -> Request:
        """How many keys there are."""
        return self._get(":count", {"prefix": prefix}, None, 0)

    def several(self, reply: Reply) -> tuple[list[Answer[T]], str, int]:
        """What is said of several keys, the cursor of the next page, and a count."""
        if reply.status != 200:
            raise error_of(reply)
        found = self._decoded(self._decode_several, reply)
        self._saw(found.epoch)
        answers = [
            Answer(
                record.key,
                Status(record.status),
                record.value,
                found.epoch,
                found.watermark,
                found.age_ms,
                timers=record.timers,
            )
            for record in found.items or found.values
        ]
        return answers, found.next, found.count

    def _get(
        self,
        rest: str,
        given: Mapping[str, Union[str, int]],
        at_least: AtLeast,
        wait: Duration,
        headers: Optional[dict[str, str]] = None,
        default_wait_s: float = 0.0,
        *,
        is_first: bool = True,
    ) -> Request:
        query = dict(given)
        wait_s = duration_ms(wait, what="wait") / 1000 or default_wait_s
        if at_least is not None:
            query["at_least"] = at_least if isinstance(at_least, str) else f"{at_least['log']}@{at_least['position']}"
        if self._monotone and self.epoch and is_first:
            query["epoch"] = self.epoch
            wait_s = wait_s or 1.0
        if wait_s:
            query["wait"] = f"{round(wait_s * 1000)}ms"
        path = self._base + rest + (f"?{urlencode(query)}" if query else "")
        return Request("GET", path, headers or {}, wait_s=min(wait_s, WAIT_MOST_S))

    def _saw(self, epoch: int) -> None:
        self.epoch = max(self.epoch, epoch)

    def _decoded(self, decode: Any, reply: Reply) -> Any:
        try:
            return decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"view {self.name!r}: the answer does not fit the type that was given for its values: {error}"
            raise ServiceError(msg) from error


def unanswered(url: str, error: Exception) -> ServiceError:
    """The error of a request that has no answer."""
    why = error or type(error).__name__
    return ServiceError(f"{url} gives no answer: {why}; check the address, and that the server runs")


def foreign(reply: Reply, why: object = "") -> ServiceError:
    """The error of an answer that no server of Headway has given, or one of another version."""
    begins = reply.body[:100].decode(errors="replace")
    told = f" ({why})" if why else ""
    error = ServiceError(
        f"what answers there is no server of Headway, or one of another version{told}: the answer has status "
        f"{reply.status} and begins with {begins!r}"
    )
    error.status = reply.status
    return error


def error_of(reply: Reply) -> ServiceError:
    """The error that an answer means."""
    told = problem_of(reply)
    kind = NotYetError if reply.status in _BEHIND and told.reason in ("behind", "not known") else ServiceError
    error = kind(f"{told.title or 'the server has refused'} ({reply.status}): {told.detail}".rstrip(": "))
    error.status = reply.status
    return error


@lru_cache
def _decoders_of(value_type: Any) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    """What reads an answer about one key, and one about several. Kept, as the classes take some 400 us to make."""
    record: Any = msgspec.defstruct(
        "Record",
        [
            ("key", str),
            ("value", Optional[value_type], None),
            ("timers", dict[str, int], {}),
            ("status", str, Status.PRESENT.value),
        ],
    )
    several: Any = msgspec.defstruct(
        "Several",
        [
            ("epoch", int),
            ("age_ms", int),
            ("watermark", Optional[int], None),
            ("items", list[record], []),
            ("values", list[record], []),
            ("count", int, 0),
            ("next", str, ""),
        ],
    )
    one, many = (msgspec.json.Decoder(kind, dec_hook=decode_shown).decode for kind in (record, several))
    return one, many


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    reason: str = ""


def problem_of(reply: Reply) -> _Problem:
    """What an answer that refuses says of why."""
    try:
        return msgspec.json.decode(reply.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Problem(detail=reply.body[:200].decode(errors="replace"))
