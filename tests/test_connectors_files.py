"""Files as input: which ones, under which names, and what is refused with which words."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from headway.connectors.base import Input, PartitionReader
from headway.connectors.compressed import CompressedLog
from headway.connectors.filereader import FileReader
from headway.connectors.files import files
from headway.connectors.paths import FilePattern
from headway.errors import InputError, UsageError
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


def read_all(source: Input) -> dict[str, list[Any]]:
    found = {}
    for name in source.partitions():
        reader = source.open(name, None, follow=False)
        found[name] = drain(reader)
        assert reader.at_end
        reader.close()
    return found


class TestWhichFiles:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        for number, name in enumerate(
            ["b.jsonl", "a.ndjson", "c.json", "notes.txt", ".hidden.jsonl", "deep/d.jsonl", "deep/er/e.jsonl"]
        ):
            path = tmp_path / "logs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(numbers(number, 1))
        (tmp_path / "logs" / "z.jsonl.gz").write_bytes(gzip.compress(numbers(8, 1)))
        (tmp_path / "logs" / "y.json.zst").write_bytes(zstandard.compress(numbers(9, 1)))
        return tmp_path

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("logs", {"a.ndjson": [1], "b.jsonl": [0], "c.json": [2], "y.json.zst": [9], "z.jsonl.gz": [8]}),
            ("logs/b.jsonl", {"b.jsonl": [0]}),
            ("logs/*.jsonl*", {"b.jsonl": [0], "z.jsonl.gz": [8]}),
            ("logs/**/*.jsonl", {"b.jsonl": [0], "deep/d.jsonl": [5], "deep/er/e.jsonl": [6]}),
            ("logs/d*/*", {"deep/d.jsonl": [5]}),
            ("l*s/b.jsonl", {"logs/b.jsonl": [0]}),
            ("logs/none-*.jsonl", {}),
        ],
    )
    @pytest.mark.parametrize("where", ["root", "inside", "absolute"])
    def test_names_do_not_depend_on_the_current_directory(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: dict[str, list[int]], where: str
    ) -> None:
        monkeypatch.chdir(tree if where == "root" else tree / "logs")
        prefix = {"root": "", "inside": "../", "absolute": f"{tree}/"}[where]
        source = files(Path(prefix + pattern))
        assert source.partitions() == sorted(expected)
        assert read_all(source) == expected

    def test_a_name_with_wildcards_that_exists_is_taken_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "a[1].jsonl").write_bytes(numbers(3, 1))
        assert read_all(files(tmp_path / "a[1].jsonl")) == {"a[1].jsonl": [3]}

    def test_describe(self) -> None:
        assert files("events/*.jsonl").describe() == "files events/*.jsonl"
        assert files("a.jsonl", split=4).describe() == "files a.jsonl (split 4)"
        assert files("logs", rotated=True).describe() == "files logs (rotated)"

    @pytest.mark.parametrize("pattern", ["missing.jsonl", "missing/*.jsonl"])
    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=r"missing.* does not exist .*expected a file.*check the path") as caught:
            files(pattern).partitions()
        assert str(tmp_path / Path(pattern).parts[0]) in str(caught.value)
        assert pattern in str(caught.value)

    def test_missing_when_opened(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"cannot read .*gone\.jsonl .*: No such file or directory; check the path"
        ):
            files(tmp_path / "*.jsonl").open("gone.jsonl", None, follow=False)

    def test_not_a_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match=r"pipe is not a regular file; expected .*stdin\(\)"):
            files(tmp_path / "pipe").open("pipe", None, follow=False)

    def test_a_directory_that_cannot_be_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(InputError, match=r"cannot list .*expected permission to read it; check its permissions"):
            files(tmp_path).partitions()

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"pattern": ""}, r"files\(''\): expected a path or a glob pattern"),
            ({"pattern": b"a"}, r"files\(b'a'\): expected a path or a glob pattern as text"),
            ({"pattern": "a", "split": 0}, r"files\('a', split=0\): expected a whole number .*1 or more"),
            ({"pattern": "a", "split": True}, r"split=True\): expected a whole number"),
            ({"pattern": "a", "split": 2, "rotated": True}, r"split=2, rotated=True\): .*drop one of the two"),
        ],
    )
    def test_options_that_make_no_sense(self, options: dict[str, Any], text: str) -> None:
        with pytest.raises(UsageError, match=text):
            files(**options)


class TestCompressed:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_gzip_of_many_members_and_padding(self, tmp_path: Path, name: str) -> None:
        members = [gzip.compress(numbers(number, 1)) for number in range(50)]
        (tmp_path / name).write_bytes(b"".join(members) + b"\0" * 512)
        assert read_all(files(tmp_path / name)) == {name: list(range(50))}

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
    def test_zstd_of_many_frames_some_to_be_skipped(self, tmp_path: Path, name: str) -> None:
        skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
        frames = [zstandard.compress(numbers(number, 1)) + skippable for number in range(50)]
        (tmp_path / name).write_bytes(skippable + b"".join(frames))
        assert read_all(files(tmp_path / name)) == {name: list(range(50))}

    @pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl"])
    def test_empty_files_are_empty_logs(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        assert read_all(files(tmp_path)) == {name: []}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.gz", r"a\.gz is named \.gz but is not gzip: it begins with b'.*'; compress it with gzip, or name it"),
            ("a.zst", r"a\.zst is named \.zst but is not zstd: it begins with"),
        ],
    )
    @pytest.mark.parametrize("content", [b'{"n": 1}\n', b"\n", b"7"])
    def test_named_for_what_it_is_not(self, tmp_path: Path, name: str, text: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=text):
            files(tmp_path / name).open(name, None, follow=False)

    def test_formats_that_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress(numbers(0, 1)))
        with pytest.raises(InputError, match=r"a\.jsonl\.bz2 is a bzip2 file; expected plain text, gzip or zstd"):
            files(tmp_path / "a.jsonl.bz2").open("a.jsonl.bz2", None, follow=False)

    @pytest.mark.parametrize(("suffix", "unit"), [("gz", "gzip member"), ("zst", "zstd frame")])
    def test_truncated(self, tmp_path: Path, suffix: str, unit: str) -> None:
        pack = gzip.compress if suffix == "gz" else zstandard.compress
        whole = pack(numbers(0, 3)) + pack(numbers(3, 2000))
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(whole[:-9])
        source = files(path)
        reader = source.open(path.name, None, follow=False)
        found: list[int] = []
        with pytest.raises(InputError, match=rf"is truncated: it ends in the middle of a {unit}, after \d+ bytes") as e:
            while (chunk := reader.read(4096)) is not None:
                found += [event["n"] for event in chunk.decode(CODEC).events]
        assert "put the whole file there and run again" in str(e.value)
        assert found[:3] == [0, 1, 2]
        assert found == list(range(len(found)))
        position = json.loads(json.dumps(reader.position()))
        reader.close()
        path.write_bytes(whole)
        reader = source.open(path.name, position, follow=False)
        assert found + drain(reader) == list(range(2003))

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_truncated_while_followed_waits(self, tmp_path: Path, suffix: str) -> None:
        pack = gzip.compress if suffix == "gz" else zstandard.compress
        whole = pack(numbers(0, 5))
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(whole[:-9])
        reader = files(path).open(path.name, None, follow=True)
        found = drain(reader)
        assert not reader.at_end
        path.write_bytes(whole)
        assert found + drain(reader) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_damaged(self, tmp_path: Path, suffix: str) -> None:
        pack = gzip.compress if suffix == "gz" else zstandard.compress
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(pack(numbers(0, 3)) + b"garbage")
        reader = files(path).open(path.name, None, follow=False)
        chunk = reader.read(4096)
        assert chunk is not None
        assert [event["n"] for event in chunk.decode(CODEC).events] == [0, 1, 2]
        with pytest.raises(
            InputError, match=r"is damaged: .*from byte 0 of the file on\); expected a .*: put an intact"
        ):
            reader.read(4096)

    def test_memory_is_bounded_by_a_piece(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(numbers(0, 400_000)))
        reader = FileReader(str(path), None, follow=False)
        log = reader._log
        assert isinstance(log, CompressedLog)
        largest = 0
        count = 0
        while (chunk := reader.read(10_000)) is not None:
            count += len(chunk.decode(CODEC).events)
            largest = max(largest, len(log._buffer))
        assert count == 400_000
        assert largest < 2_000_000


class TestSplit:
    def test_names_and_order(self, tmp_path: Path) -> None:
        for name in ("a.jsonl", "b.jsonl"):
            (tmp_path / name).write_bytes(numbers(0, 3))
        source = files(tmp_path, split=2)
        assert source.partitions() == ["a.jsonl#0", "a.jsonl#1", "b.jsonl#0", "b.jsonl#1"]
        assert read_all(source)["a.jsonl#0"] == [0, 1, 2]

    def test_shares_advance_together(self, tmp_path: Path) -> None:
        count = 1_200_000
        (tmp_path / "a.jsonl").write_bytes(numbers(0, count))
        source = files(tmp_path / "a.jsonl", split=3)
        readers = [source.open(name, None, follow=False) for name in source.partitions()]
        found: list[list[int]] = [[], [], []]
        for reader, share in zip(readers, found, strict=True):
            chunk = reader.read(1 << 20)
            assert chunk is not None
            share.extend(event["n"] for event in chunk.decode(CODEC).events)
        firsts = [share[0] for share in found]
        assert firsts[0] == 0
        assert firsts == sorted(firsts)
        assert firsts[2] < count * 0.6
        for reader, share in zip(readers, found, strict=True):
            share.extend(drain(reader))
            assert share == sorted(share)
        assert sorted(itertools.chain(*found)) == list(range(count))

    def test_refused_for_compressed_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(numbers(0, 3)))
        with pytest.raises(InputError, match=r"is compressed and cannot be split \(split=2\); expected a plain file"):
            files(tmp_path, split=2).open("a.jsonl.gz#1", None, follow=False)

    def test_refused_while_following(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(numbers(0, 3))
        with pytest.raises(UsageError, match=r"\(split 2\): split=2 cannot be followed, .*; use split=1"):
            files(tmp_path, split=2).open("a.jsonl#1", None, follow=True)

    def test_refused_when_it_was_another_number(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(numbers(0, 3))
        reader = files(tmp_path, split=2).open("a.jsonl#0", None, follow=False)
        reader.read(100)
        with pytest.raises(InputError, match=r"was read with split=2 before, and is now with split=3: .*former value"):
            files(tmp_path, split=3).open("a.jsonl#0", reader.position(), follow=False)


class TestLongLines:
    def test_a_line_longer_than_a_read(self, tmp_path: Path) -> None:
        line = json.dumps({"n": 1, "text": "x" * 3_000_000}).encode()
        (tmp_path / "a.jsonl").write_bytes(numbers(0, 1) + line + b"\n" + numbers(2, 1))
        reader = files(tmp_path / "a.jsonl").open("a.jsonl", None, follow=False)
        assert drain(reader, 1000) == [0, 1, 2]

    def test_a_line_too_long_to_hold_is_a_bad_record(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(numbers(0, 1) + b"x" * 3_000_000 + b"\n" + numbers(2, 1))
        reader = FileReader(str(path), None, follow=False, max_line_bytes=1_000_000)
        events: list[Any] = []
        bad: list[Any] = []
        while (chunk := reader.read(1 << 20)) is not None:
            decoded = chunk.decode(CODEC)
            events += decoded.events
            bad += decoded.bad
        assert events == [{"n": 0}, {"n": 2}]
        (record,) = bad
        assert (record.ordinal, record.position, record.raw) == (1, "line 2, byte 9", b"x" * 1024)
        assert record.reason == (
            "line of 3000000 bytes: expected at most 1000000; of its bytes only the first 1024 are kept"
        )


class TestNames:
    """One file is read once, and what is not read is told."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n')
        return tmp_path

    def found(self, pattern: Path, **options: Any) -> tuple[list[str], list[str]]:
        told: list[str] = []
        return files(pattern, **options).partitions(told.append), told

    @pytest.mark.parametrize("name", ["0.jsonl", "z.jsonl"])
    def test_a_link_to_what_is_read_already(self, folder: Path, name: str) -> None:
        (folder / name).symlink_to("a.jsonl")
        names, told = self.found(folder / "*.jsonl")
        assert names == ["a.jsonl"]
        assert told == [
            f"{folder / name} is a link to {folder / 'a.jsonl'}, which is read already: it is not read twice"
        ]

    def test_through_a_linked_directory(self, folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "a.jsonl").rename(folder / "deep" / "a.jsonl")
        (folder / "again").symlink_to("deep")
        names, told = self.found(folder / "**" / "*.jsonl")
        assert names == ["deep/a.jsonl"]
        assert len(told) == 1

    @pytest.mark.parametrize("options", [{}, {"split": 2}, {"rotated": True}])
    def test_hard_links(self, folder: Path, options: dict[str, Any]) -> None:
        os.link(folder / "a.jsonl", folder / "b.jsonl")
        with pytest.raises(InputError, match=r"a\.jsonl and .*b\.jsonl are the same file, which would be read twice"):
            self.found(folder / "*.jsonl", **options)

    def test_two_links_to_a_file_elsewhere(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "a.jsonl").rename(folder / "data" / "a")
        (folder / "b.jsonl").symlink_to("data/a")
        assert self.found(folder / "*.jsonl") == (["b.jsonl"], [])
        (folder / "c.jsonl").symlink_to("data/a")
        with pytest.raises(InputError, match="are the same file, which would be read twice"):
            self.found(folder / "*.jsonl")

    def test_a_link_that_leads_nowhere(self, folder: Path) -> None:
        (folder / "b.jsonl").symlink_to("gone")
        names, told = self.found(folder)
        assert names == ["a.jsonl"]
        assert told == [f"{folder / 'b.jsonl'} is a link to gone, which does not exist: it is not read"]
        (folder / "gone").write_bytes(b"{}\n")
        assert self.found(folder) == (["a.jsonl", "b.jsonl"], [])

    def test_pipes_are_told_and_directories_are_not(self, folder: Path) -> None:
        os.mkfifo(folder / "p.jsonl")
        (folder / "d.jsonl").mkdir()
        names, told = self.found(folder / "*.jsonl")
        assert names == ["a.jsonl"]
        assert told == [f"{folder / 'p.jsonl'} is not a regular file: it is not read (for a pipe use stdin())"]

    def test_a_name_that_is_not_text(self, folder: Path) -> None:
        with open(os.fsencode(folder) + b"/\xff.jsonl", "wb"):
            pass
        with pytest.raises(InputError, match=r"the name of the file b'.*\\xff\.jsonl' is not UTF-8: rename it"):
            self.found(folder / "*.jsonl")
        with pytest.raises(UsageError, match=r"expected a path that is UTF-8 text"):
            files(os.fsdecode(b"\xff.jsonl"))

    @given(
        pattern=st.lists(st.sampled_from(["*", "a*", "?", "**", "b", "[ab]", "*.jsonl", ".*"]), min_size=1, max_size=4),
        path=st.lists(st.sampled_from(["a", "b", "ab", "a.jsonl", ".a"]), min_size=1, max_size=4),
    )
    @example(pattern=["**", "b", "**"], path=["a", "b"])
    def test_matching_a_path_is_finding_it(
        self, tmp_path_factory: pytest.TempPathFactory, pattern: list[str], path: list[str]
    ) -> None:
        base = tmp_path_factory.mktemp("base")
        file = base.joinpath(*path)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = str(base.joinpath(*pattern))
        expected = FilePattern(text).matches(str(file)) if FilePattern(text).is_glob else None
        file.write_bytes(b"{}\n")
        if expected is not None and FilePattern(text).is_there:
            assert (str(file) in FilePattern(text).find().values()) == expected
