"""What happens to one value between two operators: the stateless steps, and where they lead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Union

import msgspec

from headway.errors import HeadwayError, UserCodeError
from headway.graph import KeyByNode, StatelessNode, Tolerance
from headway.operators.conditions import Where
from headway.plan.stages import Apply, Edge, Segment, ToOperator
from headway.types.letters import DeadLetter

__all__ = [
    "Ends",
    "Item",
    "Useless",
    "Ways",
    "field_or_result",
    "follow",
    "key_text",
    "meets",
    "raw_text",
    "why_useless",
]


class Item(NamedTuple):
    """One value under way."""

    time: int
    key: Optional[str]
    value: Any
    origin: str
    """What it comes from: the partition of its source, or the key of the workflow instance that emitted it."""
    ordinal: Any = None
    """Its number in the partition, with what flat_map adds; None for what an operator emitted."""


class Ends(NamedTuple):
    """What sources and stages know of the rest."""

    send: Callable[[Edge, Item], None]
    """Takes what leaves over an exchange."""
    check: Callable[[Edge, Item], Item]
    """The item as it would arrive: nobody changes that any more. Raises what `send` would, and does nothing else."""
    failed: Callable[[Tolerance, DeadLetter], None]
    """Counts a failure that was set aside; raises when they are too many."""


class Useless(Exception):
    """A record without a usable key, on a way where nothing must come of it then."""

    def __init__(self, item: Item, reason: str) -> None:
        super().__init__(reason)
        self.item = item
        self.reason = reason

    @staticmethod
    def raised(item: Item, reason: str) -> None:
        """Raise it: a way to reject."""
        raise Useless(item, reason)


class Ways(NamedTuple):
    """Where the steps of a segment can lead."""

    send: Callable[[Edge, Item], None]
    """Over an exchange, to another stage or an output."""
    enter: Optional[Callable[[ToOperator, Item], None]] = None
    """Into an operator of the same stage; None behind a source."""
    reject: Optional[Callable[[Item, str], None]] = None
    """To the dead letters, for want of a key; None behind an operator, where that is an error."""


def follow(segment: Segment, items: Sequence[Item], ways: Ways) -> None:
    """Take items through a segment, branch by branch.

    Behind an operator each result of a flat_map goes all the way before the next one does.
    """
    for branch in segment.branches:
        for item in items:
            if isinstance(branch, ToOperator):
                assert ways.enter is not None
                ways.enter(branch, item)
            elif not isinstance(branch, Apply):
                ways.send(branch.edge, item)
        if isinstance(branch, Apply):
            results = [result for item in items for result in _apply(branch.node, item, ways)]
            parts = [results] if ways.reject is not None else [[result] for result in results]
            for part in parts:
                follow(branch.then, part, ways)


def _apply(node: Union[StatelessNode, KeyByNode], item: Item, ways: Ways) -> list[Item]:
    if isinstance(node, KeyByNode):
        return _rekeyed(node, item, ways)
    try:
        result = node.function(item.value)
        if node.kind == "map":
            return [item._replace(value=result)]
        if node.kind == "flat_map":
            return [_numbered(item, number, value) for number, value in enumerate(result)]
        return [item] if bool(result) is (node.kind == "filter") else []
    except HeadwayError:
        raise
    except BaseException as error:
        raise _failure(node, item, error) from error


def _numbered(item: Item, number: int, value: Any) -> Item:
    ordinal = None if item.ordinal is None else f"{item.ordinal}.{number}"
    return item._replace(value=value, ordinal=ordinal)


def _rekeyed(node: KeyByNode, item: Item, ways: Ways) -> list[Item]:
    try:
        return [item._replace(key=key_text(field_or_result(node.key, item.value)))]
    except HeadwayError:
        raise
    except Exception as error:
        if ways.reject is None or not isinstance(error, (ValueError, LookupError)):
            raise _failure(node, item, error) from error
        ways.reject(item, f"{node.name}: {why_useless(error, item.value)}")
        return []


def field_or_result(spec: Any, value: Any) -> Any:
    """What a field's name or a function says about a value. Raises `LookupError` where JSON has no such field."""
    if callable(spec):
        return spec(value)
    if isinstance(value, dict):
        return value[spec]
    if not hasattr(value, spec) and (value is None or isinstance(value, (str, int, float, list))):
        msg = f"no field {spec!r}: expected an object, not {value!r:.100}"
        raise LookupError(msg)
    return getattr(value, spec)


def why_useless(error: Exception, value: Any) -> str:
    """What a dead letter says about an event whose time or key cannot be told.

    >>> why_useless(KeyError("at"), {}), why_useless(KeyError("at"), {"at": 1}), why_useless(ValueError(), {})
    ("no field 'at'", "KeyError: 'at'", 'ValueError')
    """
    if not (isinstance(error, KeyError) and error.args):
        return str(error) or type(error).__name__
    missing = isinstance(value, dict) and error.args[0] not in value
    return f"{'no field' if missing else 'KeyError:'} {error.args[0]!r}"


def key_text(value: Any) -> str:
    """The key that a value means. Raises `ValueError` for what is neither text nor an integer.

    >>> key_text("ann"), key_text(17)
    ('ann', '17')
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    msg = f"the key is {value!r}, expected text or an integer"
    raise ValueError(msg)


def meets(event: Any, condition: Any) -> bool:
    """Whether an event meets a condition.

    >>> from headway.operators.conditions import where
    >>> meets({"kind": "add"}, where(kind=("add", "view"))), meets({}, where(kind="add")), meets({}, bool)
    (True, False, False)
    """
    if not isinstance(condition, Where):
        return bool(condition(event))
    for name, wanted in condition.fields.items():
        found = event.get(name) if isinstance(event, dict) else getattr(event, name, None)
        several = isinstance(wanted, (list, tuple, set, frozenset))
        if not any(found == value for value in (wanted if several else [wanted])):
            return False
    return True


def raw_text(value: Any) -> str:
    """An event as the text of a dead letter."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, OverflowError):
        return repr(value).encode(errors="backslashreplace").decode()


def _failure(node: Union[StatelessNode, KeyByNode], item: Item, error: BaseException) -> UserCodeError:
    whose = f"key {item.origin!r}" if item.ordinal is None else f"record {item.ordinal} of {item.origin!r}"
    failure = UserCodeError(
        f"the step {node.name!r} ({node.where}) failed with {type(error).__name__}: {error}; "
        f"{whose} at time {item.time}: {item.value!r:.300}"
    )
    failure.step = node.name
    return failure
