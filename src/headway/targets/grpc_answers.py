"""What the answer of a gRPC service means for a trigger; the services are those of workflow engines.

The same two questions as for HTTP (`headway.targets.answers`) decide: is it about this trigger, and will it change?
"""

from __future__ import annotations

from typing import Final

from headway.targets.answers import REASON_MAX
from headway.targets.base import Answer, Outcome

__all__ = ["answer_for_code"]

_ABOUT_CONTENT: Final = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE"})
_BUSY: Final = "RESOURCE_EXHAUSTED"
_TOO_LARGE: Final = "larger than max"
"""A message that is too large has the code of a service that is busy; only its text tells them apart."""


def answer_for_code(code: str, message: str) -> Answer:
    """The answer to one attempt that has failed, by the name of a gRPC code.

    >>> answer_for_code("UNAVAILABLE", "connection refused").outcome.value
    'retry'
    >>> answer_for_code("INVALID_ARGUMENT", "blob too large").outcome.value
    'never'
    >>> answer_for_code("RESOURCE_EXHAUSTED", "rate limit exceeded").is_busy
    True
    """
    said = " ".join(message.split())
    reason = f"{code}: {said}"[:REASON_MAX] if said else code
    if code in _ABOUT_CONTENT or (code == _BUSY and _TOO_LARGE in said):
        return Answer(Outcome.NEVER, reason)
    return Answer(Outcome.RETRY, reason, is_busy=code == _BUSY)
