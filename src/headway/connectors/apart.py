"""Decoding records of which some may be bad: the good ones in blocks, the bad ones named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from headway.connectors.base import BadRecord, Decoded
from headway.formats.base import UNDECODABLE, Decoder

__all__ = ["bad_reason", "decode_apart"]

_SMALL_BLOCK: Final = 8


def decode_apart(
    records: Sequence[bytes],
    ordinals: Sequence[int],
    decoder: Decoder,
    record_of: Callable[[int], tuple[str, bytes]],
) -> Decoded:
    r"""Decode records with these ordinals; `record_of` gives the place and the bytes of one, by its ordinal.

    Bad ones are found by halving, so one of them costs about as much again as all.

    >>> from headway.formats.plain import Text
    >>> found = decode_apart([b"a", b"\xff", b"c"], [4, 5, 7], Text().decoder(str), lambda ordinal: ("", b""))
    >>> found.events, found.ordinals, [(bad.ordinal, bad.reason[:9]) for bad in found.bad]
    (['a', 'c'], [4, 7], [(5, 'not UTF-8')])
    """
    events: list[Any] = []
    kept: list[int] = []
    bad: list[BadRecord] = []
    pending = [(0, len(records))]
    while pending:
        low, high = pending.pop()
        if high - low > _SMALL_BLOCK:
            try:
                events += decoder.decode_records(records[low:high])
                kept += ordinals[low:high]
            except UNDECODABLE:
                middle = (low + high) // 2
                pending += [(middle, high), (low, middle)]
            continue
        for number in range(low, high):
            try:
                events.append(decoder.decode_record(records[number]))
                kept.append(ordinals[number])
            except UNDECODABLE as error:
                position, raw = record_of(ordinals[number])
                bad.append(BadRecord(ordinals[number], position, bad_reason(error), raw))
    return Decoded(events, kept, bad)


def bad_reason(error: Exception) -> str:
    """Why a record could not be decoded, from what the decoder raised."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"not UTF-8: byte 0x{byte:02x}, number {error.start} of the text ({error.reason})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)
