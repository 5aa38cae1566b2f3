"""What is asked of Resonate for a trigger: requests of its protocol, and what their answers mean."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, Optional

import msgspec

from headway.errors import UsageError
from headway.targets.base import Delivery
from headway.targets.cloudevents import event_of
from headway.targets.naming import NamelessError, Naming

__all__ = ["Request", "request_of", "status_in"]

_MODES: Final = ("binary", "structured")
_ONCE: Final = "each trigger is a promise of its own"
_NO_ANSWER: Final = 502
"""As of a gateway: something has answered, and it was no server of Resonate."""


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
    if mode not in _MODES:
        msg = f"mode={mode!r} is none: write one of {', '.join(map(repr, _MODES))}"
        raise UsageError(msg)
    for option, value in (("function", function), ("target", target)):
        if value is not None and (not isinstance(value, str) or not value.strip() or not value.isprintable()):
            msg = f"{option}={value!r}: expected a name"
            raise UsageError(msg)
    if resolve is not None:
        naming = Naming(resolve, "resolve")
    else:
        naming = Naming("{id}" if promise_id is None else promise_id, "promise_id", must_have="id", because=_ONCE)
    address = target if "://" in target else f"poll://any@{target}"
    return Request(naming, function or "", address, version, mode == "structured")


def status_in(body: bytes) -> int:
    """The status that an answer has in its head.

    >>> status_in(b'{"kind":"promise.create","head":{"status":201},"data":{}}'), status_in(b"hello")
    (201, 502)
    """
    try:
        found = msgspec.json.decode(body, type=_Answered)
    except msgspec.DecodeError:
        return _NO_ANSWER
    return found.head.status if found.kind.startswith("promise.") else _NO_ANSWER


class _Head(msgspec.Struct):
    status: int = 200


class _Answered(msgspec.Struct):
    kind: str
    head: _Head


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
