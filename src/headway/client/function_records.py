"""What is said between the clients of functions and the servers, as records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar

import msgspec

from headway.basics.function_figures import ENDED
from headway.client.protocol import Reply, foreign
from headway.errors import ServiceError

__all__ = [
    "Answered",
    "InstanceStatus",
    "Page",
    "Posted",
    "Row",
    "Told",
    "Updated",
    "WithStart",
    "decoded",
    "decoder_of",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Posted:
    """What the server says of something that it was told: it is durable, and where."""

    log: str
    position: int
    duplicate: bool
    """Whether it had been told before, under the same idempotency key."""

    @property
    def receipt(self) -> str:
        """For `at_least=`: state that includes it."""
        return f"{self.log}@{self.position}"


@dataclass(frozen=True)
class InstanceStatus:
    """What is known of an instance. Times are epoch milliseconds."""

    function: str
    id: str
    run: int
    """Runs of an id are counted from 0."""
    status: str
    """`running`, `blocked`, `completed`, `failed`, `cancelled` or `terminated`."""
    started_ms: int
    ended_ms: Optional[int] = None
    started_by: str = ""
    """The idempotency key of the request that has started it; empty where a stream or another function did."""
    error: str = ""
    """Why it has failed, or is blocked."""
    waits: tuple[str, ...] = ()
    """What it waits for, for people: the first 20 things."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """The fields by which it is found."""
    arguments: Any = None
    """Those of its start. Of one instance only, as `result` and `variables` are: a list of many leaves them out."""
    result: Any = None
    """As plain data."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What its code shows in `context.state`."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of this run."""
        return self.status in ENDED


class Updated(msgspec.Struct):
    """The answer to an update."""

    value: str = ""
    error: str = ""


class Row(msgspec.Struct):
    """An instance as its view shows it."""

    status: str
    result: str = ""
    error: str = ""
    updates: dict[str, Updated] = {}


class WithStart(msgspec.Struct):
    """The body of a signal that starts."""

    arguments: msgspec.Raw
    value: msgspec.Raw


class Answered(msgspec.Struct):
    """The answer to a query."""

    value: msgspec.Raw


class Told(msgspec.Struct):
    """An instance as `/v1/functions` tells of it."""

    instance: str
    status: str
    run: int
    started_ms: int
    ended_ms: Optional[int] = None
    started_by: str = ""
    error: str = ""
    waits: tuple[str, ...] = ()
    search: dict[str, Any] = {}
    arguments: Any = None
    result: Any = None
    variables: dict[str, Any] = {}

    def status_of(self) -> InstanceStatus:
        """The same for users."""
        given = msgspec.structs.asdict(self)
        name, _, instance_id = given.pop("instance").partition("/")
        return InstanceStatus(function=name, id=instance_id, **given)


class Page(msgspec.Struct):
    """Some instances."""

    items: list[Told]
    next: str = ""


def decoder_of(returns: Any, what: str) -> Callable[[bytes], Any]:
    """What makes values of a type from JSON."""
    decoder = msgspec.json.Decoder(returns)

    def decode(data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError as error:
            msg = f"{what} does not fit the type given by returns=: {error}: {data[:100].decode(errors='replace')}"
            raise ServiceError(msg) from error

    return decode


def decoded(kind: type[T], reply: Reply) -> T:
    """The body of a reply. Raises `ServiceError` for one that is none of Headway."""
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise foreign(reply, error) from error
