"""What is sealed comes back as it was, and nothing else comes back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import CorruptStateError, IncompatibleStateError
from headway.state.seal import seal, seal_json, unseal, unseal_json

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


class Older(msgspec.Struct):
    """What an earlier version knew of a `Said`."""

    name: str
    format: int = 1
    checksum: str = ""


class Said(msgspec.Struct):
    """A file with a checksum of its own."""

    name: str
    counts: dict[str, int] = {}
    format: int = 1
    checksum: str = ""


SAID = Said("clicks", {"Käse": 7, "b": -1})
WRITTEN = msgspec.json.format(seal_json(SAID), indent=2) + b"\n"


def read(data: bytes, kind: type[msgspec.Struct] = Said) -> msgspec.Struct:
    return unseal_json(data, kind, 1, "said.json", "take another one")


def test_json_comes_back_also_to_who_knows_fewer_or_more_fields() -> None:
    assert read(WRITTEN) == read(seal_json(SAID) + b"\n") == SAID
    assert read(WRITTEN, Older) == Older("clicks")
    assert read(seal_json(Older("clicks")) + b"\n") == Said("clicks")


def test_a_flipped_bit_in_json_is_refused_or_means_nothing() -> None:
    for bit in range(len(WRITTEN) * 8):
        content = bytearray(WRITTEN)
        content[bit // 8] ^= 1 << bit % 8
        with suppress(CorruptStateError, IncompatibleStateError):
            assert read(bytes(content)) == SAID
        # Who knows fewer fields does not read the others, and is to refuse them all the same.
        with suppress(CorruptStateError, IncompatibleStateError):
            assert read(bytes(content), Older) == Older("clicks")


def test_json_that_was_cut_is_refused() -> None:
    for size in range(len(WRITTEN)):
        with pytest.raises(CorruptStateError, match=r"^said\.json (cannot be read|is damaged).*take another one"):
            read(WRITTEN[:size])
