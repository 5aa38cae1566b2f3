"""Triggers as bytes: deterministic ids and CloudEvents 1.0 lines."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import MIN_TIME_MS, format_time
from headway.errors import UserCodeError
from headway.graph import SinkNode
from headway.plan.stages import Edge
from headway.runtime.batch import Record
from headway.types.isolation import writable, written_types
from headway.types.values import shape_of

__all__ = ["TriggerEncoder", "sequence_of"]

_BEGIN: Final = b'{"specversion":"1.0","id":"'
_TIME: Final = b',"time":"'
_DATA: Final = b'","datacontenttype":"application/json","data":'
_ORDINALS: Final = 100_000
_SECONDS: Final = [b"%02d." % second for second in range(60)]
_MILLISECONDS: Final = [b"%03dZ" % millisecond for millisecond in range(1_000)]


def sequence_of(time_ms: int, ordinal: int) -> str:
    """Twenty digits that grow with the time and, at one time, with the ordinal.

    >>> sequence_of(-1, 7) < sequence_of(0, 0) < sequence_of(0, 10) < sequence_of(1, 2)
    True
    """
    return f"{(time_ms - MIN_TIME_MS) * _ORDINALS + min(ordinal, _ORDINALS - 1):020d}"


class TriggerEncoder:
    """Turns values on their way to one output into records `(time_ms, "", line, id)`.

    The id is a hash of flow, output, producer, event time, ordinal and subject, or where the output says so
    of the fields that it names in place of time and ordinal: the same log gives the same ids. Names hold no `/`,
    and the subject comes last, so that no two identities give the same text.
    """

    def __init__(self, flow: str, edge: Edge, sink: SinkNode) -> None:
        trigger_type = sink.trigger_type
        way = f".{edge.number}" if edge.number else ""
        self._identity = f"{flow}/{edge.target}/{edge.producer.node}/{edge.producer.name}{way}"
        self._begun = blake2b(self._identity.encode(), digest_size=16)
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self._shapes = [shape_of(option, str(edge.producer), written=True) for option in written_types(edge.value_type)]
        self._fitting = writable(edge.value_type, lambda: self._made)
        self._made = ""
        self._producer = f"what the {'source' if edge.from_source else 'operator'} {str(edge.producer)!r}"
        self._kind = "partition" if edge.from_source else "key"
        self._is_trigger = trigger_type is not None
        # What all triggers of this output share is encoded once.
        self._common = b'","source":' + self._encode(f"/headway/{flow}") + b',"type":' + self._encode(trigger_type)
        self._target = edge.target
        self._id_by = sink.id_by
        self._is_delivered = sink.delivered is not None
        self._has_subject = sink.delivered is None or sink.delivered.has_keys
        self._keeps_order = sink.delivered is None or sink.delivered.target.keeps_order
        self._ordinals: dict[tuple[str, int], int] = {}
        self._minute = 0
        self._minute_text = b"1970-01-01T00:00:"

    def encode(self, time_ms: int, subject: Optional[str], ordinal: object, origin: str, value: Any) -> Record:
        """The record of one value. `subject` is its key, or None; `origin` is its key or its partition."""
        try:
            return self._encode_checked(time_ms, subject, ordinal, origin, value)
        except (TypeError, ValueError) as error:
            msg = f"{self._whence(time_ms, origin)} cannot be written as JSON ({error}): it is {value!r:.300}"
            raise UserCodeError(msg) from error

    def encode_keyed(self, time_ms: int, subject: str, origin: str, value: Any) -> Record:
        """The record of a value that the key `origin` has emitted; ordinals count for each key and time.

        One that is to be delivered is `(time_ms, lane, line, sequence)`: the lane is its key, or its id where the
        target keeps no order.
        """
        ordinal = self._ordinals.get((origin, time_ms), 0)
        record = self.encode(time_ms, subject if self._has_subject else None, ordinal, origin, value)
        self._ordinals[origin, time_ms] = ordinal + 1
        if self._is_delivered:
            lane = subject if self._keeps_order else record[3]
            return (time_ms, lane, record[2], sequence_of(time_ms, ordinal))
        return record

    def take_back(self, time_ms: int, origin: str, count: int) -> None:
        """Forget the last values that a key has emitted at a time, as if they had never been."""
        self._ordinals[origin, time_ms] -= count

    def forget_ordinals(self, time_ms: int, origin: str) -> None:
        """Forget the counts of what emits no more: everything before this time, and at it the keys before `origin`."""
        if self._ordinals:
            self._ordinals = {
                place: count for place, count in self._ordinals.items() if (place[1], place[0]) >= (time_ms, origin)
            }

    @property
    def ordinals(self) -> list[tuple[str, int, int]]:
        """What has been counted and not forgotten: key, time and the next ordinal."""
        return [(*place, count) for place, count in self._ordinals.items()]

    @ordinals.setter
    def ordinals(self, counted: list[tuple[str, int, int]]) -> None:
        self._ordinals = {(origin, time_ms): count for origin, time_ms, count in counted}

    def _encode_checked(self, time_ms: int, subject: Optional[str], ordinal: object, origin: str, value: Any) -> Record:
        data = self._encode(value)
        if not self._fits(value):
            self._made = self._whence(time_ms, origin)
            value = self._fitting(value)
            data = self._encode(value)
        if self._id_by is None:
            identity = self._begun.copy()
            identity.update(f"/{time_ms}/{ordinal}/{origin}".encode())
        else:
            identity = blake2b(self._topic(self._id_by, subject, value), digest_size=16)
        trigger_id = identity.hexdigest()
        if not self._is_trigger:
            return (time_ms, "", data, trigger_id)
        about = b"" if subject is None else b',"subject":' + self._encode(subject)
        time = self._time_text(time_ms)
        line = b"".join((_BEGIN, trigger_id.encode(), self._common, about, _TIME, time, _DATA, data, b"}"))
        return (time_ms, "", line, trigger_id)

    def _fits(self, value: Any) -> bool:
        """Whether a value, which has been encoded, is what its type says."""
        for shape in self._shapes:  # noqa: SIM110 - compiled, a loop costs a fifth of a generator
            if shape.fits(value, None):
                return True
        return False

    def _whence(self, time_ms: int, origin: str) -> str:
        """Which value is meant, for messages; `origin` is the key or the partition that it comes from."""
        return f"{self._producer} sends to the output {self._target!r}, for {self._kind} {origin!r} at time {time_ms},"

    def _time_text(self, time_ms: int) -> bytes:
        """What `format_time` says, at a quarter of its price where times share a minute."""
        minute = time_ms // 60_000  # A literal, so that it is a division of C.
        if minute != self._minute:
            self._minute = minute
            self._minute_text = format_time(time_ms).encode()[: -len("SS.mmmZ")]
        rest_ms = time_ms - minute * 60_000
        return self._minute_text + _SECONDS[rest_ms // 1_000] + _MILLISECONDS[rest_ms % 1_000]

    def _topic(self, fields: tuple[str, ...], subject: Optional[str], value: Any) -> bytes:
        """The identity of what a value is about: its key and these fields of it."""
        try:
            about = [value[name] if isinstance(value, dict) else getattr(value, name) for name in fields]
        except (KeyError, AttributeError) as error:
            msg = f"{self._target!r}, key {subject!r}: the value lacks one of id_by={fields!r}: {value!r:.300}"
            raise UserCodeError(msg) from error
        return f"{self._identity}//{self._encode(about).decode()}/{subject or ''}".encode()
