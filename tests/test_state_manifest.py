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
from headway.state.manifest import Drain, Manifest, OperatorEntry, OutputEntry, SourceEntry, StageEntry
from headway.state.typeschema import state_schema


class Item(msgspec.Struct):
    sku: str = ""


class Cart(msgspec.Struct):
    total: int = 0
    items: list[Item] = []


def schema(**fields: Any) -> dict[str, Any]:
    """The schema of a class Cart with other fields."""
    return state_schema(msgspec.defstruct("Cart", [(name, *field) for name, field in fields.items()], kw_only=True))


def manifest(**changes: Any) -> Manifest:
    operators = {
        "cart": OperatorEntry(id=2, state=changes.pop("state", state_schema(Cart))),
        "seen": OperatorEntry(id=3, state=state_schema(dict)),
    }
    made = Manifest(
        flow="shop",
        key_groups=16,
        sources={"clicks": SourceEntry(id=1, slots=4)},
        operators=operators,
        stages=[StageEntry(name="carts", operators=list(operators))],
        outputs={"triggers": OutputEntry(id=4)},
        next_id=5,
    )
    return msgspec.structs.replace(made, **changes)


def test_what_is_written_is_found(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    assert Manifest.load(directory) is None
    assert Manifest.open(directory) is None
    manifest().create(directory)
    assert Manifest.load(directory) == Manifest.open(directory) == manifest()
    stored = json.loads((directory / "flow.json").read_text())
    assert stored["format"] == 3
    assert stored["operators"]["cart"]["id"] == 2
    assert [path.name for path in directory.iterdir()] == ["flow.json"]


def test_a_start_that_was_killed_early_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "flow.json.tmp").write_text("{")
    with DirectoryLock.acquire(tmp_path):
        assert Manifest.open(tmp_path) is None


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(
        IncompatibleStateError, match=rf"{tmp_path} is not a state directory: .* holds thesis.txt; give"
    ):
        Manifest.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "x"}', '{"format": 3, "flow": "shop"}', '{"format": 3, "flow": "\xff"}']
)
def test_one_that_cannot_be_read_is_corrupt(tmp_path: Path, text: str) -> None:
    (tmp_path / "flow.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptStateError, match=r"flow.json cannot be read \(.*\): restore it"):
        Manifest.open(tmp_path)


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
    (tmp_path / "flow.json").write_text('{"format": 4, "name": "new"}')
    with pytest.raises(IncompatibleStateError, match=r"flow.json has format 4, expected 3: use the version of Headway"):
        Manifest.open(tmp_path)


def test_a_drained_directory_takes_no_more(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStateError, match=r"holds no flow.json: there is nothing to drain"):
        Manifest.note_drain(tmp_path, Drain(step=0, to_ms=5, done=True))
    manifest().create(tmp_path)
    Manifest.note_drain(tmp_path, Drain(step=0, to_ms=5, done=True))
    found = manifest(drain=Drain(step=0, to_ms=5, done=True))
    assert Manifest.load(tmp_path) == found
    for draining in (False, True):
        with pytest.raises(DrainedStateError, match=rf"{tmp_path} was drained: it takes no more input; start with an"):
            found.check_undrained(tmp_path, draining=draining)


def test_a_drain_that_was_interrupted_goes_on_and_nothing_else_does(tmp_path: Path) -> None:
    found = manifest(drain=Drain(step=3, to_ms=5))
    with pytest.raises(DrainedStateError, match=r"is being drained: .* run it with --drain to go on with what is left"):
        found.check_undrained(tmp_path, draining=False)
    found.check_undrained(tmp_path, draining=True)
    manifest().check_undrained(tmp_path, draining=False)


def test_a_state_without_a_schema_is_refused() -> None:
    with pytest.raises(FlowError, match=r"<class 'object'> cannot be a state"):
        state_schema(object)
