"""What a target is given of a row of the outbox."""

from __future__ import annotations

from typing import Optional

import msgspec

from headway.basics.traceparent import is_traceparent
from headway.delivery.courier import Item
from headway.targets.base import Delivery

__all__ = ["delivery_of"]


class _Line(msgspec.Struct):
    """A CloudEvent as it is stored."""

    id: str
    type: str
    source: str
    data: msgspec.Raw
    subject: Optional[str] = None


class _Traced(msgspec.Struct):
    """The part of a value that says which trace it belongs to."""

    traceparent: Optional[str] = None


def delivery_of(item: Item) -> Delivery:
    """The trigger that is under way."""
    stored = item.row.row
    line = msgspec.json.decode(stored.line, type=_Line)
    lane = item.lane
    attempts = 0 if lane.state is None else lane.state.attempts
    place, number, former_places = item.row.place(lane.window.queue.place)
    return Delivery(
        id=line.id,
        type=line.type,
        source=line.source,
        subject=line.subject,
        time_ms=stored.time_ms,
        data=bytes(line.data),
        sequence=stored.sequence,
        place=place,
        number=number,
        former_places=former_places,
        traceparent=_traceparent(line.data),
        attempt=attempts + 1,
        last_head="" if lane.state is None else lane.state.head,
    )


def _traceparent(data: msgspec.Raw) -> Optional[str]:
    """The W3C trace context that a value carries in its field `traceparent`; None where it has none that is one."""
    if b'"traceparent"' not in bytes(data):
        return None
    try:
        found = msgspec.json.decode(data, type=_Traced).traceparent
    except msgspec.ValidationError:
        return None
    return found if found is not None and is_traceparent(found) else None
