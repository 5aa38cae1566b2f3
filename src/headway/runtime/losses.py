"""How much operators have lost to their bounds: counted with the state that it belongs to, summed for a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headway.graph import OperatorNode

__all__ = ["Losses", "added_up", "losses_of", "restore_losses"]

Losses = dict[str, dict[str, int]]
"""By operator and side output the number of values; of operators that declare `losses` only."""


def losses_of(operators: Sequence[OperatorNode]) -> Losses:
    """The counters of a stage's operators."""
    return {node.name: dict.fromkeys(node.operator.losses, 0) for node in operators if node.operator.losses}


def restore_losses(counters: Losses, known: Losses) -> None:
    """Let counters go on from what is known of them: those who count hold the same objects."""
    for operator, sides in counters.items():
        for side in sides:
            sides[side] = known.get(operator, {}).get(side, 0)


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
