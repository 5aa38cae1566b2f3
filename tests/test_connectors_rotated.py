"""A rotated log is one partition, in the order of its files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from headway.connectors.base import PartitionReader, Position
from headway.connectors.files import files
from headway.errors import InputError
from headway.types.decoding import LineCodec
from headway.types.schema import Json

CODEC = LineCodec(Json)


def write(folder: Path, name: str, *numbers: int) -> None:
    (folder / name).write_bytes(b"".join(b'{"n": %d}\n' % number for number in numbers))


def drain(reader: PartitionReader) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    while (chunk := reader.read(10)) is not None:
        decoded = chunk.decode(CODEC)
        found += [(ordinal, event["n"]) for ordinal, event in zip(decoded.ordinals, decoded.events, strict=True)]
    return found


def open_log(folder: Path, position: Optional[Position] = None, *, follow: bool = False) -> PartitionReader:
    return files(folder, rotated=True).open("*", position, follow=follow)


def test_one_partition(tmp_path: Path) -> None:
    assert files(tmp_path, rotated=True).partitions() == []
    write(tmp_path, "b.jsonl", 3)
    write(tmp_path, "a.jsonl", 1, 2)
    assert files(tmp_path, rotated=True).partitions() == ["*"]
    assert files(tmp_path / "?.jsonl", rotated=True).partitions() == ["?.jsonl"]
    reader = open_log(tmp_path)
    assert drain(reader) == [(0, 1), (1, 2), (2, 3)]
    assert reader.at_end


def test_position_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1)
    write(tmp_path, "b.jsonl", 2, 3)
    reader = open_log(tmp_path)
    assert reader.position() == {"file": None}
    reader.read(1)
    reader.read(1)
    position = json.loads(json.dumps(reader.position()))
    former = position.pop("former")
    assert position.pop("inode") == (tmp_path / "b.jsonl").stat().st_ino
    assert former.pop("inode") == (tmp_path / "a.jsonl").stat().st_ino
    ids = {"id": "9:a8496f4a", "tail": "9:9:a8496f4a"}
    assert position == {"file": "b.jsonl", "before": 1, "first": 1, "offset": 9, "ordinal": 2, **ids}
    ids = {"id": "9:aa0fd113", "tail": "9:9:aa0fd113"}
    assert former == {"file": "a.jsonl", "before": 0, "first": 0, "offset": 9, "ordinal": 1, **ids}
    assert drain(open_log(tmp_path, reader.position())) == [(2, 3)]


def test_bad_records_name_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1)
    (tmp_path / "b.jsonl").write_bytes(b"\n{\n")
    reader = open_log(tmp_path)
    reader.read(100)
    chunk = reader.read(100)
    assert chunk is not None
    (record,) = chunk.decode(CODEC).bad
    assert (record.ordinal, record.position) == (2, "b.jsonl line 2, byte 1")


def test_follows_over_rotation(tmp_path: Path) -> None:
    reader = open_log(tmp_path, follow=True)
    assert reader.read(100) is None
    write(tmp_path, "a.jsonl", 1)
    assert drain(reader) == [(0, 1)]
    with (tmp_path / "a.jsonl").open("ab") as log:
        log.write(b'{"n": 2}')
    assert drain(reader) == []
    write(tmp_path, "b.jsonl", 3)
    assert drain(reader) == [(1, 2), (2, 3)]
    assert not reader.at_end


def test_follows_a_file_that_is_compressed_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1, 2)
    reader = open_log(tmp_path, follow=True)
    reader.read(1)
    position = reader.position()
    write(tmp_path, "b.jsonl", 3)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.jsonl").unlink()
    assert drain(reader) == [(1, 2), (2, 3)]
    assert drain(open_log(tmp_path, position)) == [(1, 2), (2, 3)]


def test_a_known_file_that_is_compressed_before_its_turn(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1)
    write(tmp_path, "b.jsonl", 2)
    reader = open_log(tmp_path)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "b.jsonl").read_bytes()))
    (tmp_path / "b.jsonl").unlink()
    assert drain(reader) == [(0, 1), (1, 2)]


def test_old_files_may_be_removed(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        write(tmp_path, f"{name}.jsonl", number)
    reader = open_log(tmp_path)
    reader.read(100)
    reader.read(100)
    (tmp_path / "a.jsonl").unlink()
    assert drain(open_log(tmp_path, reader.position())) == [(2, 2)]


def test_the_current_file_may_not(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1)
    write(tmp_path, "b.jsonl", 2)
    reader = open_log(tmp_path)
    reader.read(100)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(
        InputError, match=r"log file a\.jsonl is gone, .* at byte 9; expected it among b\.jsonl, under that name"
    ):
        open_log(tmp_path, reader.position())


def test_files_that_come_too_late_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", 1)
    reader = open_log(tmp_path, follow=True)
    drain(reader)
    position = reader.position()
    write(tmp_path, "a.jsonl", 0)
    with pytest.raises(InputError, match=r"added before b\.jsonl, .*at most 0 files before it, found a\.jsonl"):
        reader.read(100)
    with pytest.raises(InputError, match=r"expected at most 0 files before it, found a\.jsonl; name rotated"):
        open_log(tmp_path, position)


def test_a_replaced_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", 1)
    reader = open_log(tmp_path)
    reader.read(100)
    write(tmp_path, "a.jsonl", 7)
    with pytest.raises(InputError, match="is not the log that was read before"):
        open_log(tmp_path, reader.position())


def test_many_files_are_not_listed_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headway.connectors.rotated import RotatedReader

    for number in range(20):
        write(tmp_path, f"{number:02d}.jsonl", number)
    listings = 0

    def find() -> dict[str, str]:
        nonlocal listings
        listings += 1
        return {path.name: str(path) for path in sorted(tmp_path.iterdir())}

    assert len(drain(RotatedReader(find, None, follow=False))) == 20
    assert listings <= 4, "not one for each file"
    listings = 0
    assert len(drain(RotatedReader(find, None, follow=True))) == 20
    assert listings <= 6


def test_what_has_become_of_the_former_file_is_nobodys_concern(tmp_path: Path) -> None:
    """It was read to its end: which of two copies it is need not be known to go on in the next one."""
    for name, number in (("log.jsonl.2", 1), ("log.jsonl.1", 2), ("log.jsonl", 3)):
        write(tmp_path, name, number)
    log = files(tmp_path / "log.jsonl*", rotated=True)
    [partition] = log.partitions()
    reader = log.open(partition, None, follow=False)
    assert drain(reader) == [(0, 1), (1, 2), (2, 3)]
    place = reader.position()
    reader.close()
    (tmp_path / "log.jsonl.1").rename(tmp_path / "kept")
    for name in ("log.jsonl.1", "log.jsonl.2"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).write_bytes((tmp_path / "kept").read_bytes())
    write(tmp_path, "log.jsonl", 3, 4)
    assert drain(log.open(partition, place, follow=False)) == [(3, 4)]


def test_a_half_line_at_the_end_of_a_file_keeps_its_number_over_a_restart(tmp_path: Path) -> None:
    """The next file, compressed, holds nothing: so the position is still that at the end of the one before."""
    (tmp_path / "log-00").write_bytes(b'{"n": 0}')
    (tmp_path / "log-01.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "log-02").touch()
    log = files(tmp_path / "log-*", rotated=True)
    reader = log.open("log-*", None, follow=True)
    assert drain(reader) == [(0, 0)]
    assert drain(reader) == []
    place = reader.position()
    reader.close()
    write(tmp_path, "log-02", 1)
    assert drain(log.open("log-*", place, follow=False)) == [(1, 1)]
