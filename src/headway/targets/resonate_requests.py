"""What is asked of Resonate for a trigger: requests of its protocol, and what their answers mean."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.basics.needed import whole_in
from headway.errors import UsageError
from headway.targets.answers import ABOUT_CONTENT
from headway.targets.base import Delivery, Outcome
from headway.targets.cloudevents import checked_mode, event_of
from headway.targets.naming import NamelessError, Naming

__all__ = ["NOT_OURS", "Request", "Said", "request_of", "said_in"]

_ONCE: Final = "each trigger is a promise of its own"
_OF_ALL: Final = ("Unsupported protocol version", "Invalid resonate:target address")
"""What the server says of all requests of this target: they are taken once the server, or the option, is another."""

NOT_OURS: Final = dict.fromkeys({*ABOUT_CONTENT, 410} - {413}, Outcome.RETRY)
"""Statuses that are not about a trigger, where it is not Resonate that says so of it: they may be of a proxy. One that
finds the body too large means the trigger all the same."""


@dataclass(frozen=True)
class Request:
    """Makes the request for a trigger: that of a function that is invoked, or of a promise that is resolved."""

    naming: Naming
    function: str
    target: str
    version: int
    is_structured: bool

    @property
    def resolves(self) -> bool:
        """Whether it is about a promise that others have made."""
        return not self.function

    @property
    def shown(self) -> str:
        """For people."""
        return self.function or f"promise {self.naming.template}"

    def of(self, delivery: Delivery, until_ms: int) -> tuple[str, dict[str, Any]]:
        """The kind and the data of a request. Raises `NamelessError`."""
        found = self.naming.of(delivery)
        value = event_of(delivery) if self.is_structured else delivery.data
        if self.resolves:
            return "promise.settle", {"id": found, "state": "resolved", "value": {"data": _encoded(value)}}
        if ":" in found or "\0" in found:
            # What stands behind a colon is for the promises that a function makes.
            msg = f"{found!r:.100} cannot be the id of a promise: it has a colon or a NUL in it"
            raise NamelessError(msg)
        called = {"args": [msgspec.Raw(value)], "kwargs": {}, "func": self.function, "version": self.version}
        tags = {f"resonate:{part}": found for part in ("origin", "branch", "parent")}
        tags |= {"resonate:scope": "global", "resonate:target": self.target}
        param = {"data": _encoded(msgspec.json.encode(called))}
        return "promise.create", {"id": found, "timeoutAt": until_ms, "param": param, "tags": tags}


def request_of(
    *,
    function: Optional[str],
    target: str,
    version: int,
    promise_id: Optional[str],
    resolve: Optional[str],
    mode: str,
) -> Request:
    """What these options of `hw.to_resonate` mean. Raises `UsageError` for what is missing or too much."""
    if (function is None) == (resolve is None):
        msg = "to_resonate(...) needs function=... or resolve=..."
        raise UsageError(msg)
    if resolve is not None and promise_id is not None:
        msg = f"promise_id={promise_id!r} is nothing for resolve={resolve!r}: leave it out"
        raise UsageError(msg)
    whole_in("version", version, 1, 2**31 - 1)
    for option, value in (("function", function), ("target", target)):
        if value is not None and (not isinstance(value, str) or not value.strip() or not value.isprintable()):
            msg = f"{option}={value!r}: expected a name"
            raise UsageError(msg)
    if resolve is not None:
        naming = Naming(resolve, "resolve")
    else:
        naming = Naming("{id}" if promise_id is None else promise_id, "promise_id", must_have="id", because=_ONCE)
    address = target if "://" in target else f"poll://any@{target}"
    return Request(naming, function or "", address, version, checked_mode(mode) == "structured")


class Said(NamedTuple):
    """What Resonate itself has answered."""

    status: int
    """As of HTTP."""
    is_of_all: bool
    """Whether it refuses what all requests of this target have in common, and not this trigger."""


def said_in(body: bytes) -> Optional[Said]:
    """What Resonate has answered; None for a body that is not of its protocol.

    >>> said_in(b'{"kind":"promise.create","head":{"status":201},"data":{}}'), said_in(b"not found")
    (Said(status=201, is_of_all=False), None)
    """
    try:
        found = msgspec.json.decode(body, type=_Answered)
    except msgspec.DecodeError:
        return None
    if not found.kind.startswith("promise."):
        return None
    return Said(found.head.status, isinstance(found.data, str) and found.data.startswith(_OF_ALL))


class _Head(msgspec.Struct):
    status: int


class _Answered(msgspec.Struct):
    kind: str
    head: _Head
    data: Any = None


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
