"""Snapshots over key groups that promote when they like: always one epoch, never an older one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headway.state import feed
from headway.state.cut import CUT_NAME, Cut
from headway.state.group import GroupStore
from headway.state.groups import group_of
from headway.state.inputs import InputCodec
from headway.state.keys import ID_BYTES, id_bytes, successor
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.snapshots import Follower, Snapshot
from headway.state.stage import OperatorSpec, StageStore

GROUPS, OPERATOR = 3, 2
KEYS = [f"k{number}" for number in range(9)]
MANIFEST = Manifest(flow="f", key_groups=GROUPS, sources={}, operators={}, outputs={}, stages=[])
Model = dict[str, int]


def rows_of(snapshot: Snapshot) -> Model:
    """All rows, read as a range; each is read by its key as well."""
    prefix = id_bytes(OPERATOR)
    scanned = list(snapshot.scan(prefix, successor(prefix)))
    assert [key for key, _ in scanned] == sorted(key for key, _ in scanned)
    found = {key[ID_BYTES:].decode(): value for key, value in scanned}
    for key in KEYS:
        assert snapshot.get(OPERATOR, key) == found.get(key)
    return {key: msgspec.msgpack.decode(value[3:])[3]["n"] for key, value in found.items()}


class Following(RuleBasedStateMachine):
    """A run of three key groups, with crashes, beside a follower that moves on when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now: Model = {}
        self.epochs: dict[int, Model] = {0: {}}
        self.epoch = 0
        self.versions: list[int] = [0] * GROUPS
        self.unheard: set[int] = set()
        self.kept: list[tuple[Snapshot, Model]] = []
        self.seen = 0

    @initialize(
        is_fed=st.sampled_from([True, True, False]), few_rows=st.booleans(), layers_bytes=st.sampled_from([0, 1 << 20])
    )
    def begin(self, is_fed: bool, few_rows: bool, layers_bytes: int) -> None:
        """With files and parts of the feed so small that each is ended soon, or none; and little memory, or enough."""
        self.patched = pytest.MonkeyPatch()
        if few_rows:
            self.patched.setattr(feed, "FILE_BYTES", 100)
            self.patched.setattr(feed, "PART_ROWS", 2)
        self.is_fed = is_fed
        self.run = 0
        self.held = tempfile.TemporaryDirectory(prefix="headway-test-")
        self.place = Path(self.held.name)
        self.stores: list[GroupStore] = []
        self.open([None] * GROUPS)
        self.time_s = 0.0
        self.follower = Follower(self.place, MANIFEST, [0], layers_bytes=layers_bytes, clock_s=lambda: self.time_s)

    def open(self, versions: list[Any]) -> None:
        if self.is_fed:
            feed.forget_feeds(self.place)
            self.run += 1
        self.stores = [
            GroupStore.open(self.place, group, StoreOptions(sync=False), run=self.run) for group in range(GROUPS)
        ]
        operators = [OperatorSpec("other", dict, id=OPERATOR + 1), OperatorSpec("s", dict, id=OPERATOR)]
        self.stages: list[StageStore] = [
            store.stage("s", operators, [InputCodec()], shown={OPERATOR}) for store in self.stores
        ]
        for stage, version in zip(self.stages, versions):
            stage.resume(version or None)
        self.unheard = set()

    @rule(key=st.sampled_from(KEYS), value=st.one_of(st.none(), st.integers(1, 99)))
    def change(self, key: str, value: int | None) -> None:
        """An event: groups handle it only once they have heard of the epoch before."""
        group = group_of(key, GROUPS)
        self.hear(group)
        row = self.stages[group].tables[1].fetch(key)
        row.state.clear()
        self.now.pop(key, None)
        if value is not None:
            row.state["n"] = self.now[key] = value
        self.stages[group].tables[1].mark(row)

    @rule(
        changes=st.lists(st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(1, 99))), max_size=9),
        follows=st.booleans(),
    )
    def whole_epoch(self, changes: list[tuple[str, int | None]], follows: bool) -> None:
        """What a follower meets most of the time."""
        for key, value in changes:
            self.change(key, value)
        self.close_epoch()
        if follows:
            self.follow(keep=False)

    @rule(group=st.integers(0, GROUPS - 1))
    def hear(self, group: int) -> None:
        """A group hears that the last epoch is committed."""
        if group in self.unheard:
            self.unheard.discard(group)
            self.stages[group].settle(sync=False)

    @rule()
    def close_epoch(self) -> None:
        """All groups prepare, the epoch is durable, and the cut is written before any of them hears of it."""
        self.prepare()
        self.publish()

    def prepare(self) -> None:
        for group in range(GROUPS):
            self.hear(group)
        self.before = list(self.versions)
        self.versions = [stage.commit(None) for stage in self.stages]

    def publish(self) -> None:
        self.unheard = {group for group in range(GROUPS) if self.versions[group] != self.before[group]}
        self.epoch += 1
        self.epochs[self.epoch] = dict(self.now)
        versions = [list(self.versions)]
        Cut(epoch=self.epoch, generation=1, versions=versions, watermarks=[None], positions={}, run=self.run).store(
            self.place
        )

    @rule(is_committed=st.booleans(), some=st.integers(0, GROUPS))
    def crash_as_an_epoch_closes(self, is_committed: bool, some: int) -> None:
        """Killed between the writes of the groups and the cut: the engine knows the new versions, or the old ones."""
        self.prepare()
        versions = self.versions if is_committed else self.before
        for store in self.stores:
            store._feed = None  # A killed process leaves its feed.
            store.close()
        if not is_committed:
            self.now = dict(self.epochs[self.epoch])
            self.versions = list(self.before)
        self.open(list(versions))
        if is_committed or some:
            self.before = list(self.versions)
            self.publish()
            self.unheard = set()

    @rule(group=st.integers(0, GROUPS - 1))
    def change_what_is_not_shown(self, group: int) -> None:
        self.hear(group)
        row = self.stages[group].tables[0].fetch("other")
        row.state["n"] = row.state.get("n", 0) + 1
        self.stages[group].tables[0].mark(row)

    @rule()
    def a_minute_passes(self) -> None:
        self.time_s += 60

    @rule(place=st.integers(0, 1 << 20), removes=st.booleans())
    def damage_a_feed(self, place: int, removes: bool) -> None:
        """Whatever becomes of a feed: what is read is right, or is read from the database."""
        files = sorted((self.place / feed.FEED_NAME).glob("*"))
        if not files:
            return
        file = files[place % len(files)]
        data = bytearray(file.read_bytes())
        if removes:
            file.unlink()
        elif data:
            data[place % len(data)] ^= 1 + place % 255
            file.write_bytes(data)

    @rule(keep=st.booleans())
    def follow(self, keep: bool) -> None:
        """The follower moves on: to the newest epoch, whoever has heard of it."""
        snapshot = self.follower.snapshot()
        if self.epoch == 0:
            assert snapshot is None
            return
        assert snapshot is not None
        assert snapshot.cut.epoch == self.epoch >= self.seen
        self.seen = self.epoch
        assert rows_of(snapshot) == self.epochs[self.epoch]
        if keep:
            self.kept = [*self.kept[-2:], (snapshot, dict(self.epochs[self.epoch]))]

    @precondition(lambda self: self.kept)
    @rule()
    def flush(self) -> None:
        """Files are written and merged away under those that are kept."""
        for stage in self.stages:
            database = stage._database
            database.family("rows").flush()
            database.family("rows").compact_range(None, None)

    @invariant()
    def kept_snapshots_stay(self) -> None:
        for snapshot, model in self.kept:
            assert rows_of(snapshot) == model

    def teardown(self) -> None:
        self.patched.undo()
        self.kept.clear()
        self.follower.close()
        for store in self.stores:
            store.close()
        self.held.cleanup()


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_damaged_cut_is_none(tmp_path: Path) -> None:
    Cut(epoch=1, generation=1, versions=[], watermarks=[], positions={}).store(tmp_path)
    assert Cut.load(tmp_path) is not None
    data = bytearray((tmp_path / CUT_NAME).read_bytes())
    for place in range(len(data)):
        data[place] ^= 1
        (tmp_path / CUT_NAME).write_bytes(data)
        assert Cut.load(tmp_path) is None
        data[place] ^= 1
    (tmp_path / CUT_NAME).write_bytes(data[:-1])
    assert Cut.load(tmp_path) is None
    assert Cut.load(tmp_path / "nowhere") is None


def test_a_group_that_is_ahead_of_an_old_cut_is_not_shown(tmp_path: Path) -> None:
    """Such as after a loss of power, which an unsynced file does not survive."""
    with GroupStore.open(tmp_path, 0, StoreOptions(sync=False)) as store:
        stage = store.stage("s", [OperatorSpec("s", dict, id=OPERATOR)], [InputCodec()])
        stage.resume(None)
        manifest = msgspec.structs.replace(MANIFEST, key_groups=1)
        for number in range(3):
            row = stage.tables[0].fetch("k0")
            row.state["n"] = number
            stage.tables[0].mark(row)
            stage.commit(None)
            stage.settle()
        Cut(epoch=1, generation=1, versions=[[1]], watermarks=[None], positions={}).store(tmp_path)
        with Follower(tmp_path, manifest, [0]) as follower:
            assert follower.snapshot() is None
            Cut(epoch=2, generation=1, versions=[[3]], watermarks=[None], positions={}).store(tmp_path)
            assert follower.snapshot() is not None
