"""The file that is written exactly once."""

from __future__ import annotations

import json
import os
from errno import EACCES, EFBIG, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.connectors.base import Position
from headway.connectors.jsonl import to_jsonl
from headway.errors import OutputError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "triggers.jsonl"


def records(*numbers: int) -> list[bytes]:
    return [b'{"n": %d}' % number for number in numbers]


def content(*numbers: int) -> bytes:
    return b"".join(record + b"\n" for record in records(*numbers))


def written(path: Path, *numbers: int) -> Position:
    """A first run that wrote these; returns its position."""
    writer = to_jsonl(path).open(None, mark=None)
    writer.write(records(*numbers))
    position: Position = json.loads(json.dumps(writer.position()))
    writer.close()
    return position


def test_writes_lines_and_tells_the_position(path: Path) -> None:
    writer = to_jsonl(path).open(None, mark=None)
    assert writer.transactional
    assert writer.notice is None
    assert writer.position() == {"offset": 0, "id": "0:00000000", "tail": "0:0:00000000"}
    writer.write([])
    writer.write(records(1, 2))
    assert writer.position() == {"offset": 18, "id": "18:b97c251d", "tail": "18:18:b97c251d"}
    assert path.read_bytes() == content(1, 2)


def test_resume_takes_back_the_rest(path: Path) -> None:
    position = written(path, 1, 2)
    with path.open("ab") as file:
        file.write(content(3) + b'{"n"')
    writer = to_jsonl(path).open(position, mark=None)
    assert path.read_bytes() == content(1, 2)
    writer.write(records(4))
    assert path.read_bytes() == content(1, 2, 4)


def test_a_run_without_a_durable_epoch_is_taken_back(path: Path) -> None:
    writer = to_jsonl(path).open(None, mark=None)
    writer.write(records(1))
    to_jsonl(path).open(None, mark=writer.mark)
    assert path.read_bytes() == b""


def test_a_file_that_was_there_is_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    for number in range(3):
        path.write_bytes(content(number))
        writer = to_jsonl(path).open(None, mark=None)
        moved = f"{path}.{number + 1}"
        assert writer.notice == f"{path} existed before the first start of this flow: it was moved to {moved}"
        assert Path(moved).read_bytes() == content(number)
        assert path.read_bytes() == b""


def test_an_empty_file_is_taken_over(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert to_jsonl(path).open(None, mark=None).notice is None
    assert os.listdir(path.parent) == [path.name]


def test_syncs_only_what_was_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = to_jsonl(path).open(None, mark=None)
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    writer.position()
    assert len(syncs) == 0
    writer.write(records(1))
    writer.position()
    writer.position()
    assert len(syncs) == 1


def test_the_fingerprint_stops_growing(path: Path) -> None:
    writer = to_jsonl(path).open(None, mark=None)
    writer.write([b"x" * 2000])
    first = writer.position()["id"]
    assert first.startswith("1024:")
    writer.write([b"y"])
    assert writer.position()["id"] == first
    to_jsonl(path).open(writer.position(), mark=None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["write", "position", "crash", "close"]), st.integers(1, 400)), max_size=20))
def test_every_record_once_whatever_happens(tmp_path_factory: pytest.TempPathFactory, script: list[Any]) -> None:
    path = tmp_path_factory.mktemp("out") / "triggers.jsonl"
    output = to_jsonl(path)
    writer = output.open(None, mark=None)
    position: Any = None
    durable: list[bytes] = []
    volatile: list[bytes] = []
    for step, size in script:
        if step == "write":
            batch = [b"%d" % size * (size % 7 + 1)] * (size % 3)
            writer.write(batch)
            volatile += batch
        elif step == "position":
            position = json.loads(json.dumps(writer.position()))
            durable += volatile
            volatile = []
        else:
            writer.close()
            if step == "crash":
                with path.open("ab") as file:
                    file.write(b"x" * size)
            volatile = []
            writer = output.open(position, mark=writer.mark)
    writer.close()
    assert path.read_bytes() == b"".join(record + b"\n" for record in durable + volatile)


