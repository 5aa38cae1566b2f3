"""What leaves a group of functions: calls of steps, starts and signals of other functions, answers to them."""

from __future__ import annotations

from typing import Final, Optional

import msgspec

from headway.functions.history import Called, Failure, Identity
from headway.functions.options import CallOptions
from headway.types.schema import Event

__all__ = [
    "CALLS",
    "CANCELLED",
    "MESSAGES",
    "OUTSIDE",
    "CallRecord",
    "FunctionEnded",
    "Unclaimed",
    "answer_of",
    "call_of",
    "cancel_of",
    "options_of",
    "side_of",
]

CALLS: Final = "calls"
"""The side output of what is done outside: steps, and questions to views."""
MESSAGES: Final = "messages"
"""The side output of what goes to other instances: starts, signals, ends."""
OUTSIDE: Final = ("step", "query")
"""Kinds of calls that something outside of the group answers."""
CANCELLED: Final = ".cancel"
"""Stands behind the key of a call in the key of its cancellation."""
_encode: Final = msgspec.json.Encoder().encode
_options: Final[msgspec.json.Decoder[CallOptions]] = msgspec.json.Decoder(CallOptions)


class CallRecord(Event, omit_defaults=True):
    """One call of one run. With its key, whoever is called does a thing once."""

    key: str
    """The run and the number of the call, the same in each replay: the idempotency key."""
    kind: str
    """That of `Called`; or `cancel`, nobody waits any more; or `resolve`, the end of a function for its caller; or
    `reply`, a message that answers a call."""
    name: str
    """What is called."""
    caller: str = ""
    """The address of the instance that calls."""
    run: int = 0
    call: int = 0
    to: str = ""
    """Who is called, where the call says it: the id of a child, or the address that a signal or an answer goes to."""
    arguments: str = "[]"
    """JSON."""
    failure: str = ""
    """Of an answer that is one: JSON."""
    options: str = ""
    """JSON; empty for none."""
    at_ms: int = 0
    """When the call was made, by the log's clock."""
    queue: str = ""
    """In which queue a step waits; empty for the default one."""
    traceparent: str = ""
    """The W3C trace context of the start; empty for none."""


class FunctionEnded(Event):
    """A run of a function has come to its end."""

    function: str
    id: str
    run: int
    status: str
    """`completed`, `failed`, `cancelled` or `terminated`."""
    result: str = ""
    """JSON; empty where it has not completed."""
    error: str = ""


class Unclaimed(Event):
    """Something has come for an instance that is not there any more, or never was, or cannot take it."""

    to: str
    body: str
    reason: str


def call_of(identity: Identity, caller: str, command: Called, at_ms: int, traceparent: str = "") -> CallRecord:
    """The record of a call.

    >>> call_of(Identity("greet", "ann"), "greet/ann", Called(1, "step", "wave"), 5).key
    'greet/ann#0.1'
    """
    return CallRecord(
        key=f"{identity}.{command.number}",
        kind=command.kind,
        name=command.name,
        caller=caller,
        run=identity.run,
        call=command.number,
        to=command.to,
        arguments=command.arguments.decode(),
        options="" if command.options is None else _encode(command.options).decode(),
        at_ms=at_ms,
        queue="" if command.options is None else command.options.queue,
        traceparent=traceparent,
    )


def side_of(called: Called) -> str:
    """The side output by which a call leaves."""
    return CALLS if called.kind in OUTSIDE else MESSAGES


def cancel_of(identity: Identity, caller: str, called: Called) -> CallRecord:
    """The record that says that nobody waits for a call any more."""
    call = call_of(identity, caller, called, 0)
    return msgspec.structs.replace(call, key=f"{call.key}{CANCELLED}", kind="cancel", arguments="[]")


def answer_of(identity: Identity, to: str, run: int, call: int, value: bytes, failure: Optional[Failure]) -> CallRecord:
    """The record of the answer that a function gives to the one that has called it."""
    return CallRecord(
        # Several may wait for one end.
        key=f"{identity}.end.{to}#{run}.{call}",
        kind="resolve",
        name=identity.name,
        run=run,
        call=call,
        to=to,
        arguments=value.decode(),
        failure="" if failure is None else _encode(failure).decode(),
    )


def options_of(record: CallRecord) -> Optional[CallOptions]:
    """How a call is to be made; None where its caller says nothing."""
    return _options.decode(record.options) if record.options else None
