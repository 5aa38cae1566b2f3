"""A stage's store does what a dict and a sorted list do, whatever crashes in between, with tiny caches and windows."""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headway.basics.times import LAST_TIMER_MS, MIN_TIME_MS
from headway.state.group import GroupStore
from headway.state.inputs import InputCodec
from headway.state.manifest import Manifest, OperatorEntry, StageEntry
from headway.state.options import StoreOptions
from headway.state.reader import StateReader
from headway.state.redo import NO_SPILL_MS
from headway.state.rows import Row
from headway.state.stage import OperatorSpec, StageStore
from headway.state.typeschema import state_schema


def copy_at_rest(source: Path, target: Path) -> None:
    """Copy the files of an open database as of one moment: again, if its own threads were at work meanwhile."""
    while True:
        before = _sizes(source)
        shutil.copytree(source, target, copy_function=_copy_if_there)
        if _sizes(source) == before:
            return
        shutil.rmtree(target)


def _sizes(directory: Path) -> dict[Path, int]:
    with contextlib.suppress(FileNotFoundError):
        return {path: path.stat().st_size for path in directory.rglob("*")}
    return {}


def _copy_if_there(source: str, target: str) -> None:
    """Copy a file of an open database, which may be removing files that it does not need any more."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


class Cart(msgspec.Struct):
    items: dict[str, int] = {}
    total: int = 0


OPERATORS = [OperatorSpec("cart", Cart, id=1), OperatorSpec("seen", dict, id=2)]
FRESH: list[dict[str, Any]] = [{"items": {}, "total": 0}, {}]
OPTIONS = StoreOptions(cache_bytes=3_000, timer_window=4, waiting_bound=6, sync=False)

KEYS = st.sampled_from(["", "a", "a\0"]) | st.sampled_from(
    ["", "\0", "a", "a\0", "a\0b", "a\x01", "ab", "é", "\uffff", "😀", "k" * 10_000]
)
RANKS = st.integers(0, 1)
NAMES = st.sampled_from(["", "idle", "idle2"])
TIMES = st.integers(0, 12) | st.sampled_from([MIN_TIME_MS, MIN_TIME_MS + 1, -1, LAST_TIMER_MS - 1, LAST_TIMER_MS])


@dataclass
class Instance:
    state: dict[str, Any]
    timers: dict[str, int] = field(default_factory=dict)


@dataclass
class Model:
    rows: dict[tuple[int, str], Instance] = field(default_factory=dict)
    # (time, input, channel or origin, arrival, record)
    waiting: list[tuple[int, int, str, int, Any]] = field(default_factory=list)
    meta: Any = None
    passed_ms: int = MIN_TIME_MS - 1
    """The latest watermark for which records were released; some of them may have been left."""

    def row(self, rank: int, key: str) -> Instance:
        return self.rows.setdefault((rank, key), Instance(copy.deepcopy(FRESH[rank])))

    def stored(self) -> dict[tuple[int, str], Instance]:
        return {
            (rank, key): instance
            for (rank, key), instance in self.rows.items()
            if instance.timers or instance.state != FRESH[rank]
        }

    def timers(self) -> list[tuple[int, str, int, str]]:
        return sorted(
            (due_ms, key, rank, name)
            for (rank, key), instance in self.rows.items()
            for name, due_ms in instance.timers.items()
        )

    def same_as(self, other: Model) -> bool:
        return (self.stored(), sorted(self.waiting), self.meta) == (other.stored(), sorted(other.waiting), other.meta)


class StoreMachine(RuleBasedStateMachine):
    """The store beside the model; `history` has the model as of each version."""

    @initialize(inputs=st.integers(1, 2))
    def start(self, inputs: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="headway-test-"))
        self.directory = self.root / "0"
        self.inputs = inputs
        self.copies = 0
        self.arrivals = 0
        self.model = Model()
        self.history = [Model()]
        self.settled = True
        operators = {spec.name: OperatorEntry(id=spec.id, state=state_schema(spec.state_type)) for spec in OPERATORS}
        stages = [StageEntry(name="s", operators=list(operators))]
        Manifest(flow="f", key_groups=1, sources={}, operators=operators, stages=stages, outputs={}).create(
            self.directory
        )
        self.open(None)

    def open(self, token: int | None) -> None:
        self.group = GroupStore.open(self.directory, 0, OPTIONS)
        self.store = self.make_stage("s")
        assert self.store.resume(token) == self.history[token or 0].meta
        assert self.store.version == (token or 0)

    def make_stage(self, name: str) -> StageStore:
        codecs = [InputCodec(dict[str, int]), InputCodec(from_stage=True)]
        return self.group.stage(name, OPERATORS, codecs[: self.inputs])

    def teardown(self) -> None:
        if hasattr(self, "group"):
            self.group.close()
            shutil.rmtree(self.root)

    def fetch(self, rank: int, key: str) -> Row:
        table = self.store.tables[rank]
        row = table.young.get(key) or table.fetch(key)
        expected = self.model.row(rank, key)
        assert msgspec.to_builtins(row.state) == expected.state
        assert (row.timers or {}) == expected.timers
        assert table.fetch(key) is row
        return row

    def mark(self, rank: int, row: Row) -> None:
        if not row.dirty:
            self.store.tables[rank].mark(row)

    @rule(rank=RANKS, key=KEYS)
    def read(self, rank: int, key: str) -> None:
        self.fetch(rank, key)

    @rule(rank=RANKS, key=KEYS, amount=st.integers(-1, 1), then_commit=st.booleans())
    def change(self, rank: int, key: str, amount: int, then_commit: bool) -> None:
        row = self.fetch(rank, key)
        expected = self.model.row(rank, key).state
        for state in (row.state.items if rank == 0 else row.state, expected["items"] if rank == 0 else expected):
            state["x"] = state.get("x", 0) + amount
            if not state["x"]:
                del state["x"]
        row.touched_ms += 1
        self.mark(rank, row)
        if then_commit:
            self.commit(self.model.meta)

    @rule(rank=RANKS, key=KEYS, go_on=st.booleans())
    def forget(self, rank: int, key: str, go_on: bool) -> None:
        row = self.fetch(rank, key)
        self.store.tables[rank].forget(row)
        del self.model.rows[rank, key]
        if go_on:
            self.store.tables[rank].set_timer(row, "again", 7)
            self.model.row(rank, key).timers["again"] = 7
        self.fetch(rank, key)

    @rule(rank=RANKS, key=KEYS, name=NAMES, due_ms=TIMES)
    def set_timer(self, rank: int, key: str, name: str, due_ms: int) -> None:
        self.store.tables[rank].set_timer(self.fetch(rank, key), name, due_ms)
        self.model.row(rank, key).timers[name] = due_ms

    @rule(rank=RANKS, keys=st.lists(KEYS, min_size=3, unique=True), due_ms=TIMES)
    def set_many_timers(self, rank: int, keys: list[str], due_ms: int) -> None:
        for key in keys:
            self.set_timer(rank, key, "many", due_ms)

    @rule(rank=RANKS, key=KEYS, name=NAMES)
    def cancel_timer(self, rank: int, key: str, name: str) -> None:
        expected = self.model.row(rank, key).timers
        assert self.store.tables[rank].cancel_timer(self.fetch(rank, key), name) is (name in expected)
        expected.pop(name, None)

    @rule(limit_ms=TIMES, most=st.sampled_from([1, 3, 1000]))
    def fire(self, limit_ms: int, most: int) -> None:
        fired: list[tuple[int, str, int, str]] = []
        while len(fired) < most and (entry := self.store.timers.pop_due(limit_ms)) is not None:
            _, key, rank, name = entry
            row = self.store.tables[rank].due_row(entry)
            if row is not None:
                assert row.key == key and name not in (row.timers or {})
                fired.append(entry)
        due = [timer for timer in self.model.timers() if timer[0] <= limit_ms]
        assert fired == due[:most]
        for _, key, rank, name in fired:
            del self.model.row(rank, key).timers[name]

    @rule(
        data=st.data(),
        part=st.sampled_from(["", "p", "p\0"]),
        times=st.lists(TIMES, max_size=9),
        then_commit=st.booleans(),
    )
    def wait(self, data: st.DataObject, part: str, times: list[int], then_commit: bool) -> None:
        rank = data.draw(st.integers(0, self.inputs - 1))
        records: list[Any] = []
        half_done = any(record[0] <= self.model.passed_ms for record in self.model.waiting)
        for time_ms in times:
            if half_done and time_ms <= self.model.passed_ms:
                continue  # What the watermark has passed does not come any more.
            self.arrivals += 1
            record: tuple[Any, ...] = (time_ms, f"k{self.arrivals}", {"n": self.arrivals})
            channel = part
            if rank == 1:
                channel = data.draw(st.sampled_from([part + "/1", part + "/2"]))
                record = (*record, channel)
            records.append(record)
            self.model.waiting.append((time_ms, rank, channel, self.arrivals, record))
        self.store.waiting.add(rank, part, records)
        if then_commit:
            self.commit(self.model.meta)

    @rule(watermark_ms=TIMES, limit=st.sampled_from([1, 2, 5, 1000]), handled=st.integers(0, 3))
    def release(self, watermark_ms: int, limit: int, handled: int) -> None:
        watermark_ms = max(watermark_ms, self.model.passed_ms)
        due = sorted(record for record in self.model.waiting if record[0] <= watermark_ms)
        waiting = self.store.waiting
        assert waiting.next_ms <= min((record[0] for record in self.model.waiting), default=NO_SPILL_MS)
        self.model.passed_ms = watermark_ms
        while due:
            taken = waiting.release(watermark_ms, limit)
            expected = [record for *_, record in due] if self.inputs == 1 else [(rank, r) for _, rank, _, _, r in due]
            assert 0 < len(taken) <= limit
            assert taken == expected[: len(taken)]
            if handled < len(taken):
                waiting.give_back(taken[handled:])
                del due[:handled]
                break
            del due[: len(taken)]
        else:
            assert waiting.release(watermark_ms, limit) == []
        self.model.waiting = due + [record for record in self.model.waiting if record[0] > watermark_ms]

    @rule(meta=st.sampled_from([None, [1], {"a": 2}]))
    def commit(self, meta: Any) -> None:
        before = self.store.version
        self.model.meta = meta
        version = self.store.commit(meta)
        assert version == self.store.version
        if version == before:
            assert self.model.same_as(self.history[-1])
        else:
            assert version == before + 1
            self.history.append(copy.deepcopy(self.model))
            self.settled = False
        assert self.store.commit(meta) == version, "nothing has changed in between"
        assert self.store.row_count == len(self.model.stored())
        assert self.store.key_count == len({key for _, key in self.model.stored()})

    @rule()
    def settle(self) -> None:
        self.store.settle()
        self.settled = True

    @precondition(lambda self: self.settled)
    @rule()
    def close_the_books(self) -> None:
        self.commit(self.model.meta)
        self.settle()
        times = [due_ms for due_ms, *_ in self.model.timers()] + [record[0] for record in self.model.waiting]
        assert self.store.max_due_ms() == max(times, default=None)

    @rule(copied=st.booleans(), back=st.booleans(), forgotten=st.booleans(), times=st.integers(1, 2))
    def crash(self, copied: bool, back: bool, forgotten: bool, times: int) -> None:
        """Lose what is in memory; the engine's token is the last version, or the one before if that was not settled."""
        if copied:
            # What a killed process leaves: the files as they are, nothing closed.
            self.copies += 1
            directory = self.root / str(self.copies)
            copy_at_rest(self.directory, directory)
            self.group.close()
            self.directory = directory
        else:
            self.group.close()
        token = len(self.history) - 1
        if back and not self.settled:
            token -= 1
        del self.history[token + 1 :]
        self.model = copy.deepcopy(self.history[token])
        self.open(None if forgotten and token == 0 else token)
        self.settled = True
        if times == 2:
            self.group.close()
            self.open(token)

    @rule()
    def read_from_outside(self) -> None:
        """A reader sees the version that is committed everywhere, and nothing later."""
        expected = self.history[-1 if self.settled else -2].stored()
        with StateReader(self.directory) as reader:
            found = {
                (rank, row.key): Instance(row.state, row.timers)
                for rank, spec in enumerate(OPERATORS)
                for row in reader.rows(spec.name)
            }
        assert found == expected

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "store"):
            assert len(self.store.waiting) == len(self.model.waiting)
            assert self.store.timer_count == len(self.model.timers())
            self.store.timers.check_valid()
            self.store.shrink_cache()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=45, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
