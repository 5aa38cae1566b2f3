"""Deliveries as HTTP messages of CloudEvents 1.0: binary, structured and batched.

In *binary* mode the body is the value alone, and what else there is to say is in headers `ce-*`. Their values are
percent-encoded as the specification says: whatever is not a visible ASCII character, and `"` and `%`. So no key can
end a header or begin another. *Structured*: the body is one event with all its attributes. *Batched*: a list of them,
only for receivers that take lists.

The attributes besides the required ones are extensions that the specification documents: `partitionkey` is the key,
`sequence` compares as text within it, `traceparent` is the trace context of the event that caused the trigger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from headway.basics.times import format_time
from headway.errors import UsageError
from headway.targets.base import Delivery

__all__ = [
    "BATCHED_TOO",
    "Message",
    "attributes",
    "batched",
    "binary",
    "checked_mode",
    "event_of",
    "message_of",
    "percent_encoded",
    "structured",
    "traced",
]

_MODES: Final = ("binary", "structured")
BATCHED_TOO: Final = (*_MODES, "batched")
"""Modes of a receiver that takes lists."""

_ENCODED: Final = re.compile(r"[^!#$&-~]")
"""What is not a visible ASCII character, and `"` and `%`."""
_JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode


class Message(NamedTuple):
    """What is sent: an id for the receiver to know it by when it comes again, headers, and a body."""

    id: str
    headers: dict[str, str]
    body: bytes


def checked_mode(mode: str, modes: Sequence[str] = _MODES) -> str:
    """The mode, where it is one of these. Raises `UsageError` otherwise."""
    if mode not in modes:
        msg = f"mode={mode!r} is none: write one of {', '.join(map(repr, modes))}"
        raise UsageError(msg)
    return mode


def percent_encoded(value: str) -> str:
    r"""The value of an attribute as that of a header.

    >>> percent_encoded("50% \"off\"\r\nx: y €")
    '50%25%20%22off%22%0D%0Ax:%20y%20%E2%82%AC'
    """
    if value.isascii() and value.isalnum():  # Most are, and this is found out in a tenth of the time.
        return value
    return _ENCODED.sub(_percent, value)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogatepass"))


def attributes(delivery: Delivery) -> dict[str, str]:
    """The attributes of a trigger as a CloudEvent, except for what its data is."""
    found = {
        "specversion": "1.0",
        "id": delivery.id,
        "source": delivery.source,
        "type": delivery.type,
        "time": format_time(delivery.time_ms),
        "sequence": delivery.sequence,
    }
    # An attribute that is there is not empty: the specification has no empty texts.
    if delivery.subject:
        found["subject"] = found["partitionkey"] = delivery.subject
    if delivery.traceparent:
        found["traceparent"] = delivery.traceparent
    return found


def binary(delivery: Delivery) -> Message:
    """One trigger with its attributes in headers."""
    headers = {f"ce-{name}": percent_encoded(value) for name, value in attributes(delivery).items()}
    headers["content-type"] = _JSON
    return Message(delivery.id, traced(headers, delivery), delivery.data)


def structured(delivery: Delivery) -> Message:
    """One trigger as one JSON object."""
    headers = {"content-type": "application/cloudevents+json"}
    return Message(delivery.id, traced(headers, delivery), event_of(delivery))


def batched(batch: Sequence[Delivery]) -> Message:
    """Several triggers as a JSON list. The message's id is made of theirs, so the same ones have the same."""
    ids = blake2b("".join(delivery.id for delivery in batch).encode(), digest_size=16).hexdigest()
    body = b"[" + b",".join(map(event_of, batch)) + b"]"
    return Message(ids, {"content-type": "application/cloudevents-batch+json"}, body)


def message_of(mode: str, batch: Sequence[Delivery]) -> Message:
    """The message for a batch; in the modes other than `batched` it has one trigger."""
    if mode == "batched":
        return batched(batch)
    [delivery] = batch
    return binary(delivery) if mode == "binary" else structured(delivery)


def event_of(delivery: Delivery) -> bytes:
    """A trigger as one JSON object, with all its attributes."""
    return b'%b,"datacontenttype":"application/json","data":%b}' % (_encode(attributes(delivery))[:-1], delivery.data)


def traced(headers: Mapping[str, str], delivery: Delivery) -> dict[str, str]:
    """The headers with that of the W3C, by which receivers go on with a trace without knowing CloudEvents."""
    traceparent = {"traceparent": percent_encoded(delivery.traceparent)} if delivery.traceparent else {}
    return {**headers, **traceparent}
