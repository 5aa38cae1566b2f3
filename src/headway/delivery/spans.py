"""What may watch attempts to deliver: traces, where somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional, Protocol

from headway.targets.base import Answer, Delivery

__all__ = ["AttemptSpans"]


class AttemptSpans(Protocol):
    """Hears of attempts, on the dispatcher's thread; some microseconds each."""

    end: Callable[[], None]
    """Called once, when no more attempts come; takes some seconds at most."""

    def begin(self, output: str, target: str, batch: Sequence[Delivery]) -> Any:
        """An attempt begins; what is returned is given to `finish`."""

    def finish(self, span: Any, batch: Sequence[Delivery], answers: Optional[Sequence[Answer]]) -> None:
        """It has ended; without answers where it was broken off."""
