"""Encoded positions sort as the positions do and come back as they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.basics.times import MAX_TIME_MS, MIN_TIME_MS
from headway.state.keys import (
    TimerEntry,
    WaitingPosition,
    decode_timer,
    decode_waiting,
    encode_timer,
    encode_waiting,
    escape,
    unescape,
)

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# Few characters, so that texts often are equal, or prefixes of each other.
NEAR_TEXT = st.text(st.sampled_from("\0\x01aé\uffff😀"), max_size=4)
TEXT = ANY_TEXT | NEAR_TEXT
TIMES = st.integers(MIN_TIME_MS, MAX_TIME_MS) | st.sampled_from([MIN_TIME_MS, -1, 0, 1, MAX_TIME_MS])
RANKS = st.sampled_from([0, 1, 255, 256, 65_535])
ENTRIES: st.SearchStrategy[TimerEntry] = st.tuples(TIMES, TEXT, RANKS, TEXT)
POSITIONS: st.SearchStrategy[WaitingPosition] = st.tuples(TIMES, RANKS, TEXT, st.integers(-(2**63), 2**63 - 1))


@given(st.lists(TEXT))
def test_escaped_texts_sort_as_texts(texts: list[str]) -> None:
    assert sorted(texts) == sorted(texts, key=lambda text: escape(text) + b"\xff")
    assert sorted(texts) == sorted(texts, key=lambda text: escape(text) + b"\0")


@given(st.lists(ENTRIES), st.binary(max_size=3))
def test_timer_entries_sort_and_come_back(entries: list[TimerEntry], prefix: bytes) -> None:
    same_rank = [(at_ms, key, 7, name) for at_ms, key, _, name in entries]
    assert sorted(same_rank) == sorted(same_rank, key=encode_timer)
    assert [decode_timer(prefix + encode_timer(entry), len(prefix), entry[2]) for entry in entries] == entries


@given(st.lists(POSITIONS))
def test_waiting_positions_sort_and_come_back(positions: list[WaitingPosition]) -> None:
    assert sorted(positions) == sorted(positions, key=encode_waiting)
    assert [decode_waiting(encode_waiting(position), 0) for position in positions] == positions


def test_long_keys_and_bounds() -> None:
    entries = [(at_ms, "k" * 10_000 + end, 0, "t") for at_ms in (MIN_TIME_MS, MAX_TIME_MS) for end in ("", "\0", "z")]
    assert sorted(entries, key=encode_timer) == entries
    assert unescape(escape("k" * 10_000), 0) == ("k" * 10_000, 10_002)
