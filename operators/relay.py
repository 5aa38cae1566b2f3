"""Takes events to the key group of their key and passes them on: what stands before a delivery."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from headway.operators.base import Context, Operator
from headway.types.schema import State

__all__ = ["Relay", "content_key"]

E = TypeVar("E")


class RelayState(State):
    """Nothing: no row is kept."""


class Relay(Operator[E, RelayState, E]):
    """Passes each event on and keeps nothing.

    Triggers that are to be delivered in order per key must be made where the key is: in its key group.
    """

    def _bind(self, event_type: Any, inputs: Mapping[str, Any], /) -> None:
        self.output_type = event_type

    def on_event(self, state: RelayState, event: E, ctx: Context[E], /) -> None:
        """Pass the event on."""
        ctx.emit(event)
        ctx.forget()


def content_key(value: Any) -> str:
    """A key for events that have none: equal ones have the same, and all others are spread evenly.

    >>> content_key({"a": 1}) == content_key({"a": 1}) != content_key({"a": 2})
    True
    """
    return blake2b(msgspec.msgpack.encode(value), digest_size=8).hexdigest()
