"""What became of a delivery, as an event that a flow can react to."""

from __future__ import annotations

from typing import Any, Optional

from headway.types.schema import Event

__all__ = ["DeliveryOutcome"]


class DeliveryOutcome(Event):
    """What became of one trigger that was to be delivered: an event of `stream.deliveries()`.

    It happens when the outcome was made durable (ingestion time), after the delivery itself.

    >>> DeliveryOutcome(id="5f3a", type="cart.abandoned", key="ann", outcome="dead", reason="410 Gone").outcome
    'dead'
    """

    id: str
    """The trigger's id."""
    type: str
    """The trigger's type, such as `cart.abandoned`."""
    outcome: str
    """`delivered`: the target has taken it; `dead`: it was given up, and is kept for `headway triggers redrive`."""
    key: Optional[str] = None
    """The key that it is about; None for a stream without keys."""
    reason: str = ""
    """Of one that was given up, why."""
    attempts: int = 1
    """How often it was tried, over restarts. 0 for one that was given up because too many waited."""
    time_ms: int = 0
    """Event time of the trigger, in epoch milliseconds."""
    data: Any = None
    """The trigger's value, as builtins."""
