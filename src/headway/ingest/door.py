"""What a source takes: events are decoded and their times read as the flow will, so that it can read what is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Optional

from headway.basics.times import parse_time
from headway.connectors.lines import LinesChunk
from headway.connectors.parts import RecordPart
from headway.errors import HeadwayError, why
from headway.graph import IngestionTime, SourceNode
from headway.inbox.source import HttpInput
from headway.runtime.columns import column_getter
from headway.types.decoding import LineCodec

__all__ = ["Door", "Refusal", "RefusedError"]

_TOLD_MOST: Final = 20
_PLACE: Final = re.compile(r" - at `(\$[^`]*)`$")
_MISSING: Final = re.compile(r"missing required field `([^`]+)`")


class Refusal(dict[str, Any]):
    """Why one event was refused: `index` in the batch from 0, `reason`, and `field` as a path where it is known."""


class RefusedError(Exception):
    """Some events of a batch cannot be taken, and so none of it is. Of many refusals the first ones are told."""

    def __init__(self, refusals: Sequence[Refusal], events: int) -> None:
        first = refusals[0]
        where = f"event {first['index']}: " if events > 1 else ""
        more = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
        super().__init__(f"{where}{first['reason']}{more}")
        self.refusals = list(refusals[:_TOLD_MOST])


class Door:
    """Checks the events of one source. Costs what decoding costs, about half a microsecond for a small event."""

    def __init__(self, node: SourceNode) -> None:
        assert isinstance(node.input, HttpInput)
        self.node = node
        self.input: HttpInput = node.input
        self._codec = LineCodec(node.event_type)
        self._times: Optional[Callable[[Sequence[Any]], list[Any]]] = None
        if not isinstance(node.time, (IngestionTime, RecordPart)):
            self._times = column_getter(node.time, node.event_type)

    def check(self, lines: bytes, records: int) -> None:
        """Look at so many events, each a line of JSON. Raises `RefusedError`."""
        decoded = LinesChunk(lines, first_ordinal=0, first_byte=0).decode(self._codec)
        refusals = [_refusal(bad.ordinal, bad.reason) for bad in decoded.bad]
        if len(decoded.events) + len(decoded.bad) != records:
            # A blank line has a number in the log, and the flow reads nothing there.
            known = {*decoded.ordinals, *(bad.ordinal for bad in decoded.bad)}
            refusals += [_refusal(index, "there is no event") for index in range(records) if index not in known]
        if self._times is not None:
            refusals += self._untimely(decoded.events, decoded.ordinals)
        if refusals:
            raise RefusedError(sorted(refusals, key=lambda refusal: int(refusal["index"])), records)

    def _untimely(self, events: Sequence[Any], ordinals: Sequence[int]) -> list[Refusal]:
        """Those whose time cannot be used."""
        assert self._times is not None
        try:
            for time in self._times(events):
                parse_time(time)
        except Exception:  # Which event it was is found out below.
            pass
        else:
            return []
        refusals = []
        for event, ordinal in zip(events, ordinals):
            try:
                parse_time(self._times((event,))[0])
            except Exception as error:
                field = f"$.{self.node.time}" if isinstance(self.node.time, str) else None
                reason = str(error) if isinstance(error, (ValueError, HeadwayError)) else why(error)
                if isinstance(error, KeyError) and field is not None:
                    reason = f"Object missing required field `{self.node.time}`"
                refusals.append(_refusal(ordinal, f"time: {reason}", field))
        return refusals


def _refusal(index: int, reason: str, field: Optional[str] = None) -> Refusal:
    place = _PLACE.search(reason)
    missing = _MISSING.search(reason)
    if missing is not None:
        field = f"{place[1] if place else '$'}.{missing[1]}"
    elif place is not None:
        field = place[1]
    found = Refusal(index=index, reason=reason)
    if field is not None:
        found["field"] = field
    return found
