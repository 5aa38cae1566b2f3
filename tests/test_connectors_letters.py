"""The files of dead letters: which are ours, how many are open, and what happens when the system refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.connectors import letters
from headway.connectors.base import Position
from headway.connectors.letters import LetterFiles, letter_file
from headway.errors import OutputError


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def lines_in(directory: Path) -> dict[str, list[bytes]]:
    found = {str(path.relative_to(directory)): path.read_bytes().splitlines() for path in directory.glob("*/*.jsonl")}
    return {name: lines for name, lines in found.items() if lines}


def test_only_files_that_a_run_has_made_are_removed(tmp_path: Path) -> None:
    ours = tmp_path / "letters" / letter_file("log", "a.jsonl")
    others = [
        tmp_path / "letters" / "log" / "corrected.jsonl",
        tmp_path / "letters" / "log" / f"{ours.name}.1",
        tmp_path / "letters" / "log" / "a.jsonl-0123456g.jsonl",
        tmp_path / "elsewhere" / ours.name,
    ]
    for path in (ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious\n")
    (tmp_path / "letters" / "linked").symlink_to(tmp_path / "elsewhere")
    link = tmp_path / "letters" / letter_file("log", "link")
    link.symlink_to(others[0])
    LetterFiles(tmp_path / "letters").open(None, mark=None).close()
    assert not ours.exists()
    assert link.is_symlink() and all(path.read_text() == "precious\n" for path in others)


@pytest.fixture
def few_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(letters, "OPEN_MAX", 3)
    yield 3


def test_few_are_open_however_many_partitions_have_letters(tmp_path: Path, few_open: int) -> None:
    before, most = open_files(), 0
    writer = LetterFiles(tmp_path).open(None, mark=None)
    for part in range(40):
        writer.write_of("log", str(part % 20), [b"%d" % part])
        most = max(most, open_files() - before)
    position = writer.position()
    assert (most, open_files()) == (few_open, before)
    writer.close()
    resumed = LetterFiles(tmp_path).open(position, mark=None)
    assert open_files() == before
    resumed.close()
    assert lines_in(tmp_path) == {
        letter_file("log", str(part)): [b"%d" % part, b"%d" % (part + 20)] for part in range(20)
    }


@given(st.lists(st.lists(st.integers(0, 6), max_size=20), max_size=5), st.data())
@settings(max_examples=40, deadline=None)
def test_an_epoch_that_is_done_again_leaves_each_letter_once(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[list[int]], data: st.DataObject
) -> None:
    """Whatever had to be closed in its midst."""
    directory = tmp_path_factory.mktemp("letters")
    position: Position = {}
    expected: dict[str, list[bytes]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters, "OPEN_MAX", 2)
        for number, parts in enumerate(epochs):
            for done in (data.draw(st.integers(0, len(parts))), len(parts)):
                writer = LetterFiles(directory).open(position, mark=None)
                for part in parts[:done]:
                    writer.write_of("log", str(part), [b"%d" % number])
            position = writer.position()
            writer.close()
            for part in parts:
                expected.setdefault(letter_file("log", str(part)), []).append(b"%d" % number)
            assert lines_in(directory) == expected


CALLS = ("fstat", "pread", "pwrite", "open", "fsync", "ftruncate", "makedirs", "scandir", "unlink")


def use(directory: Path, position: Position) -> None:
    writer = LetterFiles(directory).open(position, mark=None)
    try:
        writer.write_of("log", "a", [b"3"])
        writer.write_of("log", "b", [b"4"])
        writer.position()
    finally:
        writer.close()


@pytest.mark.parametrize("call", CALLS)
def test_whatever_the_system_refuses_is_an_error_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The first call of the kind, the second one and so on, until there are no more: no file stays open."""
    writer = LetterFiles(tmp_path).open(None, mark=None)
    writer.write_of("log", "a", [b"1"])
    position = writer.position()
    writer.close()
    real, before, refused = getattr(os, call), open_files(), 0
    for nth in range(100):
        left = [nth]
        (tmp_path / letter_file("log", "b")).write_text("of a later epoch\n")

        def counted(*args: object, left: list[int] = left, **options: object) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(24, "Too many open files")
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, counted)
            try:
                use(tmp_path, position)
            except OutputError as error:
                refused += 1
                assert "Too many open files; raise the limit of open files (`ulimit -n`)" in str(error)
        assert open_files() == before
        if left[0] >= 0:
            break
    assert refused
