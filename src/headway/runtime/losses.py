"""How much operators have lost to their bounds: counted with the state that it belongs to, summed for a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from headway.graph import OperatorNode

__all__ = ["Losses", "added_up", "losses_of"]

Losses = dict[str, dict[str, int]]
"""By operator and side output the number of values; of operators that declare `losses` only."""


def losses_of(operators: Sequence[OperatorNode], known: Optional[Losses]) -> Losses:
    """The counters of a stage's operators, which go on from what is known of them."""
    known = known or {}
    return {
        node.name: {side: known.get(node.name, {}).get(side, 0) for side in node.operator.losses}
        for node in operators
        if node.operator.losses
    }


def added_up(counts: Iterable[Losses]) -> Losses:
    """The sum; what nothing was lost of is not listed.

    >>> added_up([{"found": {"overflow": 2}}, {"found": {"overflow": 3}}, {"other": {"overflow": 0}}])
    {'found': {'overflow': 5}}
    """
    total: Losses = {}
    for losses in counts:
        for operator, sides in losses.items():
            for side, count in sides.items():
                if count:
                    of_operator = total.setdefault(operator, {})
                    of_operator[side] = of_operator.get(side, 0) + count
    return total
