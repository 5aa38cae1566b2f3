"""What a process that runs steps is told, and what it tells."""

from __future__ import annotations

from typing import Final, Union

import msgspec

from headway.steps.attempt import Outcome, Work
from headway.steps.places import CodePlace

__all__ = ["Beaten", "Cancel", "Do", "Done", "Told", "decode_order", "decode_told"]


class Do(msgspec.Struct, tag="do", frozen=True):
    """Run a step once."""

    place: CodePlace
    work: Work
    search_path: list[str] = []


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Nobody waits any more for the attempt of this key and number."""

    key: str
    attempt: int


class Beaten(msgspec.Struct, tag="beaten", frozen=True):
    """The step that runs has told that it is alive."""

    details: bytes = b""


class Done(msgspec.Struct, tag="done", frozen=True):
    """The step has come to its end."""

    outcome: Outcome


Told = Union[Beaten, Done]
decode_order: Final = msgspec.msgpack.Decoder(Union[Do, Cancel]).decode
decode_told: Final = msgspec.msgpack.Decoder(Told).decode
