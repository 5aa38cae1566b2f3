"""What the supervisors of a cluster say to each other.

The coordinator gives *orders*, one at a time to each host, and a host answers each with a message that has the order's
number. Besides, a host says how its workers are, that they have ended, and that it is being stopped.
"""

from __future__ import annotations

from typing import Final, Optional, Union

import msgspec

from headway.runtime.stats import WorkerStats
from headway.runtime.worker import WorkerFailure
from headway.state.savepoint import SavepointInfo

__all__ = [
    "BEAT",
    "Adopt",
    "Answer",
    "Beat",
    "Done",
    "End",
    "Ended",
    "Fetch",
    "Hello",
    "Join",
    "Leaving",
    "Link",
    "Listen",
    "Message",
    "Open",
    "Order",
    "Refused",
    "Send",
    "Standing",
    "Start",
    "Stats",
    "Stop",
    "Trust",
    "Versions",
    "What",
    "decode",
    "encode",
]

Versions = list[tuple[int, int, int]]
"""Committed versions: task, key group, version."""


class _Said(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    pass


class Beat(_Said, frozen=True, tag=True):
    """The sender lives."""


BEAT: Final = Beat()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has in its state directory."""

    lineage: str = ""
    """The history that its state belongs to; empty where it has no state."""
    generation: int = 0
    """That of its manifest."""
    latest: int = 0
    """The last generation of which anything may be left in the directory."""
    has_groups: bool = False
    """Whether it holds any key groups: something has run on it."""


class Hello(_Said, frozen=True, tag=True):
    """The first message of a host."""

    host: str
    process: str
    """Random: the same when the process dials again."""
    digest: str
    """Of its hosts file."""
    version: str
    """Of Headway."""
    standing: Standing


class Order(_Said, frozen=True, tag=True):
    """What a host is to do; `number` is that of its answer."""

    number: int
    what: What


class Open(_Said, frozen=True, tag=True):
    """Of the first host: make the state directory ready for the flow. Answered by `manifest`."""

    lineage: str
    """The history that the state belongs to from now on."""


class Adopt(_Said, frozen=True, tag=True):
    """Of all others: make the state directory ready for the same manifest."""

    lineage: str
    manifest: bytes


class Fetch(_Said, frozen=True, tag=True):
    """Go back to a backup. Answered by `standing`."""

    backup: str
    generation: int
    """The generation that is written, on all hosts the same."""
    lineage: str


class Listen(_Said, frozen=True, tag=True):
    """Say on which ports the workers will listen. Answered by `addresses`."""

    attempt: int


class Start(_Said, frozen=True, tag=True):
    """Start the workers, and wait until they are ready."""

    attempt: int
    addresses: list[str]
    """Of the workers of all hosts, in order."""
    number: bytes
    """Random: from it and the cluster's secret follows the key of this attempt."""


class Join(_Said, frozen=True, tag=True):
    """Let the workers join those of the hosts before; answered once they listen."""


class Trust(_Said, frozen=True, tag=True):
    """All have joined: let the workers read."""


class Link(_Said, frozen=True, tag=True):
    """Take this host's part of a savepoint; the workers have ended. Answered by `part`."""

    name: str
    made_ms: int
    versions: Optional[Versions]
    """What is committed; None for the first host, which has the engine's log and so knows it."""


class Send(_Said, frozen=True, tag=True):
    """Send files of the part that was taken to the store. Answered once they are there."""

    claim: int
    name: str
    digests: list[str]


What = Union[Adopt, Fetch, Join, Link, Listen, Open, Send, Start, Trust]
"""What may be ordered."""


class Answer(_Said, frozen=True, tag=True):
    """The answer to an order."""

    number: int
    manifest: bytes = b""
    standing: Optional[Standing] = None
    addresses: list[str] = []
    part: Optional[SavepointInfo] = None
    versions: Versions = []
    """All that is committed, on all hosts; of the first host's part only."""
    failure: Optional[WorkerFailure] = None
    """An error: the order was not carried out, and would not be if it came again."""
    lost: str = ""
    """Why the order was not carried out, if another attempt may help."""


class Stats(_Said, frozen=True, tag=True):
    """What the workers of a host have said of themselves."""

    attempt: int
    workers: list[WorkerStats]
    still_ms: int
    """How long nothing has moved in any of them."""


class Ended(_Said, frozen=True, tag=True):
    """The workers of a host have ended: well, or for a reason."""

    attempt: int
    workers: list[WorkerStats]
    failure: Optional[WorkerFailure] = None
    lost: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether there is a reason."""
        return bool(self.lost) or self.failure is not None


class Leaving(_Said, frozen=True, tag=True):
    """The host is being stopped."""


class Stop(_Said, frozen=True, tag=True):
    """Let the workers end with their epoch."""


class End(_Said, frozen=True, tag=True):
    """End the workers of an attempt at once, if there are any. Not answered."""

    attempt: int


class Done(_Said, frozen=True, tag=True):
    """The host's part is over: the input has ended everywhere, or the host is stopped."""

    finished: bool
    workers: list[WorkerStats] = []
    """Of all hosts, as they ended."""
    restarts: int = 0
    failure: Optional[WorkerFailure] = None


class Refused(_Said, frozen=True, tag=True):
    """The host cannot be one of this cluster."""

    why: str


Message = Union[Answer, Beat, Done, End, Ended, Hello, Leaving, Order, Refused, Stats, Stop]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode(body: bytes) -> Message:
    """The message of bytes; raises `msgspec.DecodeError` for what is none."""
    message: Message = _decoder.decode(body)
    return message
