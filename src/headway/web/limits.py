"""How many connections a server keeps, and for how long; see `headway.web.connections`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConnectionLimits"]


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections a server keeps, and for how long."""

    connections: int = 2_048
    head_s: float = 15.0
    """Seconds for the head of the next request."""
    body_s: float = 30.0
    """Seconds for the whole body of a request."""
