"""A savepoint of which anything is not as it was made is refused by the name of the file, before anything is opened."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evolve_harness import PARTS, SEEN, given_alone, keep, outputs, part
from tests.savepoints_harness import found_in, no_database

from headway.errors import CorruptStateError, IncompatibleStateError, UsageError
from headway.runtime.directory import StateDirectory
from headway.savepoints.archive import export_savepoint, import_savepoint
from headway.savepoints.create import create_savepoint
from headway.savepoints.restore import restore_savepoint
from headway.savepoints.shelf import Shelf
from headway.state.savepoint import SAVEPOINT_NAME, SavepointInfo, check_savepoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two savepoints, `a` and `b`, of one flow at two moments."""
    directory = tmp_path_factory.mktemp("made")
    keep(directory, SEEN, part(0, 40))
    create_savepoint(StateDirectory(directory / "state"), "a")
    keep(directory, SEEN, part(0, 60))
    create_savepoint(StateDirectory(directory / "state"), "b")
    return directory


def savepoint(made: Path, name: str = "a") -> Path:
    return Shelf(made / "state").path(name)


def flipped(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    replaced(path, bytes(data))


def replaced(path: Path, data: bytes) -> None:
    """Another file of that name: the old one may have other names."""
    path.unlink()
    path.write_bytes(data)


def truncated(path: Path, other: Path) -> None:
    replaced(path, path.read_bytes()[:-1])


def missing(path: Path, other: Path) -> None:
    path.unlink()


def swapped(path: Path, other: Path) -> None:
    data = other.read_bytes() if other.exists() else b"not there"
    replaced(path, data if data != path.read_bytes() else data + b"!")


def linked(path: Path, other: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


DAMAGES = [flipped, truncated, missing, swapped, linked]


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_that_is_damaged_is_named(made: Path, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    names = [path.relative_to(savepoint(made)) for path in savepoint(made).rglob("*") if path.is_file()]
    assert len(names) > 15
    assert check_savepoint(savepoint(made)).name == "a"
    for name in names:
        copy = tmp_path / "copies" / "a"
        shutil.copytree(savepoint(made), copy)
        if (copy / name).stat().st_size == 0 and damage in {flipped, truncated}:
            replaced(copy / name, b"no longer empty")
        else:
            damage(copy / name, savepoint(made, "b") / name)
        with no_database(), pytest.raises(Exception) as caught:
            restore_savepoint(copy, StateDirectory(tmp_path / "into"), outputs="back")
        assert caught.type.__name__ in {"CorruptStateError", "IncompatibleStateError", "StateError"}, (name, caught)
        assert str(name) in str(caught.value) or "aside" in str(caught.value), (name, str(caught.value))
        assert not (tmp_path / "into").exists()
        shutil.rmtree(copy)


def test_a_file_more_is_named(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a"
    shutil.copytree(savepoint(made), copy)
    (copy / "groups" / "000" / "999999.sst").write_bytes(b"")
    with no_database(), pytest.raises(CorruptStateError, match=r"999999\.sst does not belong to it"):
        restore_savepoint(copy, StateDirectory(tmp_path / "into"))


def test_a_savepoint_in_the_place_of_another_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(savepoint(made, "b"), tmp_path / "a")
    with no_database(), pytest.raises(CorruptStateError, match="is that of the savepoint 'b', expected 'a'"):
        check_savepoint(tmp_path / "a")


def test_another_format_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(savepoint(made), tmp_path / "a")
    path = tmp_path / "a" / SAVEPOINT_NAME
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(IncompatibleStateError, match="has format 2, expected 1"):
        SavepointInfo.load(tmp_path / "a")


def test_an_archive_is_the_savepoint(made: Path, tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        export_savepoint(savepoint(made), tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert (tmp_path / "one.tar").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="is there already"):
        export_savepoint(savepoint(made), tmp_path / "one.tar")
    assert import_savepoint(tmp_path / "one.tar", tmp_path / "into").name == "a"
    assert import_savepoint(tmp_path / "one.tar", tmp_path / "into", "c").name == "c"
    with pytest.raises(UsageError, match="has a savepoint 'a' already"):
        import_savepoint(tmp_path / "one.tar", tmp_path / "into")
    for name in ("a", "c"):
        assert check_savepoint(tmp_path / "into" / "savepoints" / name).files == check_savepoint(savepoint(made)).files
    assert found_in(tmp_path / "into") == [".lock", "a", "c"]


def test_a_damaged_archive_places_nothing(made: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    export_savepoint(savepoint(made), archive)
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        contents = [member for member in tar if member.size]
    places = [member.offset_data + member.size // 2 for member in contents]
    heads = [member.offset_data - 512 for member in contents]
    cuts = [0, 100, 512, *places, len(whole) // 2]
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places + heads]
    for number, data in enumerate([*damaged, *(whole[:at] for at in cuts)]):
        archive.write_bytes(data)
        with no_database(), pytest.raises(CorruptStateError):
            import_savepoint(archive, tmp_path / "into")
        assert found_in(tmp_path / "into") in (None, [".lock"]), number


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../escaped", tarfile.REGTYPE),
        ("/tmp/savepoints-escaped", tarfile.REGTYPE),
        ("groups/000/CURRENT", tarfile.SYMTYPE),
        ("groups/000/CURRENT", tarfile.LNKTYPE),
        ("groups/000/CURRENT", tarfile.FIFOTYPE),
        ("more", tarfile.REGTYPE),
    ],
)
def test_an_archive_writes_nowhere_else(made: Path, tmp_path: Path, name: str, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        data = SavepointInfo.load(savepoint(made)).encoded()
        head = tarfile.TarInfo(SAVEPOINT_NAME)
        head.size = len(data)
        tar.addfile(head, io.BytesIO(data))
        bad = tarfile.TarInfo(name)
        bad.type, bad.linkname = kind, "/etc/passwd"
        tar.addfile(bad)
    with pytest.raises(CorruptStateError, match="does not belong to it"):
        import_savepoint(tmp_path / "a.tar", tmp_path / "into")
    assert not (tmp_path / "escaped").exists()


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no archive" * 1000)
    with pytest.raises(CorruptStateError, match="cannot be read"):
        import_savepoint(tmp_path / "a.tar", tmp_path / "into")


def test_an_archive_is_restored_elsewhere(made: Path, tmp_path: Path) -> None:
    export_savepoint(savepoint(made), tmp_path / "a.tar")
    shutil.copy(made / "seen.jsonl", tmp_path / "seen.jsonl")
    import_savepoint(tmp_path / "a.tar", tmp_path / "state")
    restore_savepoint(savepoint(tmp_path), StateDirectory(tmp_path / "state"), outputs="back")
    keep(tmp_path, SEEN, PARTS, drain=False)
    assert given_alone(SEEN, PARTS)["seen"].startswith(outputs(tmp_path)["seen"])


def test_an_export_that_fails_leaves_nothing(made: Path, tmp_path: Path) -> None:
    """What is damaged is found while it is written."""
    shutil.copytree(made, tmp_path / "made")
    path = next(iter(sorted((savepoint(tmp_path / "made") / "groups" / "000").glob("*.sst"))))
    flipped(path, path)
    with pytest.raises(CorruptStateError, match=rf"{path.name} is not what was written"):
        export_savepoint(savepoint(tmp_path / "made"), tmp_path / "a.tar")
    assert not list(tmp_path.glob("a.tar*"))


def test_what_is_restored_has_reached_the_disk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and names alike, before the new groups take the place of the old ones."""
    synced: set[int] = set()
    sync = os.fsync

    def noted(file: int) -> None:
        synced.add(os.fstat(file).st_ino)
        sync(file)

    monkeypatch.setattr(os, "fsync", noted)
    restore_savepoint(savepoint(made), StateDirectory(tmp_path / "state"), outputs="back")
    found = [path for path in (tmp_path / "state" / "groups").rglob("*") if path.stat().st_nlink == 1 or path.is_dir()]
    assert len(found) > 4
    assert [path for path in found if path.stat().st_ino not in synced] == []


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a" * 101])
def test_names_that_cannot_be(made: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(made, tmp_path / "made")
    export_savepoint(savepoint(made), tmp_path / "a.tar")
    directory = StateDirectory(savepoint(tmp_path / "made").parents[1])
    for make in (
        lambda: create_savepoint(directory, name),
        lambda: import_savepoint(tmp_path / "a.tar", tmp_path / "into", name),
        lambda: Shelf(directory.path).path(name),
    ):
        with pytest.raises(UsageError, match="is no name for a savepoint"):
            make()
