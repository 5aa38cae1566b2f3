"""The W3C trace context as data: the text `traceparent`, which says to which trace something belongs."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_traceparent"]

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Whether a text is a trace context that may be handed on.

    >>> is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), is_traceparent("00-1-2-01")
    (True, False)
    """
    return _TRACEPARENT.fullmatch(text) is not None
