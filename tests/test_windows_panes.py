"""Panes: windows merged from them hold what they should in order, at a cost that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.operators.aggregates.base import Aggregate, Bundle
from headway.operators.windows.accumulators import grows
from headway.operators.windows.panes import GrowingPanes, KeptPanes, Panes, SlidingPanes
from headway.operators.windows.results import state_type


class Word(msgspec.Struct):
    letters: list[str] = []


class Spell(Aggregate[Word, str]):
    """The events in their order; `merge` reuses what it is given, as it may."""

    accumulator_type = Word
    result_type = str

    def __init__(self) -> None:
        self.merges = 0

    def bind(self, event_type: Any) -> Spell:
        return self

    def init(self) -> Word:
        return Word()

    def add(self, accumulator: Word, event: str, time_ms: int) -> Word:
        accumulator.letters.append(event)
        return accumulator

    def merge(self, earlier: Word, later: Word) -> Word:
        self.merges += 1
        later.letters[:0] = earlier.letters
        earlier.letters.clear()
        return later

    def result(self, accumulator: Word, at_ms: int) -> str:
        return "".join(accumulator.letters)


def stored(state: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


def in_runs_of_two(bundle: Bundle) -> Panes:
    return SlidingPanes(bundle, run=2)


def in_runs_of_one(bundle: Bundle) -> Panes:
    return SlidingPanes(bundle, run=1)


@pytest.mark.parametrize("kind", [SlidingPanes, in_runs_of_two, in_runs_of_one, KeptPanes])
@given(data=st.data(), size=st.integers(1, 9))
def test_sliding_windows_hold_their_events_in_order(
    kind: Callable[[Bundle], Panes], data: st.DataObject, size: int
) -> None:
    spell = Spell()
    panes = kind(Bundle({"word": spell}, str))
    state = state_type("Some", panes.fields)()
    log: list[tuple[int, str]] = []
    for end in range(1, data.draw(st.integers(1, 25))):
        for letter in data.draw(st.text("xyz", max_size=2)):
            panes.add(state, end - 1, letter, end - 1)
            log.append((end - 1, letter))
        inside = "".join(letter for pane, letter in log if end - size <= pane)
        if data.draw(st.booleans()):
            state = stored(state)
        if inside:
            assert spell.result(panes.peek(state, end - size).word, 0) == inside
            assert spell.result(panes.close(state, end - size, end + 1 - size).word, 0) == inside
        remaining = any(end + 1 - size <= pane for pane, _ in log)
        assert panes.is_empty(state) is not remaining


def test_growing_windows_hold_their_events_in_order() -> None:
    spell = Spell()
    panes = GrowingPanes(Bundle({"word": spell}, str))
    state = state_type("Some", panes.fields)()
    words = []
    for pane in range(6):
        panes.add(state, pane, "abcdef"[pane], pane)
        state = stored(state)
        words.append(spell.result(panes.close(state, 0, 3 if pane == 2 else 0).word, 0))
    assert words == ["a", "ab", "abc", "d", "de", "def"]


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_a_sliding_window_costs_three_merges_whatever_its_size(size: int) -> None:
    spell = Spell()
    panes = SlidingPanes(Bundle({"word": spell}, str))
    state = state_type("Some", panes.fields)()
    for end in range(1, 4 * size):
        panes.add(state, end - 1, "x", end - 1)
        panes.close(state, end - size, end + 1 - size)
    assert spell.merges <= 3 * 4 * size


def test_a_pane_that_is_alone_costs_no_merge_and_is_kept_once() -> None:
    spell = Spell()
    panes = SlidingPanes(Bundle({"word": spell}, str))
    state = state_type("Some", panes.fields)()
    panes.add(state, 7, "x", 7)
    for end in range(8, 107):
        assert spell.result(panes.close(state, end - 100, end + 1 - 100).word, 0) == "x"
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state)) == {"newest": [7, {"letters": ["x"]}]}
    assert spell.result(panes.close(state, 7, 8).word, 0) == "x"
    assert panes.is_empty(state)
    assert spell.merges == 0


def test_what_there_is_none_of_takes_no_space() -> None:
    spell = Spell()
    panes = SlidingPanes(Bundle({"word": spell}, str))
    state = state_type("Some", panes.fields)()
    for end in range(1, 40):
        if end in (1, 2, 3, 9, 10, 30):
            panes.add(state, end - 1, "x", end - 1)
        if not panes.is_empty(state):
            panes.close(state, end - 5, end + 1 - 5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state)) == {}


class Reading(hw.Event):
    at: int
    value: float
    name: str


def test_what_grows() -> None:
    for aggregate in (hw.count(), hw.sum("value"), hw.mean("value"), hw.max("value"), hw.first("name"), hw.last("at")):
        assert not grows(Bundle({"one": aggregate}, Reading)), aggregate
        assert not grows(Bundle({"one": aggregate}, dict)), aggregate
    for growing in (hw.collect("value"), hw.distinct("name")):
        assert grows(Bundle({"fixed": hw.count(), "one": growing}, Reading)), growing
