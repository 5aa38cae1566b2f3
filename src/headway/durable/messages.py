"""What is written to the logs that a group of functions reads: everything that happens to an instance."""

from __future__ import annotations

from typing import Final, Optional, Union

import msgspec

from headway.functions.history import Failure, Parent
from headway.types.schema import Event

__all__ = [
    "SCHEDULES",
    "Announced",
    "Body",
    "Cancel",
    "Due",
    "Message",
    "Pause",
    "Reset",
    "Resolve",
    "Resume",
    "Retry",
    "Signal",
    "Start",
    "Trigger",
    "Update",
    "address_of",
    "body_of",
    "message",
    "parts_of",
]

SEPARATOR: Final = "/"
SCHEDULES: Final = "~schedules"
"""Stands in the place of the function's name in the address of a schedule."""


class Message(Event):
    """One thing that happens to one instance: a record of a log, an event of the flow."""

    to: str
    """The instance: the function's name, a slash, and the id."""
    body: str
    """A `Body` as JSON text, so that values of users are the same bytes wherever they are."""


class Signal(msgspec.Struct, tag="signal", tag_field="kind", omit_defaults=True, frozen=True):
    """A signal. One that has an `id` counts once."""

    name: str
    value: msgspec.Raw = msgspec.Raw(b"null")
    id: str = ""


class Start(msgspec.Struct, tag="start", tag_field="kind", omit_defaults=True, frozen=True):
    """Start a function. Where there is one of the id, the function's declaration says what happens."""

    arguments: msgspec.Raw = msgspec.Raw(b"[]")
    parent: Optional[Parent] = None
    signal: Optional[Signal] = None
    """Given to whichever instance there is then: to the one that is started from its beginning."""
    id_reuse: str = ""
    """What this start does where there is one of the id; empty for what the function's declaration says."""
    traceparent: str = ""
    """The W3C trace context of whoever starts it; empty for none."""
    key: str = ""
    """The idempotency key of the request; empty for none."""


class Resolve(msgspec.Struct, tag="resolve", tag_field="kind", omit_defaults=True, frozen=True):
    """A call of a run has come to its end: with a value, or with a failure."""

    run: int
    call: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    failure: Optional[Failure] = None
    by_token: bool = False
    """Whether the run is that of a token, which stays good when its function is reset to a later step."""
    step: str = ""
    """Of a reply that has come as a message: the step whose replies these are."""


class Update(msgspec.Struct, tag="update", tag_field="kind", omit_defaults=True, frozen=True):
    """Ask to change something, with an answer."""

    id: str
    name: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class Cancel(msgspec.Struct, tag="cancel", tag_field="kind", omit_defaults=True, frozen=True):
    """End it: in an orderly way, or with `terminates` here and now, without running any of its code."""

    reason: str = ""
    terminates: bool = False


class Retry(msgspec.Struct, tag="retry", tag_field="kind", omit_defaults=True, frozen=True):
    """Go on with one that is blocked, after its code was mended."""


class Reset(msgspec.Struct, tag="reset", tag_field="kind", frozen=True):
    """Go on before a call, as if it and all that came after it had not been."""

    to: str
    """The number of the call, or its name: the last one of that name."""


class Announced(msgspec.Struct, tag="announced", tag_field="kind", frozen=True):
    """A run begins whose code has the schedule that this is told to."""


class Due(msgspec.Struct, tag="due", tag_field="kind", frozen=True):
    """A time of a schedule has come; the log's own time says how late that is."""

    at_ms: int


class Pause(msgspec.Struct, tag="pause", tag_field="kind", omit_defaults=True, frozen=True):
    """A schedule is to start nothing until it is resumed."""

    reason: str = ""


class Resume(msgspec.Struct, tag="resume", tag_field="kind", frozen=True):
    """A schedule goes on from now."""


class Trigger(msgspec.Struct, tag="trigger", tag_field="kind", frozen=True):
    """A schedule does now what it does when it is due."""


Body = Union[Start, Resolve, Signal, Update, Cancel, Retry, Reset, Announced, Due, Pause, Resume, Trigger]
"""What happens."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Body]] = msgspec.json.Decoder(Body)


def address_of(name: str, instance_id: str) -> str:
    """The key of an instance.

    >>> address_of("refund_order", "o-17")
    'refund_order/o-17'
    """
    return f"{name}{SEPARATOR}{instance_id}"


def parts_of(address: str) -> tuple[str, str]:
    """The name of the function, and the id.

    >>> parts_of("refund_order/2024/17")
    ('refund_order', '2024/17')
    """
    name, _, instance_id = address.partition(SEPARATOR)
    return name, instance_id


def message(to: str, body: Body) -> bytes:
    """A message as a line of a log, without its end.

    >>> body_of(msgspec.json.decode(message("greet/ann", Signal("wave")), type=Message)).name
    'wave'
    """
    return _encoder.encode(Message(to=to, body=_encoder.encode(body).decode()))


def body_of(found: Message) -> Body:
    """What a message says. Raises `msgspec.ValidationError` for what it cannot."""
    return _decoder.decode(found.body)
