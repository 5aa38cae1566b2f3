"""Instances that are kept in memory, and made anew from their histories where they are not.

What is kept belongs to a version of the row. An epoch that is undone leaves an instance that has gone too far; it is
known by the length of its history and made anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Optional

from headway.durable.messages import parts_of
from headway.durable.state import FunctionState
from headway.errors import FunctionBlocked
from headway.functions.declared import Callee, DurableFunction
from headway.functions.history import Identity, decode
from headway.functions.instance import Instance

__all__ = ["LiveInstances"]


class LiveInstances:
    """The instances of a group that were active lately, `most` at a time."""

    def __init__(self, callees: Mapping[str, Callee], most: int) -> None:
        self._callees = callees
        self._most = most
        self._kept: OrderedDict[str, tuple[Instance, int, int]] = OrderedDict()
        """By key, an instance with its run and the length of its history."""

    def function(self, name: str) -> Optional[DurableFunction[Any]]:
        """The function of a name; None where there is none."""
        found = self._callees.get(name)
        return found if isinstance(found, DurableFunction) else None

    def of(self, key: str, state: FunctionState) -> Instance:
        """The instance of a key. Raises `FunctionBlocked` where the code does not go the way of its history."""
        known = self._kept.get(key)
        if known is not None and known[1:] == (state.run, len(state.history)):
            return known[0]
        self.drop(key)
        name, instance_id = parts_of(key)
        function = self.function(name)
        if function is None:
            msg = f"there is no function {name!r} any more: put it back, or terminate the instance"
            raise FunctionBlocked(msg)
        instance = Instance(function, Identity(name, instance_id, state.code_run), callees=self._callees)
        instance.restore(map(decode, state.history))
        return instance

    def keep(self, key: str, instance: Instance, state: FunctionState) -> None:
        """Keep an instance, which stands where its history ends; others may have to go."""
        self._kept[key] = (instance, state.run, len(state.history))
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)[1][0].close()

    def clear(self) -> None:
        """Leave all of them."""
        for key in list(self._kept):
            self.drop(key)

    def drop(self, key: str) -> None:
        """Leave the instance of a key, if there is one."""
        known = self._kept.pop(key, None)
        if known is not None:
            known[0].close()
