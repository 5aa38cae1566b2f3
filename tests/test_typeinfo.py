"""What types tell: events that hold events of their own class, and what emitted values are copied for."""

from __future__ import annotations

from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given, settings
from tests.engine_harness import Conditions, conditions
from tests.operator_harness import SLOW, check

import headway as hw
from headway import results
from headway.errors import UserCodeError
from headway.types.isolation import isolator
from headway.types.typeinfo import is_immutable


class Reply(hw.Event):
    """A message, and the one that it answers."""

    user: str
    at: hw.Time
    to: Optional[Reply] = None


class Thread(hw.Event):
    user: str
    replies: list[Thread] = []


class Draft(msgspec.Struct):
    text: str = ""


class Pair(hw.Event):
    first: Reply
    draft: Draft


@pytest.mark.parametrize(
    ("value_type", "expected"),
    [
        (Reply, True),
        (Optional[Reply], True),
        (results.Pair[Reply, Optional[Reply]], True),
        (tuple[int, Reply], True),
        (tuple[int, ...], False),
        (Thread, False),
        (Pair, False),
        (results.Pair[Reply, Draft], False),
        (hw.Json, False),
        (Any, False),
    ],
)
def test_what_cannot_be_changed(value_type: Any, expected: bool) -> None:
    assert is_immutable(value_type) is expected


def test_only_what_can_be_changed_is_copied() -> None:
    reply = Reply("ann", 1, Reply("bob", 0))
    for value_type, value in (
        (Reply, reply),
        (results.Pair[Reply, Optional[Reply]], results.Pair(reply, None)),
    ):
        assert isolator(value_type)(value) is value
    draft = results.Pair(reply, Draft("a"))
    copied = isolator(results.Pair[Reply, Draft])(draft)
    assert copied == draft and copied is not draft and copied.right is not draft.right
    with pytest.raises(UserCodeError, match="is not a Pair"):
        isolator(results.Pair[Reply, Optional[Reply]])("ann")


@settings(SLOW, max_examples=5)
@given(where=conditions())
def test_events_may_hold_events_of_their_class_and_be_parts_of_results(where: Conditions) -> None:
    def make(input_of: Any, output_of: Any) -> hw.Flow:
        flow = hw.Flow("replies")
        replies = flow.source("replies", Reply, input_of("replies"), time="at").key_by("user")
        changed = replies.on_change("changed", by="at", expire_after=20)
        # The result itself, of a class with types as arguments, goes on to another stage.
        changed.key_by(lambda change: change.current.user[::-1]).lag("lagged", expire_after=20).to(
            "out", output_of("out")
        )
        return flow

    log = [{"user": "ann", "at": 1}, {"user": "ann", "at": 2, "to": {"user": "bob", "at": 1}}, {"user": "x", "at": 90}]
    lines = check(make, {"replies": {"0": log}}, where)["out"]
    assert [line["current"]["current"].get("to") for line in lines] == [
        None,
        {"user": "bob", "at": 1, "to": None},
        None,
    ]
