"""What is asked of the hub in a flow's process by the server beside it, over a socket in the state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Union

import msgspec

from headway.steps.attempt import Outcome, Work

__all__ = ["ACK", "Ask", "Beat", "End", "Ended", "GiveBack", "Given", "Heard", "Held", "LeasedWork", "desk_paths"]

ACK: Final = b"\x01"
"""Sent when work has been received: without it the work was not handed over."""


class Ask(msgspec.Struct, tag="ask", frozen=True):
    """A worker asks for work, and waits for it so long."""

    queues: list[str]
    most: int
    wait_ms: int


class LeasedWork(msgspec.Struct, frozen=True):
    """An attempt that a worker has from now on."""

    lease: str
    lease_ms: int
    work: Work


class Given(msgspec.Struct, tag="given", frozen=True):
    """The answer to `Ask`."""

    works: list[LeasedWork] = []
    unknown: list[str] = []
    """Queues that are none of this flow's for workers."""


class Held(msgspec.Struct, frozen=True):
    """An attempt that a worker has."""

    lease: str
    beats: bool = False
    """Whether the step itself has told that it is alive, since it was heard of last."""
    details: bytes = b""


class Beat(msgspec.Struct, tag="beat", frozen=True):
    """A worker is there, and has these."""

    held: list[Held]


class Heard(msgspec.Struct, tag="heard", frozen=True):
    """The answer to `Beat`: the leases that it has no more."""

    lost: list[str]


class End(msgspec.Struct, tag="end", frozen=True):
    """What came of an attempt."""

    lease: str
    outcome: Outcome


class GiveBack(msgspec.Struct, tag="give-back", frozen=True):
    """A worker has not begun with these."""

    leases: list[str]


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """The answer to `End` and `GiveBack`: whether it counts."""

    counts: bool = True


decode_question: Final = msgspec.msgpack.Decoder(Union[Ask, Beat, End, GiveBack]).decode
decode_answer: Final = msgspec.msgpack.Decoder(Union[Given, Heard, Ended]).decode


def desk_paths(state_dir: Path) -> list[Path]:
    """The sockets of all processes of a flow; some may be of processes that are gone."""
    return sorted((state_dir / "run").glob("steps-*.sock"))
