"""Checksums of a savepoint's large files are begun before its epoch has ended, and are those of what it holds then."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from tests.cluster_harness import await_true

from headway.state import savepoint
from headway.state.savepoint import Known, SumsAhead, list_files


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in that order."""
    found: list[str] = []
    read = savepoint._sum_of

    def noted(path: Path, *, sync: bool = False) -> str:
        found.append(path.name)
        return read(path, sync=sync)

    monkeypatch.setattr(savepoint, "_sum_of", noted)
    return found


def directory(tmp_path: Path) -> tuple[Path, Path]:
    """The groups of a flow that runs, and the folder of a draft."""
    group, draft = tmp_path / "state" / "groups" / "000", tmp_path / "draft" / "groups" / "000"
    group.mkdir(parents=True)
    draft.mkdir(parents=True)
    for name in ("000001.sst", "000002.sst", "000003.sst", "000004.log"):
        (group / name).write_bytes(name.encode() * 1_000)
    return group, draft


def ahead(group: Path, known: Known, reads: list[str], count: int) -> Known:
    with SumsAhead(group.parents[1], known) as sums:
        await_true(lambda: len(reads) == count and not sums._thread.is_alive(), "the files to be read")
        return sums.known()


def test_each_file_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    group, draft = directory(tmp_path)
    known = ahead(group, {}, reads, 3)
    assert reads == ["000001.sst", "000002.sst", "000003.sst"]
    for name in ("000001.sst", "000003.sst"):
        os.link(group / name, draft / name)
    (draft / "000004.log").write_bytes(b"a copy")
    listed = list_files(tmp_path / "draft", known)
    assert reads[3:] == ["000004.log"]
    assert {name: entry.sha256 for name, entry in listed.items()} == {
        f"groups/000/{path.name}": sha256(path.read_bytes()).hexdigest() for path in draft.iterdir()
    }
    assert ahead(group, known, reads, 4) is known
    assert len(reads) == 4


def test_a_file_that_has_changed_since_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    """One that was still being written, and one that has the inode of another one that is gone."""
    group, draft = directory(tmp_path)
    known = ahead(group, {}, reads, 3)
    with (group / "000001.sst").open("ab") as file:
        file.write(b"more")
    with (group / "000002.sst").open("r+b") as file:
        file.write(b"!")
    os.utime(group / "000002.sst", ns=(0, 0))
    for name in ("000001.sst", "000002.sst", "000003.sst"):
        os.link(group / name, draft / name)
    listed = list_files(tmp_path / "draft", known)
    assert sorted(reads[3:]) == ["000001.sst", "000002.sst"]
    assert {entry.sha256 for entry in listed.values()} == {
        sha256(path.read_bytes()).hexdigest() for path in draft.iterdir()
    }


def test_the_end_of_the_block_waits_for_no_more_than_one_file(tmp_path: Path, reads: list[str]) -> None:
    group, _ = directory(tmp_path)
    sums = SumsAhead(group.parents[1], {})
    sums._ended.set()
    with sums:
        assert sums.known() == {}
    assert reads == []
