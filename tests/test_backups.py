"""Backups: incremental, restored exactly, dropped when they are too old; in a folder and in an S3 server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backups_harness import BUCKET, Counted, claimed, restored, s3_server, unmoved, with_environment
from tests.evolve_harness import PARTS, SEEN, given_alone, keep, outputs, part

from headway.backups.catalog import FencedError
from headway.backups.prune import prune_backups
from headway.backups.restore import find_backup, known_backups, restore_backup, verify_backup
from headway.backups.store import Store, StoreError, open_store
from headway.errors import IncompatibleStateError, LockedStateError, UsageError
from headway.runtime.directory import StateDirectory


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "file":
        yield open_store(f"file:{tmp_path}/kept/elsewhere")
        return
    with with_environment(request.getfixturevalue("s3")):
        yield open_store(f"s3://{BUCKET}/{tmp_path.name}")


def lose(directory: Path) -> None:
    shutil.rmtree(directory / "state")


def test_a_directory_that_is_gone_goes_on_from_its_last_backup(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 30))
    backups = claimed(store, tmp_path)
    first = backups.create()
    keep(tmp_path, SEEN, part(0, 60))
    second = backups.create()
    assert [listed.name for listed in known_backups(store).backups] == [first.name, second.name]
    assert (first.events, second.events) == (30, 60)
    keep(tmp_path, SEEN, part(0, 80))
    lose(tmp_path)
    restored(store, tmp_path)
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)
    assert claimed(store, tmp_path).create().events == 90


def test_an_earlier_one_is_restored_by_its_name(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 30))
    backups = claimed(store, tmp_path)
    first = backups.create("a")
    keep(tmp_path, SEEN, part(0, 60))
    backups.create("b")
    lose(tmp_path)
    restored(store, tmp_path, first.name)
    with pytest.raises(LockedStateError, match="does not go on from its last backup, b"):
        claimed(store, tmp_path)
    with pytest.raises(UsageError, match="has no backup 'c': expected one of a, b"):
        find_backup(store, known_backups(store), "c")
    assert claimed(store, tmp_path, take_over=True).create("c").events == 30
    assert [listed.name for listed in known_backups(store).backups] == ["a", "b", "c"]
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def test_nothing_is_sent_twice(store: Store, tmp_path: Path) -> None:
    counted = Counted(store)
    for step in (20, 40, 60):
        keep(tmp_path, SEEN, part(0, step))
        # Each claim is a run of its own, which asks the store what that has.
        backups = claimed(counted, tmp_path)
        backups.create()
        keep(tmp_path, SEEN, part(0, step + 10))
        backups.create()
    digests = [key.rpartition("/")[2] for key, _ in counted.sent]
    assert len(digests) == len(set(digests))
    last = known_backups(store).backups[-1]
    # What lies in the memory of a key group is a new file in each backup; here that is most of it.
    assert last.sent_bytes < last.size_bytes * 0.75
    assert not list(verify_backup(store, last))


def test_old_ones_are_dropped_and_their_objects_removed(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 20))
    backups = claimed(store, tmp_path)
    made = []
    for step in range(2, 7):
        keep(tmp_path, SEEN, part(0, 10 * step))
        made.append(backups.create(keep=2).name)
    catalog = known_backups(store)
    assert [listed.name for listed in catalog.backups] == made[-2:]
    for listed in catalog.backups:
        assert not list(verify_backup(store, listed))
    assert len(list(store.keys("manifests/"))) == 2
    before = len(list(store.keys("files/")))
    assert [listed.name for listed in prune_backups(store, 1, pause=unmoved)] == [made[-2]]
    assert not prune_backups(store, 1, pause=unmoved)
    with pytest.raises(FencedError):
        backups.check()
    claimed(store, tmp_path).check()
    assert len(list(store.keys("files/"))) < before
    [last] = known_backups(store).backups
    assert not list(verify_backup(store, last))
    lose(tmp_path)
    restored(store, tmp_path)


def test_the_savepoints_of_a_directory_stay_few(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 20))
    backups = claimed(store, tmp_path)
    made = [backups.create().name for _ in range(3)]
    kept = {path.name for path in (tmp_path / "state" / "savepoints").iterdir()} - {".lock"}
    assert kept == {made[-1]}


def test_whoever_claims_a_place_fences_the_one_before(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 20))
    old = claimed(store, tmp_path)
    name = old.create().name
    shutil.copytree(tmp_path, tmp_path / "copy")
    new = claimed(store, tmp_path / "copy")
    with pytest.raises(FencedError, match=r"was claimed by process \d+ on .*copy/state"):
        old.check()
    with pytest.raises(FencedError, match="adds no more backups"):
        old.create()
    new.check()
    assert [listed.name for listed in known_backups(store).backups] == [name]
    new.create()
    assert len(known_backups(store).backups) == 2


def test_a_directory_that_comes_back_is_refused(store: Store, tmp_path: Path) -> None:
    """Another one has gone on from the backups meanwhile: what the first holds is behind them."""
    keep(tmp_path, SEEN, part(0, 20))
    claimed(store, tmp_path).create()
    (tmp_path / "state").rename(tmp_path / "old")
    restored(store, tmp_path)
    claimed(store, tmp_path)
    lose(tmp_path)
    (tmp_path / "old").rename(tmp_path / "state")
    with pytest.raises(LockedStateError, match="--backup-take-over"):
        claimed(store, tmp_path)
    claimed(store, tmp_path, take_over=True)
    claimed(store, tmp_path)


def test_what_the_store_has_lost_is_sent_again(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 40))
    claimed(store, tmp_path).create()
    keys = sorted(store.keys("files/"))
    store.remove(keys[::2])
    [last] = known_backups(store).backups
    assert len(list(verify_backup(store, last))) == len(keys[::2])
    claimed(store, tmp_path).create()
    assert not list(verify_backup(store, known_backups(store).backups[-1]))


def test_a_place_belongs_to_one_flow(store: Store, tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 20))
    claimed(store, tmp_path).create()
    with pytest.raises(IncompatibleStateError, match="holds no state: run the flow first"):
        claimed(store, tmp_path / "others")
    catalog = known_backups(store)
    with pytest.raises(IncompatibleStateError, match="has backups of the flow 'changing', expected 'others'"):
        restore_backup(store, catalog, find_backup(store, catalog), StateDirectory(tmp_path / "state"), flow="others")


def test_a_place_without_backups(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no backups: check the address"):
        known_backups(store)
    keep(tmp_path, SEEN, part(0, 20))
    claimed(store, tmp_path)
    with pytest.raises(UsageError, match="has no backups"):
        find_backup(store, known_backups(store))


def test_a_bucket_that_is_not_there_is_not_taken_for_an_empty_one(s3: dict[str, str], tmp_path: Path) -> None:
    keep(tmp_path, SEEN, part(0, 20))
    with with_environment(s3):
        nowhere = open_store("s3://nowhere/backups")
        with pytest.raises(StoreError, match=r"there is no such bucket or container .*does not exist"):
            known_backups(nowhere)
        with pytest.raises(StoreError, match="make it first"):
            claimed(nowhere, tmp_path)


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    values = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true", "AWS_SECRET_ACCESS_KEY": "a-secret"}
    with with_environment({**values, "AWS_ACCESS_KEY_ID": "someone"}):
        store = open_store("s3://kept/backups", retries=0)
        with pytest.raises(StoreError, match=r"cannot read last in s3://kept/backups") as caught:
            known_backups(store)
    assert "a-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("backups", "names no place for backups: write file:PATH, s3://BUCKET/PATH"),
        ("ftp://there/backups", "'ftp://there/backups' names no place"),
        ("s3:backups", "names no place"),
        ("file:", "names no folder of this machine"),
        ("file://elsewhere/backups", "names no folder of this machine"),
        ("s3://me:hunter2@kept/backups", "holds a user, a password or parameters"),
        ("az://account/kept?sig=hunter2", "holds a user, a password or parameters"),
    ],
)
def test_urls_that_cannot_be(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
