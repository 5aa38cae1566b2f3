"""Files of the state directory: only their owner may use them, and no link in them leads a run elsewhere."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster_harness import Started

from headway.connectors.letters import dead_letters_of, letter_file
from headway.errors import OutputError, StateError
from headway.runtime.board import Board
from headway.runtime.last_run import save_stats
from headway.runtime.stats import total
from headway.state.group import GroupStore
from headway.state.lock import DirectoryLock
from headway.state.manifest import Manifest
from headway.state.private import make_private, open_private, secure, write_private

FLOW = """
import headway as hw


class Click(hw.Event):
    user: str
    at: hw.Time


flow = hw.Flow("clicks")
clicks = flow.source("clicks", Click, hw.files("clicks-*.jsonl"), time="at")
clicks.key_by("user").aggregate("n", n=hw.count()).to("counted", hw.to_jsonl("out/counted.jsonl"))
"""
MANIFEST = Manifest(flow="f", key_groups=1, sources={}, operators={}, stages=[], outputs={})


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def modes(directory: Path) -> set[tuple[bool, int]]:
    """Of everything below: whether it is a directory, and its mode."""
    return {(path.is_dir(), mode(path)) for path in (directory, *directory.rglob("*"))}


def feed(here: Path) -> None:
    (here / "clicks.py").write_text(FLOW)
    for part in range(2):
        lines = [json.dumps({"user": f"user{at % 9}", "at": at}) for at in range(100)]
        (here / f"clicks-{part}.jsonl").write_text("\n".join([*lines, "broken"]) + "\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_only_the_owner_may_use_what_a_run_keeps(tmp_path: Path, umask: int, workers: int) -> None:
    feed(tmp_path)
    told = Started(tmp_path, "clicks.py", "--state", "deep/state", "--workers", workers, "--json").summary()
    assert told["dead_letters"] == 2
    assert modes(tmp_path / "deep" / "state") == {(True, 0o700), (False, 0o600)}
    assert mode(tmp_path / "out" / "counted.jsonl") == 0o666 & ~umask
    assert mode(tmp_path / "out") == 0o777 & ~umask


def test_a_state_directory_that_was_open_is_shut_by_the_next_run(tmp_path: Path) -> None:
    feed(tmp_path)
    Started(tmp_path, "clicks.py", "--state", "state", "--json").summary()
    state = tmp_path / "state"
    for path in (state, *state.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    Started(tmp_path, "clicks.py", "--state", "state", "--json").summary()
    assert modes(state) == {(True, 0o700), (False, 0o600)}


def test_a_directory_that_is_no_state_directory_keeps_its_mode(tmp_path: Path) -> None:
    feed(tmp_path)
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    folder.chmod(0o755)
    code, told = Started(tmp_path, "clicks.py", "--state", "thesis", "--quiet").outcome()
    assert (code, mode(folder)) == (3, 0o755)
    assert "is not a state directory" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    feed(tmp_path)
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, 65534)
    code, told = Started(tmp_path, "clicks.py", "--state", "state", "--quiet").outcome()
    assert code == 3
    assert f"state belongs to user 65534, and this run is of user {os.geteuid()}" in told
    os.chown(tmp_path / "state", os.geteuid(), -1)
    (tmp_path / "state" / "lock").touch()
    os.chown(tmp_path / "state" / "lock", 65534, -1)
    assert Started(tmp_path, "clicks.py", "--state", "state", "--quiet").outcome()[0] == 3


PLANTED = ["lock", "engine-1", "groups", "groups/001", "outputs", "run", "run/worker-0.log", "dead-letters", "mine"]


@pytest.mark.parametrize("name", PLANTED)
def test_a_link_anywhere_in_the_directory_is_refused_and_not_followed(tmp_path: Path, name: str) -> None:
    feed(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    Started(tmp_path, "clicks.py", "--state", "state", "--json").summary()
    place = tmp_path / "state" / name
    if place.exists():
        place.rename(tmp_path / "moved")
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    code, told = Started(tmp_path, "clicks.py", "--state", "state", "--workers", 2, "--quiet").outcome()
    assert code == 3, told
    assert f"state/{name} is a symbolic link: expected none in a state directory" in told
    assert elsewhere.read_text() == "precious"


def write_letter(directory: Path) -> None:
    writer = dead_letters_of(directory).open(None, mark=None)
    writer.write_of("s", "p", [b"{}"])


WRITERS: dict[str, Callable[[Path], object]] = {
    "flow.json": MANIFEST.create,
    "flow.json.tmp": MANIFEST.create,
    "lock": DirectoryLock.acquire,
    "last-run.json": lambda directory: save_stats(directory, total([])),
    "last-run.json.tmp": lambda directory: save_stats(directory, total([])),
    "board": lambda directory: Board.create(directory / "board", 3, 2),
    "board.tmp": lambda directory: Board.create(directory / "board", 3, 2),
    f"dead-letters/{letter_file('s', 'p')}": write_letter,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("dangling", [False, True])
def test_no_writer_follows_a_link(tmp_path: Path, name: str, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if not dangling:
        elsewhere.write_text("precious")
    directory = tmp_path / "state"
    make_private(directory)
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).symlink_to(elsewhere)
    try:
        WRITERS[name](directory)
    except (StateError, OutputError) as error:
        assert str(directory / name) in str(error)
    else:
        assert not (directory / name).is_symlink()
    assert (elsewhere.read_text() == "precious") if not dangling else not elsewhere.exists()


def test_a_file_is_put_in_place_whole(tmp_path: Path) -> None:
    (tmp_path / "file.tmp").write_text("left by a killed process")
    write_private(tmp_path / "file", b"new", sync=True)
    assert ((tmp_path / "file").read_bytes(), mode(tmp_path / "file")) == (b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_private(tmp_path / "missing", os.O_RDONLY)
    secure(tmp_path)
    assert mode(tmp_path) == 0o700


def test_databases_follow_where_there_is_no_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "state")
        GroupStore.open(tmp_path / "state", 3).close()
    finally:
        os.umask(before)
    assert modes(tmp_path / "state") == {(True, 0o700), (False, 0o600)}
