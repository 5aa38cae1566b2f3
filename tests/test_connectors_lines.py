"""Chunks of lines decode as if each line were decoded by itself, whatever the decoder of buffers accepts."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.connectors.lines import LinesChunk
from headway.types.decoding import LineCodec
from headway.types.schema import Event, Json


class Item(Event):
    n: int = 0
    text: str = ""


FRAGMENTS = [
    b"\n", b"\r\n", b"\r", b" ", b"{", b"}", b"{}", b'{"n":1}', b'{"n":', b"2}", b",", b'{"n":"x"}', b"[", b"]", b"7",
    b"[{}]", b'"', b'{"text":"\xc3\xa9"}', b"\xff", b'{"text":"\xff"}', b'{"other":{"a":{}}}', b'{"other":',
    b'{"text":"}\\n{"}',
]  # fmt: skip


def one_by_one(data: bytes, first: int, event_type: Any) -> tuple[list[Any], list[int], list[tuple[int, bytes]]]:
    """The straightforward way: events, their ordinals, and the bad lines."""
    codec = LineCodec(event_type)
    events: list[Any] = []
    ordinals: list[int] = []
    bad: list[tuple[int, bytes]] = []
    for number, line in enumerate(data.split(b"\n"), first):
        if not line.strip(b" \t\r"):
            continue
        try:
            line.decode()
            events.append(codec.decode(line))
            ordinals.append(number)
        except ValueError:
            bad.append((number, line.removesuffix(b"\r")))
    return events, ordinals, bad


@pytest.mark.parametrize("event_type", [Item, Json, int])
@given(data=st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join), first=st.integers(0, 9))
@example(data=b'{"n":\n1}\n{}{}\n', first=0)
@example(data=b'{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{"n":\n{}\n{}', first=3)
@example(data=b"{}\r{}\n\n", first=0)
def test_decodes_as_line_by_line(event_type: Any, data: bytes, first: int) -> None:
    decoded = LinesChunk(data, first, 0).decode(LineCodec(event_type))
    bad = [(record.ordinal, record.raw) for record in decoded.bad]
    assert (decoded.events, list(decoded.ordinals), bad) == one_by_one(data, first, event_type)


def test_text_that_is_not_utf_8_is_bad_even_in_a_field_that_nobody_reads() -> None:
    lines = [b'{"n": %d, "other": "\xc3\xa9"}' % number for number in range(20)]
    lines[7] = b'{"n": 7, "other": "\xc3"}'
    decoded = LinesChunk(b"\n".join(lines), 0, 0).decode(LineCodec(Item))
    assert [record.ordinal for record in decoded.bad] == [7]
    assert len(decoded.events) == 19


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_good_chunks_are_one_call_of_the_codec(line_end: bytes) -> None:
    calls: list[bytes] = []
    codec = LineCodec(Item)
    decode_lines = codec.decode_lines

    def recorded(data: bytes) -> list[Any]:
        calls.append(data)
        return decode_lines(data)

    codec.decode_lines = recorded
    data = line_end.join([b'{"n": 1}', b'{"text": "\xc3\xa9"}', b"{}"])
    decoded = LinesChunk(data, 5, 0).decode(codec)
    assert calls == [data]
    assert decoded.ordinals == range(5, 8)
    assert decoded.events == [Item(n=1), Item(text="é"), Item()]


def test_one_bad_line_costs_few_decoded_bytes() -> None:
    decoded_bytes = 0
    codec = LineCodec(Item)
    decode_lines, decode = codec.decode_lines, codec.decode

    def counting_lines(data: bytes) -> Any:
        nonlocal decoded_bytes
        decoded_bytes += len(data)
        return decode_lines(data)

    def counting(data: bytes) -> Any:
        nonlocal decoded_bytes
        decoded_bytes += len(data)
        return decode(data)

    codec.decode_lines, codec.decode = counting_lines, counting
    lines = [b'{"n": %d}' % number for number in range(4096)]
    lines[1234] = b'{"n": oops}'
    data = b"\n".join(lines) + b"\n"
    decoded = LinesChunk(data, 0, 0).decode(codec)
    assert len(decoded.events) == 4095
    assert [record.ordinal for record in decoded.bad] == [1234]
    assert decoded_bytes < 4 * len(data)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"n": 1', "Input data was truncated"),
        (b'{"n": "one"}', "Expected `int`, got `str` - at `$.n`"),
        (b'{"n": 1}{"n": 2}', "JSON is malformed: trailing characters (byte 9)"),
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff, number 10 of the text (invalid start byte)"),
        (b'{"other": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_records_tell_where_and_why(line: bytes, reason: str) -> None:
    data = b'{"n": 1}\r\n' + line + b'\r\n{"n": 3}\r\n'
    decoded = LinesChunk(data, 10, 1000, "a.jsonl ").decode(LineCodec(Item))
    (record,) = decoded.bad
    assert (record.ordinal, record.position, record.reason) == (11, "a.jsonl byte 1010", reason)
    assert record.raw == line
    assert decoded.events == [Item(n=1), Item(n=3)]
    assert list(decoded.ordinals) == [10, 12]


def test_halving_is_not_quadratic_when_every_line_is_bad() -> None:
    data = b"nonsense\n" * 20_000
    start = time.process_time()
    decoded = LinesChunk(data, 0, 0).decode(LineCodec(Item))
    assert len(decoded.bad) == 20_000
    assert time.process_time() - start < 5


def test_events_of_the_model_are_those_of_json() -> None:
    lines = [{"n": number, "text": "x" * number} for number in range(50)]
    data = b"\n".join(json.dumps(line).encode() for line in lines)
    assert LinesChunk(data, 0, 0).decode(LineCodec(Json)).events == lines
    assert msgspec.to_builtins(LinesChunk(data, 0, 0).decode(LineCodec(Item)).events) == lines
