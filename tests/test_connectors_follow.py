"""Files that must stay the same while they are read, resumed and followed."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.connectors.base import PartitionReader, Position
from headway.connectors.files import files
from headway.errors import InputError
from headway.types.decoding import LineCodec
from headway.types.schema import Json

CODEC = LineCodec(Json)


def numbers(first: int, count: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % number for number in range(first, first + count))


def drain(reader: PartitionReader, max_bytes: int = 1 << 20) -> list[Any]:
    """All numbers that can be read now."""
    found = []
    while (chunk := reader.read(max_bytes)) is not None:
        decoded = chunk.decode(CODEC)
        assert decoded.bad == []
        found += [event["n"] for event in decoded.events]
    return found


edits = st.one_of(
    st.tuples(st.just("append"), st.binary(max_size=40).map(lambda data: data.hex().encode() + b"\n")),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("insert"), st.floats(0, 1)),
    st.tuples(st.just("drop line"), st.floats(0, 1)),
)


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 400),
    read=st.integers(1, 4000),
    split=st.sampled_from([1, 1, 3]),
    script=st.lists(edits, max_size=3),
)
def test_what_was_changed_near_the_ends_is_refused(
    tmp_path_factory: pytest.TempPathFactory, count: int, read: int, split: int, script: list[tuple[str, Any]]
) -> None:
    """A resumed reader refuses unless the first and the last KiB of what it has read are there: an independent rule."""
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    path.write_bytes(numbers(0, count))
    source = files(path, split=split)
    (name, *_) = source.partitions()
    reader = source.open(name, None, follow=False)
    reader.read(read)
    position: Position = json.loads(json.dumps(reader.position()))
    reader.close()
    before, content = path.read_bytes(), bytearray(path.read_bytes())
    for edit, argument in script:
        place = int(argument * len(content)) if isinstance(argument, float) else 0
        if edit == "append":
            content += argument
        elif edit == "flip" and content:
            content[min(place, len(content) - 1)] ^= 1
        elif edit == "cut":
            del content[place:]
        elif edit == "insert":
            content[place:place] = b'{"n": 1}\n'
        else:
            start = content.find(b"\n", place) + 1
            del content[start : content.find(b"\n", start) + 1]
    path.write_bytes(content)
    offset = position["offset"]
    same = len(content) >= offset and all(
        content[span] == before[span] for span in (slice(0, min(offset, 1024)), slice(max(0, offset - 1024), offset))
    )
    if same:
        source.open(name, position, follow=False).close()
    else:
        with pytest.raises(InputError, match="put the former file back"):
            source.open(name, position, follow=False)


class TestSameFile:
    """Logs may only be appended to."""

    @pytest.fixture(params=["", ".gz", ".zst"])
    def path(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        return tmp_path / f"a.jsonl{request.param}"

    def write(self, path: Path, content: bytes) -> None:
        if path.suffix == ".gz":
            content = gzip.compress(content)
        elif path.suffix == ".zst":
            content = zstandard.compress(content)
        path.write_bytes(content)

    def position_after(self, path: Path, count: int) -> Position:
        reader = files(path).open(path.name, None, follow=False)
        found = 0
        while found < count:
            chunk = reader.read(1)
            assert chunk is not None
            found += len(chunk.decode(CODEC).events)
        position: Position = json.loads(json.dumps(reader.position()))
        reader.close()
        return position

    def test_position_is_readable(self, path: Path) -> None:
        self.write(path, numbers(0, 10))
        assert self.position_after(path, 4) == {
            "offset": 36,
            "ordinal": 4,
            "id": "36:034d9760",
            "tail": "36:36:034d9760",
        }

    def test_resumes(self, path: Path) -> None:
        self.write(path, numbers(0, 10_000))
        position = self.position_after(path, 4321)
        self.write(path, numbers(0, 12_000))
        assert drain(files(path).open(path.name, position, follow=False)) == list(range(4321, 12_000))

    def test_replaced(self, path: Path) -> None:
        self.write(path, numbers(0, 10))
        position = self.position_after(path, 4)
        self.write(path, numbers(1, 10))
        with pytest.raises(
            InputError, match=r"is not the log that was read before: expected fingerprint 36:\w+ .*found"
        ):
            files(path).open(path.name, position, follow=False)

    def test_truncated(self, path: Path) -> None:
        self.write(path, numbers(0, 1000))
        position = self.position_after(path, 900)
        self.write(path, numbers(0, 500))
        with pytest.raises(
            InputError,
            match=rf"was truncated or replaced: expected at least the {position['offset']} bytes .*found 5390;",
        ):
            files(path).open(path.name, position, follow=False)

    @pytest.mark.parametrize("how", ["shrunk", "rewritten", "renamed over", "removed"])
    def test_while_following(self, path: Path, how: str) -> None:
        self.write(path, numbers(0, 100))
        reader = files(path).open(path.name, None, follow=True)
        assert drain(reader) == list(range(100))
        if how == "shrunk":
            self.write(path, numbers(0, 1))
            text = "was truncated or replaced"
        elif how == "rewritten":
            self.write(path, b'{"m": 0}\n' + numbers(0, 1000))
            text = "is not the log that was read before"
        elif how == "renamed over":
            self.write(path.parent / f"other{path.suffix}", numbers(5, 200))
            (path.parent / f"other{path.suffix}").replace(path)
            text = "is not the log that was read before"
        else:
            path.unlink()
            text = r"is gone while it was being followed, at byte 990; .*rotated=True"
        with pytest.raises(InputError, match=text):
            reader.read(4096)

    def test_replaced_by_one_that_begins_alike(self, path: Path) -> None:
        """Alike in the first KiB and longer: the bytes before the position tell."""
        self.write(path, numbers(0, 1000))
        position = self.position_after(path, 500)
        self.write(path, numbers(0, 200) + numbers(5000, 2000))
        with pytest.raises(InputError, match=rf"it begins alike, but the bytes before byte {position['offset']}"):
            files(path).open(path.name, position, follow=False)

    @pytest.mark.parametrize("how", ["rewritten", "renamed over", "cut and grown again"])
    def test_replaced_by_one_that_begins_alike_while_following(self, path: Path, how: str) -> None:
        self.write(path, numbers(0, 1000))
        reader = files(path).open(path.name, None, follow=True)
        assert drain(reader) == list(range(1000))
        other = numbers(0, 200) + numbers(5000, 2000)
        if how == "cut and grown again":
            os.truncate(path, 0)
            os.utime(path)
        target = path if how != "renamed over" else path.parent / f"other{path.suffix}"
        self.write(target, other)
        target.replace(path)
        with pytest.raises(InputError, match="is not the log that was read before"):
            reader.read(1 << 20)

    def test_a_longer_copy_may_take_its_place(self, path: Path) -> None:
        self.write(path, numbers(0, 100))
        reader = files(path).open(path.name, None, follow=True)
        drain(reader)
        copy = path.parent / f"copy{path.suffix}"
        self.write(copy, numbers(0, 110))
        copy.replace(path)
        assert drain(reader) == list(range(100, 110))


def test_truncated_in_the_middle_of_a_bounded_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(numbers(0, 100))
    reader = files(path).open(path.name, None, follow=False)
    reader.read(200)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="was truncated or replaced"):
        reader.read(200)


def test_following_sees_appended_lines_and_new_files(tmp_path: Path) -> None:
    source = files(tmp_path / "*.jsonl")
    assert source.partitions() == []
    with (tmp_path / "a.jsonl").open("wb", buffering=0) as log:
        assert source.partitions() == ["a.jsonl"]
        reader = source.open("a.jsonl", None, follow=True)
        assert reader.read(100) is None
        log.write(b'{"n": 1}\n{"n"')
        assert drain(reader) == [1]
        log.write(b": 2}")
        assert drain(reader) == []
        log.write(b"\n")
        assert drain(reader) == [2]
        assert not reader.at_end
    (tmp_path / "b.jsonl").touch()
    assert source.partitions() == ["a.jsonl", "b.jsonl"]


def test_a_format_that_is_not_known_yet(tmp_path: Path) -> None:
    whole = gzip.compress(numbers(0, 3))
    path = tmp_path / "log"
    path.touch()
    reader = files(path).open("log", None, follow=True)
    for size in (0, 1, 3, 12, len(whole)):
        path.write_bytes(whole[:size])
        chunk = reader.read(100)
    assert chunk is not None
    assert [event["n"] for event in chunk.decode(CODEC).events] == [0, 1, 2]


def test_an_idle_read_is_one_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(numbers(0, 3) + b'{"n"')
    reader = files(path).open(path.name, None, follow=True)
    assert drain(reader) == [0, 1, 2]
    calls: list[str] = []

    def recorded(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*args, **options)

        return call

    for name in ("stat", "fstat", "open", "pread", "read", "listdir", "scandir"):
        monkeypatch.setattr(os, name, recorded(name))
    assert reader.read(100) is None
    assert calls == ["stat"]
