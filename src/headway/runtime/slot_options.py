"""How reader slots read: what is the same for all slots of a run, and what one of them is told besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from headway.state.positions import SourcePosition

__all__ = ["SlotOptions", "kept_before"]


@dataclass(frozen=True)
class SlotOptions:
    """How slots read; the same for all slots of a run."""

    groups: int
    follow: bool
    grows: bool = True
    """Whether an input of the flow may bring more as long as it is followed: then its streams that end wait for it."""
    chunk_bytes: int = 1 << 20
    discover_ms: int = 1_000
    drain_to_ms: Optional[int] = None
    """Read nothing more, and claim this time: the books are being closed."""
    redrive: Optional[Path] = None
    """Where the redriven dead letters are that this slot reads; None for all but the first one of a source."""

    is_pressed: Callable[[], bool] = lambda: False
    """Whether nothing more should be read because as many triggers wait to be delivered as may."""

    @property
    def discover_every_ms(self) -> Optional[int]:
        """How often to look for new partitions; None for only once."""
        return self.discover_ms if self.follow else None


def kept_before(known: Optional[SourcePosition], number: int, assigned: Callable[[str], bool]) -> Mapping[str, Any]:
    """The part of slot `number` of where its source stood when this generation began, if it was known.

    Partitions go to the slot that they are `assigned` to, all else to the first slot. A slot whose partitions are all
    new begins where time stood in its source, as a slot does that finds a new one beside others.
    """
    if known is None:
        return {}
    kept: dict[str, Any] = {
        "partitions": {name: position for name, position in known.partitions.items() if assigned(name)}
    }
    if not kept["partitions"] and isinstance(known.floor, int):
        kept["floor"] = known.floor
    if number:
        return kept
    kept |= {"counts": known.counts, "first_letter": known.first_letter, "failures": known.failures}
    return kept if known.redrive is None else {**kept, "redrive": known.redrive}
