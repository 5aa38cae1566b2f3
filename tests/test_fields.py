"""A declared type tells which of its fields can hold a key or a time; what can never be is refused at its line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict, Union

import pytest
from tests.door_harness import GOOD, NEXT, read, run, write
from tests.letters import letters_of

import headway as hw
from headway.errors import FlowError


class Odd(Enum):
    ONE = 1


@dataclass
class Plain:
    at: int
    user: str


class Typed(TypedDict):
    at: int
    user: str


class Sort(str, Enum):
    A = "a"


class Many(hw.Event):
    at: hw.Time
    amount: float = 0.0
    day: Optional[date] = None
    flag: bool = False
    odd: Odd = Odd.ONE
    sort: Sort = Sort.A
    some: Union[str, float] = ""
    kind: Literal["a", 1] = "a"
    parts: list[str] = []
    when: Optional[datetime] = None


class Unknown:
    pass


class Holds(hw.Event):
    at: int
    held: Optional[list[Unknown]] = None


def as_float(event: Any) -> float:
    return 0.5


def declared(event_type: Any, time: Any, key: Any) -> None:
    flow = hw.Flow("declared")
    flow.source("log", event_type, hw.items([]), time=time).key_by(key)


@pytest.mark.parametrize(
    ("event_type", "time", "key", "text"),
    [
        (Many, "nope", "sort", "Many has no field 'nope', its fields are at, amount"),
        (Many, "day", "sort", "'day' of Many is of type date | None, and a time is epoch milliseconds"),
        (Many, "flag", "sort", "'flag' of Many is of type bool, and a time is"),
        (Many, "at", "nope", r"key_by\('nope'\): Many has no field 'nope', its fields are"),
        (Many, "at", "amount", "'amount' of Many is of type float, and a key is text or an integer"),
        (Many, "at", "odd", "'odd' of Many is of type Odd, and a key is"),
        (Many, "at", "parts", "of type list, and a key is"),
        (Many, "at", "when", "of type datetime | None, and a key is"),
        (Many, "at", as_float, "as_float.* returns float, and a key is"),
        (Plain, "at", "nope", "Plain has no field 'nope', its fields are at, user"),
        (Typed, "nope", "user", "Typed has no field 'nope', its fields are at, user"),
        (dict[str, float], "at", "user", "'user' of dict is of type float, and a key is"),
        (list[int], "at", "user", "list has no field 'at'"),
        (
            Unknown,
            "at",
            "user",
            "events of type Unknown: Unknown cannot be kept.* a class that is read back as something else",
        ),
        (Holds, "at", "user", r"Holds.held\[\] \(Unknown\) cannot be kept"),
        (
            Union[Many, Plain],
            "at",
            "user",
            "events of type Many . Plain: they cannot be told apart as bytes .*Type unions may not contain",
        ),
    ],
)
def test_what_can_never_be_is_refused_at_the_declaration(event_type: Any, time: Any, key: Any, text: str) -> None:
    with pytest.raises(FlowError, match=text) as refused:
        declared(event_type, time, key)
    assert "test_fields.py:" in str(refused.value)


@pytest.mark.parametrize("key", ["sort", "some", "kind", "at"])
def test_what_may_be_a_key_is_accepted(key: str) -> None:
    declared(Many, "at", key)


@pytest.mark.parametrize("event_type", [Plain, Typed, hw.Json, Any, dict[str, Any]])
def test_every_kind_of_event_has_its_time_and_key(tmp_path: Path, event_type: Any) -> None:
    write(tmp_path / "a.log", GOOD, {**NEXT, "user": "bob"})
    result = run(tmp_path, event_type)
    assert result.stats.dead_letters == 0
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == ["ann", "bob"]


class Tagged(hw.Event, tag=True):
    at: int
    user: str


class OtherTagged(hw.Event, tag=True):
    at: int
    user: str


def test_a_source_of_several_types_has_its_time_and_key(tmp_path: Path) -> None:
    write(tmp_path / "a.log", {"type": "Tagged", **GOOD}, {"type": "OtherTagged", **NEXT})
    result = run(tmp_path, Union[Tagged, OtherTagged])
    assert result.stats.dead_letters == 0
    assert [line["key"] for line in read(tmp_path / "kept.jsonl")] == ["ann", "bob"]


def test_untyped_data_without_fields_is_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b'[1]\n"x"\n5\nnull\n{"user": "ann", "at": 1}\n')
    result = run(tmp_path, Any)
    assert result.stats.dead_letters == 4
    reasons = [letter["reason"] for letter in letters_of(tmp_path / "state")]
    assert reasons[0] == "time: no field 'at': expected an object, not [1]"
