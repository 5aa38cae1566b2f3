"""What is decoded can be stored: integers of 64 bits, instants in UTC, fractions that are cut."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway as hw
from headway.basics.scanning import has_long_fraction, has_long_number
from headway.basics.times import parse_time
from headway.connectors.lines import LinesChunk
from headway.types.decoding import LineCodec


class Note(hw.Event):
    note: int = 0
    tags: list[int] = []
    any: Any = None
    text: str = ""
    rate: float = 0.0


class Paid(hw.Event):
    at: Optional[dt.datetime] = None
    note: str = ""
    time: Optional[dt.time] = None
    length: Optional[dt.timedelta] = None
    by: dict[dt.datetime, str] = {}
    amount: int = 0


def decoded(event_type: Any, *lines: bytes) -> Any:
    return LinesChunk(b"\n".join(lines) + b"\n", 0, 0).decode(LineCodec(event_type))


@settings(deadline=None)
@given(st.binary(max_size=90) | st.text("0123456789-.", max_size=90).map(str.encode))
def test_long_numbers_and_fractions_are_found(data: bytes) -> None:
    assert has_long_number(data) == (re.search(rb"[0-9]{19}", data) is not None)
    assert has_long_fraction(data) == (re.search(rb"\.[0-9]{7}", data) is not None)


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70) | st.sampled_from([2**64, 2**64 - 1, -(2**63), -(2**63) - 1]), st.booleans())
def test_integers_beyond_64_bits_are_bad_records(number: int, alone: bool) -> None:
    fits = -(2**63) <= number < 2**64
    line = b'{"at": 1, "note": %d}' % number
    others = [] if alone else [b'{"at": 1, "note": 1}']
    for event_type in (Note, hw.Json):
        found = decoded(event_type, line, *others)
        assert len(found.events) == fits + len(others)
        if not fits:
            assert found.bad[0].raw == line
            assert str(number) in found.bad[0].reason and "note" in found.bad[0].reason


@pytest.mark.parametrize("place", [b'"tags": [1, %d]', b'"any": {"x": [%d]}'])
def test_integers_are_looked_for_in_all_of_an_event(place: bytes) -> None:
    found = decoded(Note, b"{" + place % 2**64 + b"}", b"{" + place % 5 + b"}")
    assert len(found.events) == len(found.bad) == 1


def test_digits_of_text_and_of_floats_are_no_integers() -> None:
    line = b'{"text": "123456789012345678901234", "rate": 0.1234567890123456789}'
    assert decoded(Note, line).events == [Note(text="123456789012345678901234", rate=0.12345678901234568)]
    assert decoded(hw.Json, line).events == [msgspec.json.decode(line)]
    assert decoded(Note, b'{"rate": 123456789012345678901}').events[0].rate == 123456789012345678901.0


def test_instants_are_in_utc_and_of_the_years_that_there_are() -> None:
    lines = [
        b'{"at": "2024-05-01T01:30:00+02:00"}',
        b'{"at": "0001-01-01T00:00:00+01:00"}',
        b'{"at": "9999-12-31T23:59:59-05:00"}',
        b'{"at": "2024-05-01T01:30:00"}',
        b'{"by": {"2024-05-01T01:30:00+02:00": "x"}}',
    ]
    found = decoded(Paid, *lines)
    instant = dt.datetime(2024, 4, 30, 23, 30, tzinfo=dt.timezone.utc)
    assert found.events == [
        Paid(at=instant),
        Paid(at=dt.datetime.fromisoformat("2024-05-01T01:30")),
        Paid(by={instant: "x"}),
    ]
    assert found.events[0].at.hour == 23
    assert [bad.raw for bad in found.bad] == lines[1:3]
    assert "the instant 9999-12-31T23:59:59-05:00 is outside the years 1 to 9999" in found.bad[1].reason


def floored(stamp: str) -> dt.datetime:
    whole, _, fraction = stamp[:-1].partition(".")
    return dt.datetime.fromisoformat(f"{whole}.{fraction:0<6.6}+00:00")


STAMPS = st.sampled_from(["2024-12-31T23:59:59", "9999-12-31T23:59:59", "0001-01-01T00:00:00"])
FRACTIONS = st.sampled_from(["", "9" * 6, "9" * 7, "9" * 12, "1234565", "0000000001", "0" * 9])


@settings(deadline=None)
@given(st.lists(st.tuples(STAMPS, FRACTIONS, STAMPS, FRACTIONS), min_size=1, max_size=12), st.booleans())
def test_fractions_are_cut_and_text_is_left(parts: list[tuple[str, str, str, str]], with_text: bool) -> None:
    lines, expected = [], []
    for stamp, fraction, other, other_fraction in parts:
        text = f"{stamp}.{fraction or 0}Z"
        note = f"at {other}.{other_fraction or 0}Z: took 1.{other_fraction or 0}S" if with_text else ""
        lines.append(msgspec.json.encode({"at": text, "note": note}))
        expected.append(Paid(at=floored(text), note=note))
    assert decoded(Paid, *lines).events == expected
    assert [decoded(Paid, line).events[0] for line in lines] == expected


def test_times_of_day_and_durations_are_cut_too() -> None:
    line = b'{"time": "23:59:59.9999999", "length": "PT1.9999999S", "note": "1.9999999S"}'
    event = decoded(Paid, line).events[0]
    assert event.time == dt.time(23, 59, 59, 999_999)
    assert event.length == dt.timedelta(seconds=1, microseconds=999_999)
    assert event.note == "1.9999999S"


def test_the_time_of_an_event_is_floored() -> None:
    assert parse_time("2024-12-31T23:59:59.9999999Z") == parse_time("2025-01-01T00:00:00Z") - 1
    assert parse_time("8999-12-31T23:59:59.999999999999Z") == parse_time("8999-12-31T23:59:59.999Z")


def test_objects_that_python_made_are_settled() -> None:
    items: list[Any] = [{"at": dt.datetime(2024, 5, 1, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))}, {"at": {1}}]
    reader = hw.items(items).open("items", None, follow=False)
    chunk = reader.read(1)
    assert chunk is not None
    found = chunk.decode(LineCodec(hw.Json))
    assert found.events[0]["at"].hour == 23
    assert all("set" in bad.reason for bad in found.bad)
