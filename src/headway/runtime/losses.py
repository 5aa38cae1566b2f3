"""What operators count, with the state that it belongs to: what they have lost to their bounds, and their tallies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from headway.graph import OperatorNode
from headway.operators.base import Operator, no_loss, no_tally

__all__ = ["Losses", "add_loss", "add_tally", "added_up", "losses_of", "lost_of", "restore_losses", "tallies_of"]

Losses = dict[str, dict[str, int]]
"""By operator and side output the number of values; of operators that declare `losses`, or keep `tallies`."""


TALLY: Final = "tally "
"""What the names of tallies begin with among the counters of an operator."""


def losses_of(operators: Sequence[OperatorNode]) -> Losses:
    """The counters of a stage's operators: of those that may lose something, or keep tallies."""
    counting = [node for node in operators if node.operator.losses or node.operator.tallies]
    return {node.name: dict.fromkeys(node.operator.losses, 0) for node in counting}


def lost_of(counters: Losses) -> Losses:
    """What was lost."""
    return {
        operator: {side: count for side, count in counts.items() if not side.startswith(TALLY)}
        for operator, counts in counters.items()
    }


def tallies_of(counters: Losses) -> Losses:
    """The tallies, by their own names.

    >>> tallies_of({"functions": {"overflow": 3, "tally running": 2}})
    {'functions': {'running': 2}}
    """
    return {
        operator: {name.removeprefix(TALLY): count for name, count in counts.items() if name.startswith(TALLY)}
        for operator, counts in counters.items()
    }


def restore_losses(counters: Losses, known: Losses) -> None:
    """Let counters go on from what is known of them: those who count hold the same objects."""
    for operator, sides in counters.items():
        before = known.get(operator, {})
        for side in sides:
            sides[side] = before.get(side, 0)
        sides.update({name: count for name, count in before.items() if name.startswith(TALLY)})


def add_loss(counters: dict[str, int], operator: Operator[Any, Any, Any], side: str, count: int) -> None:
    """Count what an operator has lost. Raises `NotGiven` for a side output that takes no losses."""
    if side not in operator.losses:
        raise no_loss(operator, side)
    counters[side] += count


def add_tally(counters: dict[str, int], operator: Operator[Any, Any, Any], name: str, by: int) -> None:
    """Add to a tally of an operator. Raises `NotGiven` for one that keeps none."""
    if not operator.tallies:
        raise no_tally(operator, name)
    kept = f"{TALLY}{name}"
    counters[kept] = counters.get(kept, 0) + by


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
