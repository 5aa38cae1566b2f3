"""How far an input has been read, and how large it is: what a progress bar needs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

import headway as hw
from headway.connectors.base import Extent, PartitionReader

LINES = b"".join(b'{"n": %d}\n' % n for n in range(40_000))


def extents_of(reader: PartitionReader, chunk_bytes: int = 50_000) -> list[Extent]:
    found = []
    while reader.read(chunk_bytes) is not None:
        assert reader.extent is not None
        found.append(reader.extent)
    assert reader.at_end
    return found


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_a_file_tells_how_far_it_has_been_read(tmp_path: Path, compress: object) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(compress(LINES))  # type: ignore[operator]
    size = path.stat().st_size
    found = extents_of(hw.files(path).open("a.jsonl", None, follow=False))
    assert {extent.total for extent in found} == {size}
    assert [extent.read for extent in found] == sorted(extent.read for extent in found)
    assert (0 < found[0].read <= size, found[-1].read) == (True, size)


def test_stripes_and_rotated_files_add_up(tmp_path: Path) -> None:
    for name in ("a-1.jsonl", "a-2.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    rotated = hw.files(tmp_path / "*.jsonl", rotated=True)
    found = extents_of(rotated.open(rotated.partitions()[0], None, follow=False))
    assert {extent.total for extent in found} == {2 * len(LINES)}
    assert found[-1] == Extent(2 * len(LINES), 2 * len(LINES))
    split = hw.files(tmp_path / "a-1.jsonl", split=2)
    last: list[Extent] = []
    for name in split.partitions():
        reader = split.open(name, None, follow=False)
        extents_of(reader)
        assert reader.extent is not None
        last.append(reader.extent)
    # One stripe has all of it, and its reader is through; so is the other one, which has nothing to read.
    assert [extent.read for extent in last] == [extent.total for extent in last]
    assert sum(extent.total for extent in last) == len(LINES)


def test_nothing_is_told_while_following_and_of_streams(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    assert hw.files(path).open("a.jsonl", None, follow=True).extent is None
    assert hw.stdin().open("stdin", None, follow=False).extent is None
    assert hw.items([]).open("items", None, follow=False).extent is None
