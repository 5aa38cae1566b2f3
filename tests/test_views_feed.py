"""The feed of changes: what a reader takes of it is what was written, in order and once; else it takes nothing."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.state import feed
from headway.state.cut import Cut
from headway.state.feed import Fed, FeedReader, FeedWriter, forget_feeds
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.overlay import Layer, Layers, stacked
from headway.state.snapshots import Follower, Snapshot
from headway.state.stage import OperatorSpec, StageStore

RUN, OPERATOR = 7, 2
WHOLE = [Fed(task, frozenset(), True) for task in range(2)]
Rows = dict[bytes, Optional[bytes]]

a_row = st.tuples(st.binary(min_size=1, max_size=4), st.one_of(st.none(), st.binary(max_size=9)))
rows = st.lists(a_row, max_size=7).map(dict)
steps = st.lists(st.one_of(st.tuples(st.integers(0, 1), rows), st.just("read"), st.just("begin late")), max_size=25)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FILE_BYTES", 90)
    monkeypatch.setattr(feed, "PART_ROWS", 2)


class Model:
    """Versions of two tasks as they were written, and readers that are given what is wanted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.writer = FeedWriter(place, 0, RUN)
        self.written: list[list[Rows]] = [[], []]
        self.readers: list[tuple[FeedReader, dict[int, int]]] = []

    def write(self, task: int, changed: Rows) -> None:
        self.written[task].append(changed)
        self.writer.append(WHOLE[task], len(self.written[task]), changed)
        assert len(list((self.place / feed.FEED_NAME).iterdir())) <= 2

    def begin(self) -> None:
        """A reader that has read the database until now."""
        self.readers.append((FeedReader(self.place, 0, RUN), self.versions()))

    def versions(self) -> dict[int, int]:
        return {task: len(written) for task, written in enumerate(self.written)}

    def read(self, reader: FeedReader, reached: dict[int, int]) -> bool:
        """Take all that there is; returns whether nothing is missing."""
        wanted = self.versions()
        while reached != wanted:
            taken: Rows = {}
            while (part := reader.take(reached, wanted)) is not None:
                taken |= part.rows
                if not part.left:
                    break
            if part is None:
                return False
            assert part.version == reached[part.task] + 1
            assert taken == self.written[part.task][part.version - 1]
            reached[part.task] = part.version
        return True

    def close(self) -> None:
        for reader, _ in self.readers:
            reader.close()
        self.writer.close()


@given(steps=steps)
@settings(max_examples=150, deadline=None)
def test_readers_that_keep_up_miss_nothing(steps: list[object]) -> None:
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as place:
        patched.setattr(feed, "FILE_BYTES", 90)
        patched.setattr(feed, "PART_ROWS", 2)
        model = Model(Path(place))
        model.begin()
        for step in steps:
            if isinstance(step, tuple):
                number = model.writer._number
                model.write(*step)
                if model.writer._number != number:  # Two files are there: whoever reads the first has them all.
                    assert all(model.read(*one) for one in model.readers)
            elif step == "read":
                assert all(model.read(*one) for one in model.readers)
            else:
                model.begin()
        assert all(model.read(*one) for one in model.readers)
        model.close()
        assert not list(model.place.glob(f"{feed.FEED_NAME}/*"))


@pytest.mark.usefixtures("small")
def test_a_reader_that_is_far_behind_takes_nothing_wrong(tmp_path: Path) -> None:
    model = Model(tmp_path)
    model.begin()
    for number in range(40):
        model.write(0, {b"key%d" % number: b"x" * 40})
    [(reader, reached)] = model.readers
    assert not model.read(reader, reached)
    assert reached == {0: 0, 1: 0}
    model.close()


def test_no_damage_is_taken_for_rows(tmp_path: Path) -> None:
    model = Model(tmp_path)
    for number in range(3):
        model.write(0, {b"key": b"%d" % number, b"gone": None})
    [path] = (tmp_path / feed.FEED_NAME).iterdir()
    data = path.read_bytes()
    for place in range(len(data)):
        for damaged in (data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :], data[:place]):
            path.write_bytes(damaged)
            reader, reached = FeedReader(tmp_path, 0, RUN), {0: 0, 1: 0}
            assert not model.read(reader, reached)
            reader.close()
    path.write_bytes(data)
    reader, reached = FeedReader(tmp_path, 0, RUN), {0: 0, 1: 0}
    assert model.read(reader, reached)
    reader.close()
    model.close()


def test_what_is_not_wanted_yet_is_left(tmp_path: Path) -> None:
    """An epoch that is fed and not committed."""
    model = Model(tmp_path)
    model.write(0, {b"a": b"1"})
    model.write(0, {b"a": b"2"})
    reader = FeedReader(tmp_path, 0, RUN)
    first = reader.take({}, {0: 1})
    assert first is not None and first.rows == {b"a": b"1"}
    assert reader.take({0: 1}, {0: 1}) is None
    second = reader.take({0: 1}, {0: 2})
    assert second is not None and second.rows == {b"a": b"2"}
    reader.close()
    model.close()


