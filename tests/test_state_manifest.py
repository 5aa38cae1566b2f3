"""A state directory belongs to one flow; what does not fit is refused with the difference and the next step."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import CorruptStateError, DrainedStateError, FlowError, IncompatibleStateError
from headway.state.lock import DirectoryLock
from headway.state.manifest import Drain, Manifest, OperatorEntry, SourceEntry, StageEntry, state_schema


class Item(msgspec.Struct):
    sku: str = ""


class Cart(msgspec.Struct):
    total: int = 0
    items: list[Item] = []


def schema(**fields: Any) -> dict[str, Any]:
    """The schema of a class Cart with other fields."""
    return state_schema(msgspec.defstruct("Cart", [(name, *field) for name, field in fields.items()], kw_only=True))


def manifest(**changes: Any) -> Manifest:
    operators = [
        OperatorEntry(name="cart", rank=0, state=changes.pop("state", state_schema(Cart))),
        OperatorEntry(name="seen", rank=1, state=state_schema(dict)),
    ]
    made = Manifest(
        flow="shop",
        key_groups=16,
        sources={"clicks": SourceEntry(slots=4)},
        stages=[StageEntry(name="carts", operators=changes.pop("operators", operators))],
        outputs=["triggers"],
    )
    return msgspec.structs.replace(made, **changes)


def test_the_first_start_writes_it_and_the_next_finds_it(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    assert Manifest.load(directory) is None
    assert Manifest.open(directory, manifest()) == manifest()
    assert Manifest.load(directory) == manifest()
    assert Manifest.open(directory, manifest()) == manifest()
    stored = json.loads((directory / "flow.json").read_text())
    assert stored["format"] == 2
    assert stored["stages"][0]["operators"][0]["rank"] == 0
    assert [path.name for path in directory.iterdir()] == ["flow.json"]


def test_a_start_that_was_killed_early_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "flow.json.tmp").write_text("{")
    with DirectoryLock.acquire(tmp_path):
        assert Manifest.open(tmp_path, manifest()) == manifest()


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(
        IncompatibleStateError, match=rf"{tmp_path} is not a state directory: .* holds thesis.txt; give"
    ):
        Manifest.open(tmp_path, manifest())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "x"}', '{"format": 2, "flow": "shop"}', '{"format": 2, "flow": "\xff"}']
)
def test_one_that_cannot_be_read_is_corrupt(tmp_path: Path, text: str) -> None:
    (tmp_path / "flow.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptStateError, match=r"flow.json cannot be read \(.*\): restore it"):
        Manifest.open(tmp_path, manifest())


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_is_refused_or_means_nothing(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("state") / "flow.json"
    manifest().create(path.parent)
    content = bytearray(path.read_bytes())
    bit = int(share * len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with suppress(CorruptStateError, IncompatibleStateError):
        assert Manifest.load(path.parent) == manifest()


def test_another_format_is_refused_whatever_else_it_holds(tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text('{"format": 3, "name": "new"}')
    with pytest.raises(IncompatibleStateError, match=r"flow.json has format 3, expected 2: use the version of Headway"):
        Manifest.open(tmp_path, manifest())


OTHER_OPERATORS = [
    OperatorEntry(name="seen", rank=0, state=state_schema(dict)),
    OperatorEntry(name="paid", rank=1, state=state_schema(dict)),
]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"flow": "bank"}, "it belongs to the flow 'shop'"),
        ({"key_groups": 32}, "key groups: it has 16, the flow wants 32"),
        ({"sources": {}}, "source 'clicks': the flow has it no more"),
        ({"sources": {"clicks": SourceEntry(slots=8)}}, "source 'clicks': it has 4 slots, the flow wants 8 slots"),
        ({"outputs": ["triggers", "mails"]}, "output 'mails': it is new"),
        ({"stages": []}, "stage 'carts': the flow has it no more"),
        ({"operators": OTHER_OPERATORS}, "stage 'carts': operator 'cart': the flow has it no more"),
        ({"operators": OTHER_OPERATORS}, "stage 'carts': operator 'paid': it is new"),
        ({"operators": OTHER_OPERATORS}, "stage 'carts': operator 'seen': it has rank 1, the flow wants rank 0"),
        ({"state": state_schema(dict)}, "operator 'cart': its state was {'$ref': '#/$defs/Cart'}, now it is {'type'"),
        ({"state": schema(total=(int, 0))}, "operator 'cart': Cart.items was removed"),
        (
            {"state": schema(total=(str, ""), items=(list[Item], []))},
            "operator 'cart': Cart.total was {'type': 'integer'}, now {'type': 'string'}",
        ),
        (
            {"state": schema(total=(int, 0), items=(list[Item], []), user=(str,))},
            "operator 'cart': Cart.user is new and has no default",
        ),
    ],
)
def test_a_flow_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], difference: str) -> None:
    manifest().create(tmp_path)
    before = (tmp_path / "flow.json").read_bytes()
    expected = manifest(**changes)
    with pytest.raises(IncompatibleStateError) as raised:
        Manifest.open(tmp_path, expected)
    text = str(raised.value)
    assert difference in text
    assert text.startswith(f"{tmp_path} does not fit the flow {expected.flow!r}:\n")
    assert text.endswith("run the version of the flow that wrote it, or start with an empty state directory")
    assert (tmp_path / "flow.json").read_bytes() == before


def test_a_change_deep_in_the_state_is_found() -> None:
    class Item(msgspec.Struct):
        sku: int = 0

    changed = schema(total=(int, 0), items=(list[Item], []))
    with pytest.raises(IncompatibleStateError, match=r"Item.sku was \{'type': 'string'\}, now \{'type': 'integer'\}"):
        manifest().check(manifest(state=changed))


def test_new_fields_with_defaults_are_taken_over(tmp_path: Path) -> None:
    manifest().create(tmp_path)
    extended = manifest(state=schema(total=(int, 5), items=(list[Item], []), user=(str, "")))
    assert Manifest.open(tmp_path, extended) == extended
    assert Manifest.load(tmp_path) == extended
    with pytest.raises(IncompatibleStateError, match=r"Cart\.user was removed"):
        Manifest.open(tmp_path, manifest())


def test_a_drained_directory_takes_no_more(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStateError, match=r"holds no flow.json: there is nothing to drain"):
        Manifest.note_drain(tmp_path, Drain(step=0, to_ms=5, done=True))
    Manifest.open(tmp_path, manifest())
    Manifest.note_drain(tmp_path, Drain(step=0, to_ms=5, done=True))
    with pytest.raises(
        DrainedStateError, match=rf"{tmp_path} was drained: it takes no more input; start with an empty"
    ):
        Manifest.open(tmp_path, manifest())
    assert Manifest.load(tmp_path) == manifest(drain=Drain(step=0, to_ms=5, done=True))


def test_a_drain_that_was_interrupted_goes_on_and_nothing_else_does(tmp_path: Path) -> None:
    Manifest.open(tmp_path, manifest())
    Manifest.note_drain(tmp_path, Drain(step=3, to_ms=5))
    with pytest.raises(DrainedStateError, match=r"is being drained: .* run it with --drain to finish"):
        Manifest.open(tmp_path, manifest())
    found = Manifest.open(tmp_path, manifest(), draining=True)
    assert found.drain == Drain(step=3, to_ms=5)


def test_a_state_without_a_schema_is_refused() -> None:
    with pytest.raises(FlowError, match=r"<class 'object'> cannot be a state"):
        state_schema(object)
