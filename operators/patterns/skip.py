"""After-match strategies: which partial matches a match ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from headway.basics.declaring import fail

__all__ = ["AfterMatch", "no_skip", "skip_past_last", "skip_to_first", "skip_to_last", "skip_to_next"]


@dataclass(frozen=True)
class AfterMatch:
    """What a match ends, of the partial matches that are open and the matches that wait for their turn.

    With any strategy but `no_skip` matches are told in the order in which they began: one that is complete waits
    while another that began earlier is open.
    """

    kind: str
    name: Optional[str] = None
    """The step that is skipped to."""


def no_skip() -> AfterMatch:
    """A match ends no other: every match is told, as soon as it is complete."""
    return AfterMatch("no_skip")


def skip_to_next() -> AfterMatch:
    """A match ends those that began with the same event."""
    return AfterMatch("skip_to_next")


def skip_past_last() -> AfterMatch:
    """A match ends all that began before it ended: matches do not overlap."""
    return AfterMatch("skip_past_last")


def skip_to_first(name: str) -> AfterMatch:
    """A match ends those that began before the first event of its step `name`; none, if it has no such event."""
    return AfterMatch("skip_to_first", _named(name))


def skip_to_last(name: str) -> AfterMatch:
    """A match ends those that began before the last event of its step `name`; none, if it has no such event."""
    return AfterMatch("skip_to_last", _named(name))


def _named(name: str) -> str:
    if not isinstance(name, str) or not name:
        msg = f"{name!r} is not the name of a step"
        fail(msg)
    return name
