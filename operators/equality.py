"""Whether two values are the same, for operators that tell of changes."""

from typing import Any

import msgspec

__all__ = ["differ"]

_encode = msgspec.msgpack.Encoder(enc_hook=repr, order="deterministic").encode


def differ(one: Any, other: Any) -> bool:
    """Whether two values differ, also once one of them has been stored and loaded again.

    NaN is the same as NaN, at whatever depth. Python alone would say so of one object and not of its copy, and whether
    a state is a copy depends on what memory has room for. Costs a comparison, and two encodings where that tells them
    apart.

    >>> nan = float("nan")
    >>> differ([nan], [float("nan")]), differ({"n": 1}, {"n": 1.0}), differ("a", "b")
    (False, False, True)
    """
    if one == other:
        return False
    try:
        return _encode(one) != _encode(other)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Such as keys that are no text, which have no order of their own here, and integers beyond 64 bits.
        return repr(one) != repr(other)
