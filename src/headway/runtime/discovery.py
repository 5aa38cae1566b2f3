"""A process's session with an input: finds its partitions, and tells people what it passes over."""

from __future__ import annotations

from typing import Final, Optional

from headway.connectors.base import Input, Session, Tell

__all__ = ["Discovery"]

_NOTICES_MAX: Final = 20
"""Of one input; more would only repeat the kind."""


class Discovery:
    """Looks for the partitions of an input, at first and then now and again: every `every_ms` where it is given.

    All slots of a process that read the input share one: there may be thousands of files, and to list them for each
    slot would take seconds.

    >>> from headway.connectors.memory import items
    >>> discovery = Discovery(items([]), None, print)
    >>> discovery.look(0) is discovery.look(5_000)
    True
    """

    def __init__(self, given: Input, every_ms: Optional[int], tell: Tell) -> None:
        self._notices: list[str] = []
        self._input = given
        self._session: Optional[Session] = None
        self._tell = tell
        self._every_ms = every_ms
        self._looked_ms: Optional[int] = None
        self._names: Optional[list[str]] = None

    def is_due(self, now_ms: int) -> bool:
        """Whether it is time to look."""
        if self._looked_ms is None:
            return True
        return self._every_ms is not None and now_ms - self._looked_ms >= self._every_ms

    def look(self, now_ms: int) -> list[str]:
        """The partitions that there are, as seen when it was last time to look; the same list as long as they are.

        What the session has noticed meanwhile is told each time, also in a run that looks for partitions only once.
        """
        if self._names is None or self.is_due(now_ms):
            self._looked_ms = now_ms
            names = list(self.session.partitions(self.tell))
            if names != self._names:
                self._names = names
        self.session.notices(self.tell)
        return self._names

    @property
    def session(self) -> Session:
        """What this process reads the input through, begun when something is first asked of it."""
        if self._session is None:
            self._session = self._input.session()
        return self._session

    def close(self) -> None:
        """End the session, if there is one, once all readers are closed."""
        session, self._session = self._session, None
        if session is not None:
            session.notices(self.tell)
            session.close()

    def tell(self, text: str) -> None:
        """Hand a notice on, once."""
        if text not in self._notices and len(self._notices) < _NOTICES_MAX:
            self._notices.append(text)
            self._tell(text)
