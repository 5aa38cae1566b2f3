"""What is said of two schemas holds for everything that is stored under the first of them."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from tests.schema_specs import Spec, edits_of, plain, reread, structs, type_of, values_of, whole

import headway as hw
from headway.errors import FlowError
from headway.operators.patterns.match import MatchPattern
from headway.state.manifest import OperatorEntry
from headway.state.schemas import SchemaChange, following, schema_changes
from headway.state.typeschema import state_schema


def entry(state_type: Any, version: int = 1) -> OperatorEntry:
    return OperatorEntry(id=1, state=state_schema(state_type), version=version)


def changes(before: Any, after: Any) -> list[SchemaChange]:
    return schema_changes(entry(before), entry(after), migrates=False)


def refused(before: Any, after: Any) -> list[str]:
    return [change.text for change in changes(before, after) if change.refused]


def check_reread(state: Any, before: Any, after: Any, spec: Spec) -> None:
    """What is stored of a state of one type is read as another as the model says."""
    data = msgspec.msgpack.encode(state)
    found = msgspec.msgpack.decode(data, type=after)
    assert whole(found) == reread(plain(state, msgspec.msgpack.decode(data)), spec)


@given(st.data())
def test_what_is_accepted_can_be_read(data: st.DataObject) -> None:
    old = data.draw(structs(is_state=True))
    new = data.draw(edits_of(old, is_state=True))
    before, after = type_of(old), type_of(new)
    if not refused(before, after):
        event("accepted")
        check_reread(data.draw(values_of(old, before)), before, after, new)


@given(st.data())
def test_classes_that_have_nothing_to_do_with_each_other_are_not_mixed_up(data: st.DataObject) -> None:
    old, new = data.draw(structs(is_state=True)), data.draw(structs(is_state=True))
    before, after = type_of(old), type_of(new)
    if not refused(before, after):
        event("accepted")
        check_reread(data.draw(values_of(old, before)), before, after, new)


@given(st.data())
def test_free_changes_are_accepted(data: st.DataObject) -> None:
    old = data.draw(structs(is_state=True))
    new = data.draw(edits_of(old, free=True, is_state=True))
    before, after = type_of(old), type_of(new)
    assert refused(before, after) == []
    check_reread(data.draw(values_of(old, before)), before, after, new)


@given(st.data())
def test_a_chain_of_changes_leaves_no_state_behind(data: st.DataObject) -> None:
    spec = data.draw(structs(is_state=True))
    made = type_of(spec)
    known = entry(made)
    stored = [(data.draw(values_of(spec, made)), made)]
    for _ in range(3):
        spec = data.draw(edits_of(spec, free=data.draw(st.booleans()), is_state=True))
        made = type_of(spec)
        if any(change.refused for change in schema_changes(known, entry(made), migrates=False)):
            break
        known = following(known, entry(made))
        stored.append((data.draw(values_of(spec, made)), made))
        for state, before in stored:
            check_reread(state, before, made, spec)


@given(st.data())
def test_the_same_class_has_the_same_schema(data: st.DataObject) -> None:
    spec = data.draw(structs(is_state=True))
    assert state_schema(type_of(spec)) == state_schema(type_of(spec))
    assert changes(type_of(spec), type_of(spec)) == []
    stored = msgspec.json.encode(entry(type_of(spec)))
    assert msgspec.json.decode(stored, type=OperatorEntry) == entry(type_of(spec)), "a manifest gives it back"


def test_a_field_that_comes_back_must_fit_what_was_not_written_meanwhile() -> None:
    first = msgspec.defstruct("Cart", [("total", int, 0), ("note", int, 0)])
    second = msgspec.defstruct("Cart", [("total", int, 0)])
    third = msgspec.defstruct("Cart", [("total", int, 0), ("note", str, "")])
    known = following(entry(first), entry(second))
    assert refused(second, third) == []
    [new, change] = schema_changes(known, entry(third), migrates=False)
    assert not new.refused
    assert change.text == "Cart.note was int, now it is str (in states not written since an earlier change)"
    assert change.refused
    assert following(known, entry(third, version=2)).former == [], "states of older versions are migrated"
    assert following(known, entry(second)).former == known.former
    assert following(known, entry(first)).former == [entry(second).state]


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class More(enum.Enum):
    HIGH = "high"
    LOW = "low"
    TOP = "top"


class Place(NamedTuple):
    x: int
    y: int = 0


class Loose(TypedDict, total=False):
    x: int


class Card(msgspec.Struct, tag="card"):
    number: str = ""


class Cash(msgspec.Struct, tag="cash"):
    cents: int = 0


class Gift(msgspec.Struct, tag="gift"):
    code: str = ""


@dataclasses.dataclass
class Sized:
    x: int = 9


class Node(msgspec.Struct):
    value: int = 0
    next: Optional[Node] = None


class Chain(msgspec.Struct):
    value: float = 0.0
    next: Optional[Chain] = None


FREE: list[tuple[Any, Any, Any]] = [
    (int, float, 3),
    (int, Optional[int], 3),
    (int, Optional[float], 2**60),
    (int, Union[int, str], 3),
    (int, Union[float, str], 3),
    (int, Any, -1),
    (Optional[int], Any, None),
    (bytes, Any, b"\xff"),
    (list[int], list[float], [1, 2]),
    (tuple[int, int], list[int], (1, 2)),
    (tuple[int, int], tuple[float, int], (1, 2)),
    (tuple[int, ...], list[int], (1, 2, 3)),
    (dict[str, int], dict[str, Optional[int]], {"a": 1}),
    (dict[int, str], dict[int, Any], {1: "a"}),
    (dict[int, str], dict[Any, Any], {1: "a"}),
    (dict[bytes, int], dict[bytes, float], {b"a": 1}),
    (Literal["a"], Literal["a", "b"], "a"),
    (Literal["a"], str, "a"),
    (Literal["low"], Level, "low"),
    (Literal[1], int, 1),
    (Level, More, Level.HIGH),
    (Level, str, Level.LOW),
    (dict[Level, int], dict[More, int], {Level.LOW: 1}),
    (Optional[Literal["a"]], Literal["a", None], None),
    (Literal["a", None], Optional[str], "a"),
    (Place, Place, Place(1, 2)),
    (Loose, Loose, {"x": 1}),
    (Loose, Sized, {"x": 1}),
    (Sized, Loose, Sized(5)),
    (Annotated[int, msgspec.Meta(ge=3)], int, 3),
    (Annotated[int, msgspec.Meta(ge=3)], Annotated[int, msgspec.Meta(ge=1)], 3),
    (Annotated[datetime, msgspec.Meta(tz=True)], datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
    (Union[Card, Cash], Union[Card, Cash, Gift], Cash(7)),
    (Union[Card, Cash], Union[Gift, Cash, Card, None], Card("x")),
    (Card, Union[Cash, Card], Card("x")),
    (Card, Card, Card("x")),
    (Node, Node, Node(1, Node(2))),
    (Node, Optional[Node], Node(1, Node(2))),
    (Node, Optional[Chain], Node(1, Node(2))),
]
NOT_FREE = [
    (float, int, "float, now it is int"),
    (Optional[int], int, "int | None, now it is int"),
    (int, str, "int, now it is str"),
    (str, bytes, "str, now it is bytes"),
    (str, datetime, "str, now it is datetime"),
    (datetime, str, "datetime, now it is str"),
    (datetime, Any, "datetime, now it is Any"),
    (datetime, Annotated[datetime, msgspec.Meta(tz=True)], r"datetime, now it is datetime \(timezone True\)"),
    (Any, int, "Any, now it is int"),
    (bool, int, "bool, now it is int"),
    (int, Union[Literal[1, 2], float], "int, now it is one of 1, 2 | float"),
    (list[int], tuple[int, int], r"list\[int\], now it is tuple\[int, int\]"),
    (tuple[int, int], tuple[int, int, int], r"was stored as \(int, int\), without names; now it is \(int, int, int\)"),
    (dict[int, str], dict[str, str], r"dict\[int, str\], now it is|\(its keys\) was int, now it is str"),
    (dict[int, str], dict[float, str], r"\(its keys\) was int, now it is float"),
    (dict[str, int], list[int], r"dict\[str, int\], now it is list\[int\]"),
    (dict[str, datetime], dict[str, Any], r"\[\] was datetime, now it is Any"),
    (Literal["a", "b"], Literal["a"], "one of 'a', 'b', now it is one of 'a'"),
    (str, Level, "str, now it is Level"),
    (More, Level, "More, now it is Level"),
    (int, Annotated[int, msgspec.Meta(ge=3)], r"int, now it is int \(minimum 3\)"),
    (Place, list[int], r"Place"),
    (Card, Cash, "Cash.type was one of 'card', now it is one of 'cash'"),
    (Union[Card, Cash], Card, r"Card \| Cash, now it is Card"),
    (Loose, Place, "Loose, now it is Place"),
    (Card, dict[str, Any], r"Card, now it is dict\[str, Any\]"),
]


def with_field(field_type: Any) -> Any:
    return msgspec.defstruct("Cart", [("it", field_type)])


def json_of(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize(("before", "after", "value"), FREE, ids=str)
def test_a_field_may_take_more_values(before: Any, after: Any, value: Any) -> None:
    assert refused(with_field(before), with_field(after)) == []
    stored = msgspec.msgpack.encode(with_field(before)(value))
    assert msgspec.msgpack.decode(stored, type=with_field(before)).it == value
    found = msgspec.msgpack.decode(stored, type=with_field(after)).it
    assert json_of(found) == json_of(value)


@pytest.mark.parametrize(("before", "after", "text"), NOT_FREE, ids=str)
def test_other_types_are_refused_by_name(before: Any, after: Any, text: str) -> None:
    [change] = [change for change in changes(with_field(before), with_field(after)) if change.refused]
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(change.text)
    assert change.next_step.startswith("give the state's class state_version = 2 and a migrate(cls, old, version)")


def test_fields_that_come_and_go_are_told() -> None:
    before = msgspec.defstruct("Cart", [("total", int, 0), ("note", str, ""), ("limit", int, 5)])
    after = msgspec.defstruct("Basket", [("limit", int, 7), ("total", int, 0), ("sku", str, "none")])
    assert [str(change.text) for change in changes(before, after)] == [
        "the default of Basket.limit was 5, now 7: what is as a new state is not stored, and has the new one",
        "Basket.sku is new: states of before have its default, 'none'",
        "Basket.note is gone: it is dropped from a state that is next written",
    ]


def test_nested_classes_are_compared_once() -> None:
    item: Any = msgspec.defstruct("Item", [("n", int, 0)])
    other: Any = msgspec.defstruct("Item", [("n", str, "")])
    before = msgspec.defstruct("Cart", [("first", Optional[item], None), ("all", list[item], [])])
    after = msgspec.defstruct("Cart", [("first", Optional[other], None), ("all", list[other], [])])
    assert refused(before, after) == ["Item.n was int, now it is str"]


def test_a_field_renamed_in_storage_is_the_same_field() -> None:
    before = msgspec.defstruct("Cart", [("total", int, 0)])
    after = msgspec.defstruct("Cart", [("cents", int, msgspec.field(default=0, name="total"))])
    assert changes(before, after) == []


def test_what_may_not_be_stored_may_not_be_needed() -> None:
    field = [("n", int, 0), ("m", int, 0)]
    omitting = msgspec.defstruct("Item", field, omit_defaults=True)
    stored = msgspec.defstruct("Item", field)
    needing = msgspec.defstruct("Item", [("n", int), ("m", int, 0)], kw_only=True)
    assert refused(with_field(stored), with_field(needing)) == []
    assert refused(with_field(omitting), with_field(needing)) == [
        "Item.n has no default, and is not in every state that is stored"
    ]


def test_a_state_of_which_nothing_is_left_is_refused() -> None:
    before = msgspec.defstruct("Wait", [("since", int, 0), ("start", str, "")])
    after = msgspec.defstruct("Limit", [("due", int, 0)])
    assert refused(before, after) == ["Limit has no field of what it was, Wait (since, start): nothing would be kept"]
    assert refused(before, dict) == ["its state was Wait, now it is dict[Any, Any]"]
    assert refused(dict, before) == ["its state was dict[Any, Any], now it is Wait"]


def kept_for(pattern: Any) -> Any:
    """The state of an operator that finds a pattern."""
    return MatchPattern(pattern).bind(hw.Json).state_type


def test_partial_matches_of_another_pattern_are_refused() -> None:
    chain = hw.pattern("a", kind="a").followed_by("b", kind="b")
    general = hw.pattern("a", kind="a").followed_by("b", kind="b").one_or_more().allow_combinations()
    for pattern in (chain, general):
        assert changes(kept_for(pattern), kept_for(pattern)) == []
        [text] = refused(kept_for(pattern), kept_for(pattern.followed_by("c", kind="c")))
        assert "State.runs was kept for the pattern" in text or "State.steps was kept for the pattern" in text
    [text] = refused(kept_for(chain), kept_for(general))
    assert text.startswith("PatternState has no field of what it was, ChainState (steps): nothing would be kept")


def test_versions_decide_before_schemas_do() -> None:
    old, new = with_field(int), with_field(str)
    [lower] = schema_changes(entry(old, 3), entry(old, 2), migrates=True)
    assert lower.refused
    assert lower.text == "states of version 3 are stored, and the flow has version 2"
    assert lower.next_step == "run a version of the flow whose state_version is 3 or more"
    [lost] = schema_changes(entry(old, 1), entry(new, 2), migrates=False)
    assert lost.refused
    assert "nothing migrates them" in lost.text
    [told] = schema_changes(entry(old, 1), entry(new, 3), migrates=True)
    assert not told.refused
    assert told.text == "each state of version 1 is migrated to version 3 when it is next read"
    [same] = schema_changes(entry(old, 2), entry(new, 2), migrates=True)
    assert same.refused
    assert "state_version = 3" in same.next_step


def test_a_migration_that_is_gone_is_told() -> None:
    with_one = msgspec.structs.replace(entry(with_field(int), 2), migrates=True)
    assert schema_changes(with_one, with_one, migrates=True) == []
    [told] = schema_changes(with_one, entry(with_field(int), 2), migrates=False)
    assert not told.refused
    assert told.text.startswith("nothing migrates states of versions below 2 any more")


def test_a_type_that_cannot_be_stored_has_no_schema() -> None:
    for wrong in (object, set[int], list[frozenset[int]]):
        with pytest.raises(FlowError, match=r"cannot be (a state|stored)"):
            state_schema(wrong)
