"""`flow.json`: what a state directory belongs to."""

from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Manifest", "OperatorEntry", "SourceEntry", "StageEntry", "state_schema"]


class OperatorEntry(msgspec.Struct, frozen=True):
    """An operator: its rank in its stage and the JSON schema of its state (from `state_schema`)."""

    name: str
    rank: int
    state: dict[str, Any]


class SourceEntry(msgspec.Struct, frozen=True):
    """A source: the number of its slots, and the slot of each partition that was there at the first start."""

    slots: int
    partitions: dict[str, int] = {}


class StageEntry(msgspec.Struct, frozen=True):
    """A stage and its operators in the order of their ranks."""

    name: str
    operators: list[OperatorEntry]


class Manifest(msgspec.Struct, frozen=True):
    """What a state directory belongs to."""

    flow: str
    key_groups: int
    sources: dict[str, SourceEntry]
    stages: list[StageEntry]
    outputs: list[str]
    drained: bool = False
    format: int = 1

    @classmethod
    def load(cls, directory: Path) -> "Manifest | None":
        """The manifest of `directory`; None when there is no such directory or it is empty (but for a lock)."""
        raise NotImplementedError

    def create(self, directory: Path) -> None:
        """Write it atomically, as the first thing in a new state directory."""
        raise NotImplementedError

    def check(self, expected: "Manifest") -> "Manifest":
        """Raise unless the flow that `expected` describes can go on with this; returns what to store from now on."""
        raise NotImplementedError

    @classmethod
    def open(cls, directory: Path, expected: "Manifest") -> "Manifest":
        """Load, check and (where it is new or extended) write the manifest of `directory`: what a run does first."""
        raise NotImplementedError

    @classmethod
    def mark_drained(cls, directory: Path) -> None:
        """Close the books of `directory`: `open` refuses it from now on with `DrainedStateError`."""
        raise NotImplementedError


def state_schema(state_type: type[Any]) -> dict[str, Any]:
    """The JSON schema of a state type."""
    raise NotImplementedError
