"""The edges that lead out of a flow: what a receiver can rely on, and where triggers may wait."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from headway.basics.guarantees import Guarantee
from headway.plan.stages import SinkStage

__all__ = ["OutputEdge", "output_edge"]


class OutputEdge(NamedTuple):
    """What holds of the way to one output."""

    edge: str
    """`direct`: the flow waits for it where it must; `indirect`: it never does."""
    is_durable: bool
    """Whether what the flow has made cannot be lost on the way."""
    guarantee: Guarantee
    is_delivered: bool
    """Whether triggers wait in the state until a target has taken them."""
    waiting_max: Optional[int]
    """How many may wait in each process; None where none do beyond an epoch."""

    @property
    def label(self) -> str:
        """In few words, for a diagram."""
        return ", ".join([self.edge, *([] if self.is_durable else ["ephemeral"]), self.guarantee.value])

    @property
    def lines(self) -> tuple[str, str]:
        """What a receiver can rely on, and what may wait, for people."""
        durable = "durable" if self.is_durable else "ephemeral"
        return f"{self.edge}, {durable}, {self.guarantee.value}", self._waits

    @property
    def _waits(self) -> str:
        if self.waiting_max is not None:
            then = "then the flow reads nothing more" if self.edge == "direct" else "then the oldest are given up"
            return f"at most {self.waiting_max:,} wait in the state of each process, {then}"
        if not self.is_durable:
            return "nothing waits, and what is there ends with the process"
        if self.guarantee is Guarantee.EXACT:
            return "nothing waits: an epoch is over when it is written"
        return "lines wait in the state until their epoch is durable"

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "edge": self.edge,
            "durable": self.is_durable,
            "guarantee": self.guarantee.value,
            "delivered": self.is_delivered,
            "waiting_max": self.waiting_max,
        }


def output_edge(sink: SinkStage) -> OutputEdge:
    """What holds of the way to an output of a plan."""
    delivered = sink.delivered
    if delivered is None:
        output = sink.node.output
        return OutputEdge("direct", output.is_durable, output.guarantee, is_delivered=False, waiting_max=None)
    given = delivered.delivering
    return OutputEdge(
        given.edge,
        is_durable=True,
        guarantee=delivered.target.guarantee,
        is_delivered=True,
        waiting_max=given.waiting_max,
    )