def test_only_what_is_shown_is_fed(tmp_path: Path) -> None:
    writer = FeedWriter(tmp_path, 0, RUN)
    writer.append(Fed(3, frozenset({b"\0\2"}), False), 1, {b"\0\1a": b"1", b"\0\2a": b"2", b"\0\2b": None})
    reader = FeedReader(tmp_path, 0, RUN)
    part = reader.take({}, {3: 1})
    assert part is not None and part.rows == {b"\0\2a": b"2", b"\0\2b": None}
    reader.close()
    writer.close()


@given(epochs=st.lists(rows, max_size=30), ordered=st.booleans())
@settings(max_examples=150, deadline=None)
def test_layers_say_what_was_last_and_are_few(epochs: list[Rows], ordered: bool) -> None:
    layers: Layers = ()
    model: Rows = {}
    for changed in epochs:
        if changed:
            layers = stacked(Layer(changed, 0), layers)
            model |= changed
        if ordered:
            assert all(layer.keys == sorted(layer.rows) for layer in layers)
    found: Rows = {}
    for layer in reversed(layers):
        found |= layer.rows
        assert layer.keys == sorted(layer.rows)
    assert found == model
    sizes = [len(layer.rows) for layer in layers]
    assert all(2 * upper < lower for upper, lower in pairwise(sizes))


class Runs:
    """One key group of one operator over several runs, and a follower of it."""

    def __init__(self, place: Path, *, layers_bytes: int = 1 << 20) -> None:
        self.place = place
        self.run = self.epoch = 0
        self.store: Optional[GroupStore] = None
        manifest = Manifest(flow="f", key_groups=1, sources={}, operators={}, outputs={}, stages=[])
        self.follower = Follower(place, manifest, [0], layers_bytes=layers_bytes)

    def begin(self, version: Optional[int]) -> None:
        if self.store is not None:  # It was killed, and leaves its feed.
            self.store._feed = None
            self.store.close()
        forget_feeds(self.place)
        self.run += 1
        self.store = GroupStore.open(self.place, 0, StoreOptions(sync=False), run=self.run)
        operators = [OperatorSpec("s", dict, id=OPERATOR)]
        self.stage: StageStore = self.store.stage("s", operators, [InputCodec()], shown={OPERATOR})
        self.stage.resume(version)

    def prepare(self, **values: int) -> int:
        for key, value in values.items():
            row = self.stage.tables[0].fetch(key)
            row.state["n"] = value
            self.stage.tables[0].mark(row)
        return self.stage.commit(None)

    def commit(self, version: int) -> None:
        self.epoch += 1
        versions = [[version]]
        cut = Cut(epoch=self.epoch, generation=1, versions=versions, watermarks=[None], positions={}, run=self.run)
        cut.store(self.place)

    def shown(self) -> dict[str, int]:
        snapshot = self.follower.snapshot()
        assert snapshot is not None
        assert snapshot.cut.epoch == self.epoch
        return values_of(snapshot)

    def close(self) -> None:
        self.follower.close()
        assert self.store is not None
        self.store.close()


def values_of(snapshot: Snapshot) -> dict[str, int]:
    found = {key: snapshot.get(OPERATOR, key) for key in "abc"}
    return {key: msgspec.msgpack.decode(value[3:])[3]["n"] for key, value in found.items() if value is not None}


def test_a_version_that_was_made_twice_is_the_one_that_was_committed(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.begin(None)
    for number in (1, 2):
        runs.commit(runs.prepare(a=number))
        assert runs.shown() == {"a": number}
    runs.prepare(a=13, b=13)  # And killed, before it was committed.
    runs.begin(2)
    runs.commit(runs.prepare(a=3))
    assert runs.shown() == {"a": 3}
    runs.commit(runs.prepare(c=4))
    assert runs.shown() == {"a": 3, "c": 4}
    runs.close()


def test_layers_are_kept_until_the_base_has_them(tmp_path: Path) -> None:
    """What is put aside is not in the database's main rows before the epoch after it."""
    runs = Runs(tmp_path, layers_bytes=0)
    runs.begin(None)
    runs.commit(runs.prepare(a=1))
    assert runs.shown() == {"a": 1}
    runs.commit(runs.prepare(b=2))
    kept = runs.follower.newest
    for _ in range(3):
        assert runs.shown() == {"a": 1, "b": 2}
    runs.commit(runs.prepare(c=3))
    assert runs.shown() == {"a": 1, "b": 2, "c": 3}
    for number in range(4, 9):
        runs.commit(runs.prepare(a=number))
        assert runs.shown() == {"a": number, "b": 2, "c": 3}
    assert kept is not None
    assert values_of(kept) == {"a": 1}
    runs.stage.settle()
    runs.shown()
    assert sum(group.size for group in runs.follower._groups) < 1_000
    runs.close()


def test_the_databases_are_left_alone_where_the_feed_leads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path)
    runs.begin(None)
    runs.commit(runs.prepare(a=1))
    runs.shown()
    monkeypatch.setattr("headway.state.followed.Database", None)
    monkeypatch.setattr("headway.state.database.Database.catch_up", None)
    for number in range(2, 9):
        runs.commit(runs.prepare(a=number))
        runs.stage._database.family("rows").flush()
        assert runs.shown() == {"a": number}
    runs.close()
