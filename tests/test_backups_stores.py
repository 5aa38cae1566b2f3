"""Backups in stores that fail, lose the answer to a write that happened, tell stale listings, or take long."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
from tests.backups_harness import Counted, Unreliable, claimed, restored, until_made
from tests.evolve_harness import PARTS, SEEN, flow_of, given_alone, keep, options, outputs, part, write

from headway.backups.automatic import AutomaticBackups
from headway.backups.catalog import Catalog, FencedError, Version, new_writer
from headway.backups.create import Backups
from headway.backups.lease import LASTS_S, Lease, await_end
from headway.backups.restore import known_backups, verify_backup
from headway.backups.store import StoreError, open_store
from headway.errors import LockedStateError, UsageError
from headway.runtime.directory import StateDirectory
from headway.runtime.run import run_flow
from headway.runtime.stopping import StopFlag

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 40))])
def test_whatever_a_store_does_what_it_lists_is_whole(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    plain = open_store(f"file:{tmp_path}/kept")
    store = Unreliable(plain, seed, fails=0.04, loses=0.04, stale=rng.random() < 0.7)
    keep(tmp_path, SEEN, part(0, 10))
    backups = again(store, tmp_path)
    seen = 10
    made = []
    for _ in range(6):
        seen += rng.randint(1, 12)
        keep(tmp_path, SEEN, part(0, seen))
        if rng.random() < 0.4:  # As if the run had been killed: what it knew of the store is gone.
            backups = again(store, tmp_path)
        made.append(until_made(partial(backups.create, keep=3)))
        listed = known_backups(plain).backups
        # One whose last answer was lost is there too.
        assert listed[-1].name == made[-1].name
        assert len(listed) <= 3
        assert not [error for one in listed for error in verify_backup(plain, one)]
    assert store.failed, "a store that never fails proves nothing"
    assert store.lost > 3
    shutil.rmtree(tmp_path / "state")
    restored(plain, tmp_path)
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def again(store: Unreliable, directory: Path) -> Backups:
    """A run that is started until the store lets it."""
    while True:
        with suppress(StoreError):
            return claimed(store, directory)


def test_a_lost_answer_to_the_last_write_makes_no_second_backup(tmp_path: Path) -> None:
    plain = open_store(f"file:{tmp_path}/kept")
    store = Unreliable(plain, 0)
    keep(tmp_path, SEEN, part(0, 30))
    backups = claimed(store, tmp_path)
    backups.create("a")

    def lose(key: str) -> None:
        if key.startswith("catalog/"):
            store.lost += 1
            raise StoreError(f"{key}: the connection was reset")

    store._maybe_lose = lose  # type: ignore[method-assign]
    keep(tmp_path, SEEN, part(0, 60))
    with pytest.raises(StoreError, match="was reset"):
        backups.create("b")
    store._maybe_lose = lambda key: None  # type: ignore[method-assign]
    assert [listed.name for listed in known_backups(plain).backups] == ["a", "b"]
    backups.create("c")
    assert [listed.name for listed in known_backups(plain).backups] == ["a", "b", "c"]
    assert not [error for one in known_backups(plain).backups for error in verify_backup(plain, one)]


def test_a_restore_goes_on_after_the_network_has_failed(tmp_path: Path) -> None:
    plain = open_store(f"file:{tmp_path}/kept")
    keep(tmp_path, SEEN, part(0, 50))
    claimed(plain, tmp_path).create()
    shutil.rmtree(tmp_path / "state")
    store = Unreliable(plain, 3, fails=0.05)
    tries = 0
    while True:
        tries += 1
        try:
            restored(store, tmp_path)
            break
        except StoreError:
            assert StateDirectory(tmp_path / "state").manifest() is None
    assert tries > 1
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    class Careless(Counted):
        def create(self, key: str, data: bytes) -> bool:
            self.inner.write(key, data)
            return True

    keep(tmp_path, SEEN, part(0, 20))
    with pytest.raises(UsageError, match="use a store with conditional puts"):
        claimed(Careless(open_store(f"file:{tmp_path}/kept")), tmp_path)
    assert not list(open_store(f"file:{tmp_path}/kept").keys("catalog/"))


def test_a_store_that_takes_long_does_not_hold_up_the_flow(tmp_path: Path) -> None:
    """The flow reads all of its input while the first file of a backup is still on its way."""

    class Slow(Counted):
        def __init__(self) -> None:
            super().__init__(open_store(f"file:{tmp_path}/kept"))
            self.asked, self.answers = threading.Event(), threading.Event()

        def send(self, key: str, path: Path) -> None:
            self.asked.set()
            assert self.answers.wait(60)
            super().send(key, path)

    store = Slow()
    stop = StopFlag()
    where = replace(options(tmp_path, drain=False), follow=True)
    write(tmp_path, part(0, 20))

    def more() -> None:
        assert store.asked.wait(60)
        write(tmp_path, PARTS)
        while outputs(tmp_path).get("seen", b"").count(b"\n") < 80 and not stop():
            threading.Event().wait(0.01)
        stop.set()
        store.answers.set()

    watching = threading.Thread(target=more)
    watching.start()
    backups = AutomaticBackups(store, StateDirectory(where.state_dir), every_ms=50, keep=2)
    try:
        run_flow(flow_of(SEEN, tmp_path), where, stop=stop, beside=backups.beside)
    finally:
        stop.set()
        store.answers.set()
        watching.join()
    made = backups.finish()
    assert made is not None
    assert made.events > 20, "it has read on while the first backup was on its way"
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def test_a_store_that_cannot_be_reached_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Unreliable(open_store(f"file:{tmp_path}/kept"), 0, fails=1.0)
    write(tmp_path, PARTS)
    where = options(tmp_path, drain=True)
    backups = AutomaticBackups(store, StateDirectory(where.state_dir), every_ms=10, keep=2)
    run_flow(flow_of(SEEN, tmp_path), where, beside=backups.beside)
    assert backups.finish() is None
    assert "no backups can be made yet: " in caplog.text
    assert "503 Slow Down" in caplog.text
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)
    store.fails = 0.0
    made = AutomaticBackups(store, StateDirectory(where.state_dir), every_ms=10, keep=2).finish()
    assert made is not None


def test_a_run_whose_place_is_taken_goes_on_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(f"file:{tmp_path}/kept")
    keep(tmp_path, SEEN, part(0, 20))
    backups = AutomaticBackups(store, StateDirectory(tmp_path / "state"), every_ms=3_600_000, keep=2)
    with backups.beside():
        shutil.copytree(tmp_path / "state", tmp_path / "copy" / "state")
        (tmp_path / "copy" / "state" / "backup.json").unlink()
        with pytest.raises(LockedStateError, match=r"is claimed by process \d+ on .*--backup-take-over"):
            renewing(tmp_path, backups)
        claimed(store, tmp_path / "copy", take_over=True)
        assert backups._make(lambda: False) is None
        assert "no more backups are made: " in caplog.text
        assert "copy/state" in caplog.text
    assert backups.finish() is None
    keep(tmp_path, SEEN, PARTS, drain=True)
    assert outputs(tmp_path) == given_alone(SEEN, PARTS)


def renewing(directory: Path, alive: AutomaticBackups) -> None:
    """Claim the place of a run that renews its lease whenever time goes by."""
    held = alive._backups
    assert held is not None

    def pause(seconds: float) -> None:
        held.leased()._renew()

    store = open_store(f"file:{directory}/kept")
    Backups.claimed(store, StateDirectory(directory / "copy" / "state"), pause=pause)


def version_by(number: int) -> Version:
    writer = new_writer("aa", Path("state"))
    return Version(number=number, place="p", flow="f", kind="claim", at_ms=NOW_MS, claim=number, writer=writer)


class Clock:
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.paused_s = 0.0

    def __call__(self) -> int:
        return self.now_ms

    def pause(self, seconds: float) -> None:
        self.paused_s += seconds
        self.now_ms += round(1_000 * seconds)


@pytest.mark.parametrize(
    ("until_ms", "now_ms", "waits_s"),
    [
        (NOW_MS, NOW_MS + 31_000, 0.0),  # It ran out long ago.
        (NOW_MS, NOW_MS + 29_000, LASTS_S),  # Clocks may differ by so much.
        (NOW_MS + 86_400_000, NOW_MS, LASTS_S),  # Its clock was wrong by a day.
        (0, NOW_MS, 0.0),  # It was given back.
        (None, NOW_MS, LASTS_S),  # The claim is new, and there is no lease yet.
        (None, NOW_MS + 51_000, 0.0),
    ],
)
def test_whoever_is_gone_is_waited_for_only_when_he_was_seen_lately(
    tmp_path: Path, until_ms: int | None, now_ms: int, waits_s: float
) -> None:
    store = open_store(f"file:{tmp_path}")
    if until_ms is not None:
        store.write("leases/7", f'{{"until_ms": {until_ms}}}'.encode())
    clock = Clock(now_ms)
    await_end(store, version_by(7), now_ms=clock, pause=clock.pause)
    assert clock.paused_s == waits_s


def test_a_lease_that_is_given_back_meanwhile(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path}")
    clock = Clock(NOW_MS)
    store.write("leases/7", f'{{"until_ms": {NOW_MS}}}'.encode())

    def pause(seconds: float) -> None:
        clock.pause(seconds)
        store.write("leases/7", b'{"until_ms": 0}')

    await_end(store, version_by(7), now_ms=clock, pause=pause)
    assert clock.paused_s == 1.0


def test_a_lease_is_given_back_and_fenced(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path}")
    told: list[FencedError] = []

    def check() -> None:
        raise FencedError("another one")

    with Lease(store, 7, lambda: None):
        assert b'"until_ms":1' in (store.read("leases/7") or b"")
    assert store.read("leases/7") == b'{"until_ms":0}'
    lease = Lease(store, 8, check, told.append)
    assert not lease._renew()
    assert [str(error) for error in told] == ["another one"]


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 511, 512, 513, 700, 1_300])
def test_the_last_version_is_found_among_any_number(tmp_path: Path, count: int) -> None:
    """Old versions are removed, claims stay, and no listing is asked."""

    class Memory(Counted):
        def __init__(self) -> None:
            super().__init__(open_store(f"file:{tmp_path}"))
            self.objects: dict[str, bytes] = {}

        def read(self, key: str) -> bytes | None:
            return self.objects.get(key)

        def exists(self, key: str) -> bool:
            return key in self.objects

        def create(self, key: str, data: bytes) -> bool:
            return self.objects.setdefault(key, data) is data

        def write(self, key: str, data: bytes) -> None:
            self.objects[key] = data

        def remove(self, keys: object) -> None:
            for key in keys:  # type: ignore[attr-defined]
                self.objects.pop(key, None)

    store = Memory()
    catalog = Catalog(store)
    rng = Random(count)
    version: Version | None = None
    old: Version | None = None
    for _ in range(count):
        if version is None or rng.random() < 0.02:
            old = old or version
            version = catalog.claim(new_writer("aa", tmp_path), "f", NOW_MS, version)
        else:
            version = catalog.change(version, replace_kind)
    assert Catalog(store).head() == version
    assert len([key for key in store.objects if key.startswith("catalog/")]) <= 513 + 0.1 * count
    if old is not None:  # The last version that the first writer has made, before the next one came.
        with pytest.raises(FencedError):
            catalog.change(old, replace_kind)


def replace_kind(last: Version) -> Version:
    import msgspec

    return msgspec.structs.replace(last, kind="drop")


def test_a_backup_that_is_published_while_the_last_one_is_looked_for_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"file:{tmp_path}/kept")
    keep(tmp_path, SEEN, part(0, 20))
    backups = claimed(store, tmp_path)
    backups.create()
    search = Catalog._last_from

    def meanwhile(self: Catalog, known: int, step: int) -> int:
        found = search(self, known, step)
        if step == 1:
            monkeypatch.setattr(Catalog, "_last_from", search)
            backups.create()
        return found

    monkeypatch.setattr(Catalog, "_last_from", meanwhile)
    head = Catalog(store).head()
    assert head is not None
    assert head.number >= 2
