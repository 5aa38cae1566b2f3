"""What is asked of a server, and what is found. Nothing is changed there, and nothing is written to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Optional

from headway.connectors.base import Input

__all__ = ["NAMES_SHOWN", "Look", "Named", "Probe"]

NAMES_SHOWN = 50
"""How many topics, streams or tables are listed."""


class Named(NamedTuple):
    """A topic, a stream or a table."""

    name: str
    size: str
    """What is in it, in words, such as `6 partitions, 1,200 records`."""


class Look(NamedTuple):
    """What is found at a server."""

    server: str
    """What it says of itself, such as `NATS 2.10.1, as the user ann`."""
    names: Sequence[Named]
    """What can be read there, by name; at most `NAMES_SHOWN`."""
    more: int = 0
    """How many there are besides."""


class Probe(ABC):
    """One server, by its URL. Raises `UsageError` for a URL that cannot be."""

    unit: str
    """What can be read there: `topic`, `stream` or `table`."""
    extra: str
    """Of Headway, which brings its client."""
    shown: str
    """The server, without what is secret."""
    reference: Optional[str] = None
    """Where its URL stands, `env:NAME` or `file:/path`; None for one that was given as it is."""

    @property
    def units(self) -> str:
        """The plural of the unit."""
        return f"{self.unit}es" if self.unit.endswith("s") else f"{self.unit}s"

    @abstractmethod
    def look(self) -> Look:
        """Connect, be let in, and list. Takes up to some ten seconds.

        Raises `InputError` in words where the server does not answer or refuses, and `UsageError` where the client is
        not installed.
        """

    def input(self, name: str) -> Optional[Input]:
        """What reads one of the names from its start; None where Headway has no source for it."""
        return None

    def source(self, name: str) -> str:
        """How a flow would write that input, as Python."""
        return ""
