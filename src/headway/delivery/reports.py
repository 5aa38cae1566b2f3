"""What became of deliveries, written to a log that the flow reads: for flows that react to it.

An outcome is durable before the row of its delivery is removed. A crash between the two delivers again, and the second
outcome has the same idempotency key as the first. So each trigger has one outcome in the log, within the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

import msgspec

from headway.connectors.base import Input
from headway.delivery.courier import Fate
from headway.inbox.commits import Item, item_of
from headway.inbox.runlog import RunLogInput
from headway.inbox.runlog_writer import RunLogWriter
from headway.state.delivery_rows import DeliveryRow
from headway.targets.base import Answer, Delivery
from headway.types.outcomes import DeliveryOutcome

__all__ = ["Reports"]

_encode: Final = msgspec.json.Encoder().encode


class _Line(msgspec.Struct):
    """The parts of a CloudEvent that an outcome repeats."""

    id: str
    type: str
    data: msgspec.Raw
    subject: Optional[str] = None


class Reports:
    """The outcomes of one output in one process. Used on the dispatcher's loop."""

    def __init__(self, log: Input, state_dir: Path, worker: int) -> None:
        assert isinstance(log, RunLogInput)
        self._writer = RunLogWriter(log.within(state_dir).directory(worker), log.settings)

    def open(self) -> None:
        """Open the log. Raises `StateError`."""
        self._writer.open()

    async def note(self, batch: Sequence[Delivery], answers: Sequence[Answer], fates: Sequence[Optional[Fate]]) -> None:
        """Have outcomes durable when it returns: of those that have come to an end. Raises `StateError`."""
        items = [
            _item(
                DeliveryOutcome(
                    id=one.id,
                    type=one.type,
                    key=one.subject,
                    outcome=fate.value,
                    reason=answer.reason if fate is Fate.DEAD else "",
                    attempts=one.attempt,
                    time_ms=one.time_ms,
                    data=msgspec.Raw(one.data),
                )
            )
            for one, answer, fate in zip(batch, answers, fates)
            if fate is not None
        ]
        if items:
            await self._writer.append(items)

    def note_given_up(self, row: DeliveryRow, reason: str) -> None:
        """Have written soon that a row was given up unattempted, because too many waited."""
        line = msgspec.json.decode(row.line, type=_Line)
        outcome = DeliveryOutcome(
            id=line.id,
            type=line.type,
            key=line.subject,
            outcome=Fate.DEAD.value,
            reason=reason,
            attempts=0,
            time_ms=row.time_ms,
            data=line.data,
        )
        self._writer.submit([_item(outcome)])

    def close(self) -> None:
        """Have everything written, and let go of the log."""
        self._writer.close()


def _item(outcome: DeliveryOutcome) -> Item:
    return item_of(_encode(outcome), f"o{outcome.outcome}/{outcome.id}")
