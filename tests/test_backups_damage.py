"""Backups of which anything is not as it was sent: refused by the name of the object, before anything is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backups_harness import claimed, restored
from tests.evolve_harness import PARTS, SEEN, given_alone, keep, outputs, part
from tests.savepoints_harness import no_database

from headway.backups.create import Backups
from headway.backups.restore import known_backups, verify_backup
from headway.backups.store import Store, open_store
from headway.errors import CorruptStateError, HeadwayError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow that has made three backups, the last two of which share files."""
    directory = tmp_path_factory.mktemp("made")
    keep(directory, SEEN, part(0, 20))
    backups: Backups = claimed(open_store(f"file:{directory}/kept"), directory)
    for seen in (20, 40, 60):
        keep(directory, SEEN, part(0, seen))
        backups.create()
    return directory


def flipped(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncated(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] if path.stat().st_size else b"no longer empty")


def longer(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def missing(path: Path, other: Path) -> None:
    path.unlink()


def swapped(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


DAMAGES = [flipped, truncated, longer, missing, swapped]


def needed(store: Store) -> list[str]:
    """All objects that the last backup needs."""
    from headway.backups.manifest import Manifest

    catalog = known_backups(store)
    last = catalog.backups[-1]
    return [f"catalog/{catalog.number}", last.manifest, *Manifest.load(store, last).objects()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_object_that_is_damaged_is_named(made: Path, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    keys = needed(open_store(f"file:{made}/kept"))
    assert len(keys) > 12
    names = sorted(str(path.relative_to(made / "kept")) for path in (made / "kept").rglob("*") if path.is_file())
    for key in keys:
        folder = key.rpartition("/")[0]
        other = next(name for name in names if name.startswith(folder) and name != key)
        shutil.copytree(made / "kept", tmp_path / "kept")
        damage(tmp_path / "kept" / key, made / "kept" / other)
        with no_database(), pytest.raises(CorruptStateError) as caught:
            restored(open_store(f"file:{tmp_path}/kept"), tmp_path, outputs="back")
        assert key in str(caught.value), (key, str(caught.value))
        left = [path.name for path in (tmp_path / "state").iterdir()] if (tmp_path / "state").exists() else []
        assert set(left) <= {"savepoints"}
        shutil.rmtree(tmp_path / "kept")
        shutil.rmtree(tmp_path / "state", ignore_errors=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_damaged_objects_are_told_at_once(made: Path, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    shutil.copytree(made / "kept", tmp_path / "kept")
    store = open_store(f"file:{tmp_path}/kept")
    files = needed(store)[2:]
    for key, other in zip(files[:3], files[3:6]):
        damage(tmp_path / "kept" / key, made / "kept" / other)
    told = [str(error) for error in verify_backup(store, known_backups(store).backups[-1])]
    assert len(told) == 3
    assert all(any(key in text for text in told) for key in files[:3])


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_needed_does_no_harm(made: Path, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    """Damage of the other objects is refused, or changes nothing of what is restored."""
    keys = set(needed(open_store(f"file:{made}/kept")))
    names = sorted(str(path.relative_to(made / "kept")) for path in (made / "kept").rglob("*") if path.is_file())
    others = [name for name in names if name not in keys]
    files = [name for name in others if name.startswith("files/")]
    assert len(files) > 3
    for number, name in enumerate(name for name in others if name not in files[2:]):
        directory = tmp_path / str(number)
        shutil.copytree(made / "kept", directory / "kept")
        shutil.copy(made / "seen.jsonl", directory / "seen.jsonl")
        damage(directory / "kept" / name, made / "kept" / needed(open_store(f"file:{made}/kept"))[0])
        try:
            restored(open_store(f"file:{directory}/kept"), directory, outputs="back")
        except HeadwayError as error:
            assert name in str(error) or "catalog/" in str(error)
            continue
        if number % 4 == 0:
            keep(directory, SEEN, PARTS, drain=True)
            assert outputs(directory) == given_alone(SEEN, PARTS), name


def test_one_that_is_damaged_does_not_keep_the_next_from_being_made(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made, tmp_path / "made")
    store = open_store(f"file:{tmp_path}/made/kept")
    first = known_backups(store).backups[0]
    (tmp_path / "made" / "kept" / first.manifest).write_bytes(b"{}")
    before = set(store.keys("files/"))
    backups = claimed(store, tmp_path / "made")
    assert first.name in caplog.text
    made_now = backups.create(keep=3)
    assert not list(verify_backup(store, made_now))
    assert len(known_backups(store).backups) == 3
    assert before - set(store.keys("files/")), "the damaged one was dropped, and what it alone needed"