class TestErrors:
    def test_shorter_than_the_position(self, path: Path) -> None:
        position = written(path, 1, 2)
        path.write_bytes(content(1))
        with pytest.raises(
            OutputError, match=r"is shorter than .*: expected at least 18 bytes, found 9; put the former"
        ):
            to_jsonl(path).open(position, mark=None)
        assert path.read_bytes() == content(1)

    def test_gone(self, path: Path) -> None:
        position = written(path, 1, 2)
        path.unlink()
        with pytest.raises(
            OutputError, match=r"expected at least 18 bytes, found 0; put the former file back, or start"
        ):
            to_jsonl(path).open(position, mark=None)
        assert not path.exists()

    def test_another_file(self, path: Path) -> None:
        position = written(path, 1, 2)
        path.write_bytes(content(1, 3, 4))
        with pytest.raises(OutputError, match=r"is not the file .*: expected fingerprint 18:\w+ .*, found 18:\w+ "):
            to_jsonl(path).open(position, mark=None)
        assert path.read_bytes() == content(1, 3, 4)

    def test_truncated_while_written(self, path: Path) -> None:
        writer = to_jsonl(path).open(None, mark=None)
        writer.write(records(1, 2))
        path.write_bytes(b"")
        with pytest.raises(OutputError, match="expected at least 18 bytes, found 0"):
            writer.write(records(3))

    @pytest.mark.parametrize("how", ["removed", "replaced"])
    def test_lost_while_written(self, path: Path, how: str) -> None:
        writer = to_jsonl(path).open(None, mark=None)
        writer.write(records(1, 2))
        path.rename(path.with_suffix(".old"))
        if how == "replaced":
            path.touch()
        with pytest.raises(
            OutputError, match=r"was removed or replaced while it was written; expected the file of 18 by"
        ):
            writer.position()

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"cannot write .*: Is a directory; give the path of a file"):
            to_jsonl(tmp_path).open(None, mark=None)

    def test_below_a_file(self, path: Path) -> None:
        written(path, 1)
        with pytest.raises(OutputError, match=r"cannot write .*(Not a directory|File exists); check the path"):
            to_jsonl(path / "more.jsonl").open(None, mark=None)

    def test_not_a_regular_file(self) -> None:
        with pytest.raises(OutputError, match=r"/dev/null: it is not a regular file; .*use to_stdout\(\), or another"):
            to_jsonl("/dev/null").open(None, mark=None)

    def test_no_permission(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> int:
            raise PermissionError(EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(OutputError, match=r"Permission denied; give the user of this run write permission"):
            to_jsonl(path).open(None, mark=None)

    @pytest.mark.parametrize(
        ("number", "step"), [(ENOSPC, "free some space"), (EFBIG, "raise the limit of file sizes")]
    )
    @pytest.mark.parametrize("can_cut", [True, False])
    def test_a_full_disk_leaves_nothing_half_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str, can_cut: bool
    ) -> None:
        writer = to_jsonl(path).open(None, mark=None)
        writer.write(records(1, 2))
        position = writer.position()
        real = os.pwrite

        def fill_up(fd: int, data: memoryview, offset: int) -> int:
            if offset > 18:
                raise OSError(number, os.strerror(number))
            return real(fd, data[:5], offset)

        def cannot_cut(*_: int) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fill_up)
            if not can_cut:
                patch.setattr(os, "ftruncate", cannot_cut)
            with pytest.raises(OutputError, match=rf"cannot write .*{os.strerror(number)}; {step}.*and run again"):
                writer.write(records(3, 4))
        assert path.read_bytes() == content(1, 2) + (b"" if can_cut else b'{"n":')
        writer.close()
        resumed = to_jsonl(path).open(position, mark=None)
        assert path.read_bytes() == content(1, 2)
        resumed.write(records(3))
        assert path.read_bytes() == content(1, 2, 3)

    @pytest.mark.parametrize("bad", ["", b"a"])
    def test_no_path(self, bad: Any) -> None:
        with pytest.raises(UsageError, match=r"to_jsonl\(.*\): expected the path of a file as text"):
            to_jsonl(bad)


def test_describe() -> None:
    assert to_jsonl("triggers.jsonl").describe() == "file triggers.jsonl"
