"""Logs as views show them: how long they are, and their last entries."""

from __future__ import annotations

from typing import Any, NoReturn, get_args

import msgspec

from headway.types.logs import bound
from headway.types.logtypes import is_log_type

__all__ = ["decode_shown"]


class _Shown(msgspec.Struct):
    """The place of a log of which an answer has the last entries."""

    first: int
    """The number of the first one that is there."""
    number: int = 0

    def encode(self, value: Any) -> NoReturn:
        """Refused."""
        msg = "a log that a view shows cannot be appended to"
        raise TypeError(msg)

    def decode(self, entry: Any) -> Any:
        """An entry is there as it is."""
        return entry

    def read(self, start: int, stop: int) -> NoReturn:
        """Refused: these entries were not sent."""
        msg = (
            f"entries {start} to {stop - 1} of the log are not in the answer, which has those from {self.first} on: a "
            "view shows the last ones, of one key more than of many"
        )
        raise LookupError(msg)


class _Held(msgspec.Struct):
    length: int
    last: list[Any]


def decode_shown(log_type: Any, shown: Any) -> Any:
    """For decoders of what views show: the log of which an answer has the length and the last entries.

    >>> from headway.types.logs import Log
    >>> log = decode_shown(Log[str], {"length": 5, "last": ["d", "e"]})
    >>> len(log), log[-1], log[-2:]
    (5, 'e', ['d', 'e'])
    """
    if not is_log_type(log_type):
        return shown  # Whatever it is: nothing is known of the type.
    held: _Held = msgspec.convert(shown, _Held)
    entry_type = (get_args(log_type) or (Any,))[0]
    entries: Any = msgspec.convert(held.last, list[entry_type])  # type: ignore[valid-type]
    first = held.length - len(held.last)
    return bound(_Shown(first), first, tail=entries)
