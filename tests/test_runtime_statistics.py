"""Statistics of readers are taken by a thread of their own, while the engine's finds partitions and closes readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from tests.test_runtime_idle import Reading, write

from headway.connectors.base import Extent
from headway.runtime.partition import Partition, extent_of, lags_of


def test_partitions_are_found_while_others_look_at_them(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 1)
    reading = Reading(tmp_path)
    reading.poll()
    slot = reading.read["s/00"]
    looked_at = iter(slot._partitions.values())
    assert next(looked_at).name == "a.jsonl"
    write(tmp_path / "b.jsonl", 2)
    reading.poll(after_ms=1_000)
    assert list(looked_at) == []
    assert slot.statistics().partitions == 2


class Closing(Partition):
    """Its reader is gone whenever it was looked at once, as one that the engine's thread closes just then."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name != "reader":
            return super().__getattribute__(name)
        self.asked += 1
        return Reader() if self.asked == 1 else None


class Reader:
    extent: Optional[Extent] = Extent(3, 10)
    behind: Optional[int] = 7


def test_a_reader_is_closed_while_others_ask_how_far_it_is() -> None:
    assert extent_of([Closing("a", None, None)]) == Extent(3, 10)
    assert lags_of([Closing("a", None, None)], 1) == ({"a": 7}, 7)
