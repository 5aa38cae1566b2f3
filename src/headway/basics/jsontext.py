"""Values of users as JSON text, or an error that says which value has no such form."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.errors import UsageError

__all__ = ["shown", "to_json"]

_SHOWN_MOST: Final = 100
_encoder: Final = msgspec.json.Encoder()


def to_json(value: Any, what: str) -> bytes:
    """A value as JSON text. Raises `UsageError`, which names `what`, for one that has no such form.

    >>> to_json({"order": 17}, "the result")
    b'{"order":17}'
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        msg = f"{what} cannot be written as JSON: {error}: {shown(value)}"
        raise UsageError(msg) from None


def shown(value: Any) -> str:
    """A value for messages, cut short where it is long.

    >>> shown("x" * 1_000)[-5:]
    'xx...'
    """
    text = repr(value)
    return text if len(text) <= _SHOWN_MOST else f"{text[: _SHOWN_MOST - 3]}..."
