"""The state of a pattern for one key: partial matches, and the buffer of the events that they share.

Partial matches with the same beginning share it: each is the last node of a chain, and nodes count who refers to
them. What nobody refers to is dropped at once, so the buffer holds exactly the events of partial matches.
"""

from functools import cache
from typing import Annotated, Any

import msgspec

from headway.basics.times import MAX_TIME_MS
from headway.types.schema import State
from headway.types.values import KEPT_FOR

__all__ = ["LAST", "NEVER", "NEXT", "NO_NODE", "Complete", "Node", "Run", "chain", "last_of", "release", "state_of"]

NEVER = MAX_TIME_MS
"""The due time of what does not end by itself."""

NEXT = "next"
"""Timer: time ends an edge of some partial match."""

LAST = "last"
"""Timer: time ends the last partial match."""

NO_NODE = -1
"""The parent of the first event of a match."""


class Run(msgspec.Struct, array_like=True, gc=False):
    """A partial match: its last event, and the ways on that are still open."""

    position: int
    open: int
    """The edges of the position that are open, as bits."""
    node: int
    start: int
    """Number of the first event."""
    start_at: int
    at: int
    """Time of the last event."""
    due: int
    """When time ends one of its edges, or all."""


class Node(msgspec.Struct, array_like=True, gc=False):
    """One event of partial matches, linked to the one before it; those with the same beginning share it."""

    position: int
    entry: int
    parent: int
    refs: int


class Complete(msgspec.Struct, array_like=True, gc=False):
    """A match that waits for one that began earlier."""

    start: int
    """Number of the first event."""
    node: int
    start_at: int
    end: int
    """When it was complete."""


@cache
def state_of(event_type: Any, fingerprint: str) -> tuple[Any, Any]:
    """The classes of the state and of its entries, for events of one type."""
    entry = msgspec.defstruct(
        "Entry", [("event", event_type), ("at", int), ("refs", int)], module=__name__, array_like=True, gc=False
    )
    runs = Annotated[list[Run], msgspec.Meta(extra={KEPT_FOR: f"the pattern {fingerprint}"})]
    state = msgspec.defstruct(
        "PatternState",
        [
            ("runs", runs, []),
            ("completed", list[Complete], []),
            ("nodes", dict[int, Node], {}),
            ("entries", dict[int, entry], {}),  # type: ignore[valid-type]
            ("next_node", int, 0),
            ("next_entry", int, 0),
            ("due", int, NEVER),
            ("last", int, NEVER),
        ],
        bases=(State,),
        module=__name__,
        gc=False,
        omit_defaults=True,  # Most rows have no complete matches that wait, and many no timers.
    )
    return state, entry


def release(state: Any, node_id: int) -> None:
    """Give up one reference to a node, and drop what nobody refers to any more."""
    nodes, entries = state.nodes, state.entries
    while node_id != NO_NODE:
        node = nodes[node_id]
        node.refs -= 1
        if node.refs:
            return
        del nodes[node_id]
        entry = entries[node.entry]
        entry.refs -= 1
        if not entry.refs:
            del entries[node.entry]
        node_id = node.parent


def chain(state: Any, node_id: int) -> list[Node]:
    """The nodes up to this one, first event first."""
    found = []
    while node_id != NO_NODE:
        node = state.nodes[node_id]
        found.append(node)
        node_id = node.parent
    found.reverse()
    return found


def last_of(state: Any, node_id: int) -> int:
    """The number of a partial match's last event."""
    number: int = state.nodes[node_id].entry
    return number
