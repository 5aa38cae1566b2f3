"""Triggers as bytes: deterministic ids and CloudEvents 1.0 lines."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Optional

import msgspec

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
        self._identity = f"{flow}/{edge.target}/{edge.producer.node}/{edge.producer.name}"
        self._source = f"/headway/{flow}"
        self._type = trigger_type
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

    def encode(self, time_ms: int, subject: Optional[str], ordinal: object, origin: str, value: Any) -> Record:
        """The record of one value. `subject` is its key, or None; `origin` is its key or its partition."""
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
