"""Which values of an exchange need not be sent, because they concern none of the operators that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from headway.graph import MAIN, KeyByNode
from headway.operators.base import Operator
from headway.operators.conditions import field_equality, is_columnar, one_of, where
from headway.operators.options import any_of
from headway.plan.guards import asked_by
from headway.plan.stages import Apply, Branch, Edge, KeyedStage, ToStage
from headway.types.schema import decoded_type

__all__ = ["concern_of", "is_implied", "sieve_at", "sieve_of"]


def concern_of(operator: Operator[Any, Any, Any], name: str, value_type: Any) -> Optional[Callable[[Any], bool]]:
    """What values of a type must meet to concern an operator by one of its inputs; None where all do.

    It is what the operator says, or else the code of its `on_event`. Raises `FlowError` for a condition on a field that
    the type does not have.
    """
    if name != MAIN:
        return None
    if operator.concerns is not None:
        return any_of(operator.concerns, value_type)
    asked = None if operator.wrapped is not None else asked_by(operator.on_event, value_type)
    if asked is None:
        return None
    found = any_of([where(**{field: values}) for field, values in asked], value_type)
    return found if is_columnar(found) else None


def sieve_of(stage: KeyedStage, edge: Edge) -> Optional[Callable[[Any], bool]]:
    """What a value must meet to be sent to a stage; None where all are.

    Only conditions that cannot fail are asked by the sender: a function of the flow's that fails does so in the
    operator that has it, and for the key that the event is of.
    """
    tests = [concern_of(stage.operators[entry.rank].operator, entry.input, edge.value_type) for entry in edge.entries]
    found = [test for test in tests if test is not None and is_columnar(test)]
    return one_of(found, edge.value_type) if found and len(found) == len(tests) else None


def sieve_at(branch: Branch, value_type: Any) -> Optional[Callable[[Any], bool]]:
    """What a decoded value of a source must meet to get anywhere by a branch; None where all do.

    It is asked before the key is read only where each value has one: the others become dead letters, whomever they
    concern.
    """
    if isinstance(branch, ToStage):
        return branch.edge.sieve
    if not (isinstance(branch, Apply) and isinstance(branch.node, KeyByNode)):
        return None
    key = branch.node.key
    if not isinstance(key, str) or decoded_type(value_type, key) is not str:
        return None
    found = [sieve_at(then, value_type) for then in branch.then.branches]
    tests = [test for test in found if test is not None]
    return one_of(tests, value_type) if tests and len(tests) == len(found) else None


def is_implied(sieve: Callable[[Any], bool], by: Callable[[Any], bool]) -> bool:
    """Whether all values that pass a filter pass the sieve too, where both are about one and the same field.

    >>> from headway.operators.conditions import where
    >>> adds, changes = where(kind="add").bind(dict), where(kind=("add", "remove")).bind(dict)
    >>> is_implied(changes, by=adds), is_implied(adds, by=changes), is_implied(changes, by=bool)
    (True, False, False)
    """
    asked, known = field_equality(sieve), field_equality(by)
    if asked is None or known is None or asked[0] != known[0]:
        return False
    return all(value in asked[1] for value in known[1])
