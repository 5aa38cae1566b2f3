"""From values of a stream to starts of a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

from headway.basics.traceparent import is_traceparent
from headway.durable.calls import CallRecord
from headway.functions.declared import DurableFunction
from headway.operators.given import Given

__all__ = ["Starts"]


class Starts(Given):
    """Makes the call of a function of each value.

    `id_of` is a field of the value, or a function of it; `args` gives a tuple, or a dict by names.

    >>> from headway.functions.declared import durable_workflow
    >>> @durable_workflow
    ... async def remind(context, user: str) -> None: ...
    >>> Starts(remind, "cart", lambda value: (value["user"],))({"cart": "c7", "user": "ann"}).arguments
    '["ann"]'
    """

    def __init__(
        self,
        function: DurableFunction[Any],
        id_of: Union[str, Callable[[Any], Any]],
        args: Optional[Callable[[Any], Any]] = None,
    ) -> None:
        self._function = function
        self._id_of = id_of
        self._args = args

    def __call__(self, value: Any) -> CallRecord:
        """The call. Raises `UsageError` for arguments that the function does not take."""
        return CallRecord(
            key="",
            kind="start",
            name=self._function.name,
            to=self._id(value),
            arguments=self._arguments(value).decode(),
            traceparent=_traceparent(value),
        )

    def _id(self, value: Any) -> str:
        if callable(self._id_of):
            found = self._id_of(value)
        else:
            found = value[self._id_of] if isinstance(value, Mapping) else getattr(value, self._id_of)
        if isinstance(found, bool) or not isinstance(found, (str, int)):
            msg = f"the id of {self._function.name!r} is {found!r}, expected text or an integer"
            raise ValueError(msg)
        return str(found)

    def _arguments(self, value: Any) -> bytes:
        if self._args is None:
            return self._function.encode_arguments(value)
        given = self._args(value)
        if isinstance(given, dict):
            return self._function.encode_arguments(**given)
        return self._function.encode_arguments(*(given if isinstance(given, (tuple, list)) else (given,)))


def _traceparent(value: Any) -> str:
    """The trace to which a value belongs, by its field of that name; empty where it has none."""
    found = value.get("traceparent") if isinstance(value, Mapping) else getattr(value, "traceparent", None)
    return found if isinstance(found, str) and is_traceparent(found) else ""
