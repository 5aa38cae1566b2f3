"""The stored form of histories."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import CorruptStateError, UsageError
from headway.functions.history import COMMANDS, HAPPENINGS, VERSION, Called, Entry, Failed, Failure, decode, encode
from headway.functions.options import CallOptions, RetryPolicy

text = st.text(max_size=5)
numbers = st.integers(0, 2**62)
failures = st.recursive(
    st.builds(Failure, text, text, text, st.booleans()),
    lambda inner: st.builds(Failure, text, text, cause=inner, others=st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)
options = st.builds(
    CallOptions,
    retry=st.none() | st.builds(RetryPolicy, initial=st.integers(0, 10**6), maximum_attempts=st.integers(0, 9)),
    timeout=st.none() | st.integers(0, 10**9),
    queue=text,
    priority=st.integers(-9, 9),
)


@given(st.data())
def test_stored_and_read_back(data: st.DataObject) -> None:
    entry = data.draw(_of(data.draw(st.sampled_from([*HAPPENINGS, *COMMANDS]))))
    stored = encode(entry)
    assert stored[0] == VERSION
    assert decode(stored) == entry
    assert encode(decode(stored)) == stored


def _of(kind: Any) -> st.SearchStrategy[Any]:
    if kind is Called:
        return st.builds(Called, numbers, st.sampled_from(["step", "token"]), text, st.binary(), text, options)
    if kind is Failed:
        return st.builds(Failed, numbers, numbers, failures)
    return _built(kind)


def _built(kind: Any) -> st.SearchStrategy[Any]:
    """Values for each field by its name, as the names are the same everywhere."""
    by_name = {
        "at_ms": numbers,
        "number": numbers,
        "call": numbers,
        "timer": numbers,
        "failure": failures,
        "value": st.binary(max_size=9),
        "arguments": st.binary(max_size=9),
        "by_close": st.booleans(),
        "failures": st.lists(failures, max_size=2).map(tuple),
    }
    texts = {"name", "signal_id", "update_id", "reason", "change_id", "traceparent"}
    chosen = {}
    for field in msgspec.structs.fields(kind):
        if field.name in by_name:
            chosen[field.name] = by_name[field.name]
        elif field.name in texts:
            chosen[field.name] = text
    return st.builds(kind, **chosen)


NUMBERS = {
    "Started": 1,
    "Answered": 2,
    "Signalled": 3,
    "Failed": 4,
    "Fired": 5,
    "UpdateAsked": 6,
    "CancelAsked": 7,
    "TerminateAsked": 8,
    "Called": 20,
    "CallCancelled": 21,
    "TimerSet": 22,
    "TimerCancelled": 23,
    "UpdateAnswered": 24,
    "Patched": 25,
    "Finished": 26,
    "FinishedBadly": 27,
    "Cancelled": 28,
    "Continued": 29,
    "Terminated": 30,
}
"""A number that was used once stands for its type for ever: histories are kept."""


def test_numbers_of_types_are_for_ever() -> None:
    assert {kind.__name__: kind.__struct_config__.tag for kind in (*HAPPENINGS, *COMMANDS)} == NUMBERS


def test_all_types_are_entries() -> None:
    from typing import get_args

    assert set(get_args(Entry)) == {*HAPPENINGS, *COMMANDS}


@given(st.binary(max_size=40))
def test_what_is_none_is_told(data: bytes) -> None:
    try:
        entry = decode(data)
    except CorruptStateError as error:
        assert "history" in str(error)
    else:
        assert decode(encode(entry)) == entry


@pytest.mark.parametrize("name", ["coefficient", "maximum_attempts", "initial"])
def test_policies_that_make_no_sense(name: str) -> None:
    wrong: dict[str, Any] = {"coefficient": 0.5, "maximum_attempts": -1, "initial": "soon"}
    with pytest.raises(UsageError, match=name):
        RetryPolicy(**{name: wrong[name]})


@given(st.integers(0, 10**6), st.floats(1, 1e300), st.integers(0, 10**9), st.integers(1, 10**6))
def test_pauses_grow_to_the_longest(initial: int, coefficient: float, longest: int, attempt: int) -> None:
    if initial > longest:
        with pytest.raises(UsageError, match="longer than maximum_interval"):
            RetryPolicy(initial=initial, coefficient=coefficient, maximum_interval=longest)
        initial, longest = longest, initial
    policy = RetryPolicy(initial=initial, coefficient=coefficient, maximum_interval=longest)
    assert RetryPolicy(initial=initial).maximum_interval_ms == 100 * initial
    pause = policy.pause_ms(attempt)
    assert 0 <= pause <= longest
    assert pause <= policy.pause_ms(attempt + 1)
