"""What is said of an input that has no partition."""

from __future__ import annotations

from headway.connectors.base import Input
from headway.connectors.remote import RemoteInput
from headway.connectors.then import ThenInput

__all__ = ["absence", "has_a_name"]


def has_a_name(given: Input) -> bool:
    """Whether it is a log that a server has under a name, and no pattern, which may match nothing yet."""
    return isinstance(given.live if isinstance(given, ThenInput) else given, RemoteInput)


def absence(given: Input) -> str:
    """What is wrong, with the next step; others may follow behind a comma.

    >>> from headway.connectors.files import files
    >>> absence(files("events/*.jsonl"))
    'files events/*.jsonl matches nothing; check the path'
    """
    words = "is not there; make it, or check its name" if has_a_name(given) else "matches nothing; check the path"
    return f"{given.describe()} {words}"
