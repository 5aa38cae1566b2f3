"""Triggers as bytes: deterministic ids and CloudEvents 1.0 lines."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Optional

import msgspec

from headway.errors import UserCodeError
from headway.plan import Edge
from headway.runtime.batch import Record
from headway.times import format_time

__all__ = ["TriggerEncoder"]


class TriggerEncoder:
    """Turns values on their way to one output into records `(time_ms, "", line, id)`.

    The id is a hash of flow, output, producer, event time, ordinal and subject: the same log gives the
    same ids. Names hold no `/`, and the subject comes last, so that no two identities give the same text.
    """

    def __init__(self, flow: str, edge: Edge, trigger_type: Optional[str]) -> None:
        way = f".{edge.number}" if edge.number else ""
        self._identity = f"{flow}/{edge.target}/{edge.producer.node}/{edge.producer.name}{way}"
        self._source = f"/headway/{flow}"
        self._type = trigger_type
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self._target = edge.target
        self._ordinals: dict[tuple[str, int], int] = {}

    def encode(self, time_ms: int, subject: Optional[str], ordinal: object, origin: str, value: Any) -> Record:
        """The record of one value. `subject` is its key, or None; `origin` is its key or its partition."""
        try:
            return self._encode_checked(time_ms, subject, ordinal, origin, value)
        except (TypeError, ValueError) as error:
            msg = f"a value for {self._target!r}, key {subject!r}, cannot be written as JSON ({error}): {value!r:.300}"
            raise UserCodeError(msg) from error

    def encode_keyed(self, time_ms: int, subject: str, origin: str, value: Any) -> Record:
        """The record of a value that the key `origin` has emitted; ordinals count for each key and time."""
        ordinal = self._ordinals.get((origin, time_ms), 0)
        self._ordinals[origin, time_ms] = ordinal + 1
        return self.encode(time_ms, subject, ordinal, origin, value)

    def restart_ordinals(self) -> None:
        """Called between advances: all that one key emits at one time, it emits in one advance."""
        self._ordinals.clear()

    def _encode_checked(self, time_ms: int, subject: Optional[str], ordinal: object, origin: str, value: Any) -> Record:
        text = f"{self._identity}/{time_ms}/{ordinal}/{origin}"
        trigger_id = blake2b(text.encode(), digest_size=16).hexdigest()
        if self._type is None:
            return (time_ms, "", self._encode(value), trigger_id)
        envelope = {
            "specversion": "1.0",
            "id": trigger_id,
            "source": self._source,
            "type": self._type,
            "subject": subject,
            "time": format_time(time_ms),
            "datacontenttype": "application/json",
            "data": value,
        }
        if subject is None:
            del envelope["subject"]
        return (time_ms, "", self._encode(envelope), trigger_id)
