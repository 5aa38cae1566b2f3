"""What a session with a server has to tell a person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from headway.connectors.base import Tell

__all__ = ["Troubles"]

_QUIET_S: Final = 5.0
"""How long a server may be away before a person is told."""


class Troubles:
    """What a session has to tell: at once what is lost, and after a while that a server is away.

    A partition may be in trouble while the server answers otherwise, as when another node has it. So trouble is kept
    for each of them by its name, and for all of the session by the empty name. Used by two threads: one tells, one
    takes.
    """

    def __init__(self, described: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.described = described
        self.last = ""
        """What was wrong last."""
        self._clock_s = clock_s
        self._notices: deque[str] = deque()
        self._down_since_s: dict[str, float] = {}
        self._told: set[str] = set()
        self._found: set[str] = set()

    def tell(self, notice: str) -> None:
        """What should be told, once."""
        self._notices.append(f"{self.described}: {notice}")

    def found(self, what: str = "it") -> None:
        """What is to be read is there."""
        self._found.add(what)

    def missing(self, what: str = "it") -> None:
        """What is to be read is not there: tell whether it has ever been, as far as this session knows.

        >>> troubles, told = Troubles("nats stream ORDERS"), []
        >>> troubles.missing(), troubles.found(), troubles.missing(), troubles.take(told.append)
        (None, None, None, None)
        >>> told
        ['nats stream ORDERS: it is not there yet', 'nats stream ORDERS: it is there no more']
        """
        self.tell(f"{what} is there no more" if what in self._found else f"{what} is not there yet")

    def down(self, reason: str, about: str = "") -> None:
        """The server does not answer, or says that it cannot; `about` a partition, where others may be well."""
        self.last = reason
        since_s = self._down_since_s.setdefault(about, self._clock_s())
        is_all = bool(about) and "" in self._down_since_s  # Then that is told of all partitions together.
        if about not in self._told and not is_all and self._clock_s() - since_s > _QUIET_S:
            self._told.add(about)
            self.tell(f"{reason}; it is tried again" if not about else f"{about}: {reason}; it is tried again")

    def up(self, about: str = "") -> None:
        """It answers."""
        self._down_since_s.pop(about, None)
        self._told.discard(about)

    def take(self, tell: Tell) -> None:
        """Tell all that has gathered."""
        while self._notices:
            tell(self._notices.popleft())
