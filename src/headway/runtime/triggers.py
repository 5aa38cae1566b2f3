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
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self._is_trigger = trigger_type is not None
        # What all triggers of this output share is encoded once.
        self._common = b'","source":' + self._encode(f"/headway/{flow}") + b',"type":' + self._encode(trigger_type)
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
        data = self._encode(value)
        if not self._is_trigger:
            return (time_ms, "", data, trigger_id)
        about = b"" if subject is None else b',"subject":' + self._encode(subject)
        line = b'{"specversion":"1.0","id":"%b%b%b,"time":"%b","datacontenttype":"application/json","data":%b}' % (
            trigger_id.encode(),
            self._common,
            about,
            format_time(time_ms).encode(),
            data,
        )
        return (time_ms, "", line, trigger_id)
