"""Records that begin with the number of their schema, as clients of schema registries write them.

They begin with a zero byte and four bytes of a number; the registry knows which schema that is.
"""

from __future__ import annotations

from typing import Final

__all__ = ["framed"]

_MAGIC: Final = b"\x00"
_HEAD: Final = 5


def framed(record: bytes) -> tuple[int, bytes]:
    r"""The number of the schema, and the rest. Raises `ValueError` for a record that does not begin so.

    >>> framed(b"\x00\x00\x00\x00\x07{}")
    (7, b'{}')
    """
    if record[:1] != _MAGIC or len(record) < _HEAD:
        msg = f"it does not begin with the number of a schema, but with {record[:5]!r}"
        raise ValueError(msg)
    return int.from_bytes(record[1:_HEAD], "big"), record[_HEAD:]
