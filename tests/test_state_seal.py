"""What is sealed comes back as it was, and nothing else comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import CorruptStateError
from headway.state.seal import seal, unseal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    assert unseal(seal(value), "it") == value


@given(st.binary(max_size=40))
def test_what_nobody_has_sealed_is_refused(data: bytes) -> None:
    try:
        value = unseal(data, "the mark")
    except CorruptStateError as error:
        assert str(error).startswith("the mark is damaged")
    else:
        assert seal(value)[4:] == data[4:]


def test_nothing_has_the_checksum_of_nothing() -> None:
    with pytest.raises(CorruptStateError):
        unseal(bytes(4), "it")
