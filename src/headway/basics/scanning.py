"""Loops over bytes, numbers and records: in C where that is compiled, else as they stand here."""

from __future__ import annotations

from operator import itemgetter
from typing import Any
from zlib import crc32

__all__ = [
    "count_ends",
    "group_of",
    "has_long_fraction",
    "has_long_number",
    "places_of",
    "sort_by_time",
    "sort_columns",
    "sort_records",
    "span_of",
]

try:
    from headway.basics._scan import (
        count_ends,
        group_of,
        has_long_fraction,
        has_long_number,
        places_of,
        sort_by_time,
        sort_columns,
        sort_records,
        span_of,
    )
except ImportError:
    _DIGITS_ALIKE = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
    """A table for `bytes.translate`: after it, what is looked for is one text, which is found at memory's speed."""

    def has_long_number(data: bytes) -> bool:
        """Whether 19 decimal digits stand in a row somewhere: less are an integer of 64 bits, whatever its sign.

        >>> has_long_number(b"-123456789012345678"), has_long_number(b"[-1234567890123456789]")
        (False, True)
        """
        return b"0" * 19 in data.translate(_DIGITS_ALIKE)

    def has_long_fraction(data: bytes) -> bool:
        """Whether seven decimal digits follow a point somewhere: a fraction of a second finer than microseconds.

        >>> has_long_fraction(b'"00:00:01.123456Z"'), has_long_fraction(b'"00:00:01.1234567Z"')
        (False, True)
        """
        return b".0000000" in data.translate(_DIGITS_ALIKE)

    def count_ends(data: bytes) -> tuple[int, int]:
        r"""How many line feeds there are, and how many of them stand between `}` and `{`.

        >>> count_ends(b'{}\n{}\n\n{"a":\n1}')
        (4, 1)
        """
        return data.count(b"\n"), data.count(b"}\n{")

    def span_of(times: list[int]) -> tuple[int, int, bool]:
        """The earliest and the latest of these times, and whether they come in order.

        There is one at least. Raises `OverflowError` for one that does not fit into 64 bits, as C does.

        >>> span_of([5, 5, 7]), span_of([5, 7, 6])
        ((5, 7, True), (5, 7, False))
        """
        ordered = sorted(times)
        if ordered[0] < -(2**63) or ordered[-1] >= 2**63:
            msg = f"{ordered[0]} to {ordered[-1]} do not fit into 64 bits"
            raise OverflowError(msg)
        return ordered[0], ordered[-1], ordered == times

    def places_of(mask: bytes, first: int) -> list[int]:
        r"""The numbers of the bytes that are not 0, where that of the first byte is `first`.

        >>> places_of(b"\1\0\1", 7)
        [7, 9]
        """
        return [number for number, byte in enumerate(mask, first) if byte]

    def group_of(key: str, groups: int) -> int:
        """The key group of `key`, in `range(groups)`: CRC-32 of its UTF-8 bytes, the same everywhere.

        >>> group_of("cart-1", 16)
        4
        """
        return crc32(key.encode()) % groups

    def sort_records(records: list[Any], groups: list[list[Any]]) -> None:
        """Append each record, a tuple with its key at the second place, to the list of its key group.

        >>> groups = [[], [], []]
        >>> sort_records([(5, "a", None), (6, "b", None), (7, "a", None)], groups)
        >>> groups
        [[], [(5, 'a', None), (7, 'a', None)], [(6, 'b', None)]]
        """
        count = len(groups)
        for record in records:
            groups[group_of(record[1], count)].append(record)

    def sort_columns(times: list[int], keys: list[str], values: list[Any], groups: list[list[Any]]) -> None:
        """Append `(time, key, value)` to the list of the key's group; the columns are of one length.

        >>> groups = [[], [], []]
        >>> sort_columns([5, 6], ["a", "b"], [None, None], groups)
        >>> groups
        [[], [(5, 'a', None)], [(6, 'b', None)]]
        """
        sort_records(list(zip(times, keys, values)), groups)

    def sort_by_time(records: list[Any]) -> None:
        """Put records, tuples with their time at the first place, into its order; equal ones stay as they are.

        >>> records = [(7, "a"), (5, "b"), (5, "a")]
        >>> sort_by_time(records), records
        (None, [(5, 'b'), (5, 'a'), (7, 'a')])
        """
        records.sort(key=itemgetter(0))
