"""Dead letters: what is written of a record that could not be used."""

from __future__ import annotations

from typing import Optional

from headway.types.schema import Event

__all__ = ["DeadLetter"]


class DeadLetter(Event, omit_defaults=True):
    """A record that could not be used, or that code of the flow has failed on, as it is written to the dead letters."""

    source: str
    """Name of the source; empty for what an operator has sent, and for a timer."""
    partition: str
    """Name of the partition, such as the file; empty where the source is."""
    position: str
    """Where in the partition it stands; empty where the source is."""
    reason: str
    """Why it could not be used, or what the code has raised."""
    raw: str
    """Its bytes as text; bytes that are not UTF-8 are escaped as \\xNN. Of a failed operator the event as JSON, as
    it was when it came to the operator's stage."""
    step: Optional[str] = None
    """The operator or the step whose code has failed; None where none has."""
    into: Optional[str] = None
    """The operator of a keyed stage that the event has come to, with `.INPUT` behind it for a further input, `@late`
    for a late event, and `#1`, `#2` where a source leads there on several ways; None where it has come to none."""
    key: Optional[str] = None
    """The key for which the operator was called; None where none was."""
    time: Optional[int] = None
    """Event time of that call, in epoch milliseconds."""
    timer: Optional[str] = None
    """The timer that has fired; None for an event."""
    sender: Optional[str] = None
    """The operator that has sent the event; None where it comes from a source."""
