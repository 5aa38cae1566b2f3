"""Triggers that leave before their epoch is durable: none is lost, none is left, whatever commits or is undone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.delivery_world import OUTPUT, Receiver

from headway.delivery import loader
from headway.delivery.courier import Courier, Item
from headway.state.delivery_rows import DeliveryRow, Undelivered
from headway.state.group import GroupStore
from headway.targets.base import DONE, Answer, Limits, Outcome
from headway.targets.delivered import Delivering

RETRY = Answer(Outcome.RETRY, "later")
STEPS = st.one_of(
    st.tuples(st.just("make"), st.integers(1, 12)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("take"), st.integers(1, 5)),
    st.tuples(st.just("answer"), st.integers(0, 9), st.lists(st.booleans(), min_size=8, max_size=8)),
    st.tuples(st.just("wait"), st.sampled_from([1, 2_000, 5_000_000])),
    st.tuples(st.just("crash")),
)


class EarlyWorld:
    """One group whose stage emits numbered calls, each a lane of its own, and again what a crash has undone."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.now_ms = 1_700_000_000_000
        self.group = GroupStore.open(directory, 0)
        self.store = self.group.stage("stage", [], [])
        self.store.resume(None)
        self.made = 0
        self.committed = 0
        self.effects: dict[str, int] = {}
        self.crashes = 0
        self.under_way: list[list[Item]] = []
        self._target = Receiver(limits, in_order=False)
        self._target.keeps_order = False
        self._target.has_breaker = False
        self.courier = self._new_courier()

    def _new_courier(self) -> Courier:
        courier = Courier(
            "out", self._target, Delivering(leaves_early=True), lambda: self.now_ms, lambda: 0.5, lambda text: None
        )
        courier.add(self.store.delivery_queue(OUTPUT))
        return courier

    def make(self, count: int) -> None:
        rows = []
        for call in range(self.made, self.made + count):
            record = (self.now_ms, f"call-{call}", b'{"id":"%d"}' % call, "")
            number = self.store.deliveries.add(OUTPUT, [record])
            rows.append(Undelivered(number, DeliveryRow(record[1], record[0], "", record[2]), is_parked=False))
        self.made += count
        self.courier.take_early(0, rows)

    def commit(self) -> None:
        if self.made == self.committed:
            return
        self.store.commit({"made": self.made})
        self.store.settle(sync=False)
        self.committed = self.made
        self.courier.windows[0].queue.next = self.store.deliveries.numbered()[OUTPUT]
        self.courier.committed(0)

    def take(self) -> bool:
        items = self.courier.take()
        if items:
            self.under_way.append(items)
        return bool(items)

    def answer(self, index: int, done: list[bool]) -> None:
        items = self.under_way.pop(index % len(self.under_way))
        for item, is_done in zip(items, done):
            if is_done:
                self.effects[item.row.row.lane] = self.effects.get(item.row.row.lane, 0) + 1
        self.courier.answered(items, [DONE if is_done else RETRY for is_done in done[: len(items)]])

    def crash(self) -> None:
        self.crashes += 1
        self.under_way.clear()
        self.store.resume(self.store.version or None)
        self.courier = self._new_courier()
        lost, self.made = self.made - self.committed, self.committed
        if lost:
            self.make(lost)

    def check_end(self) -> None:
        self.commit()
        for _ in range(10_000):
            while self.take():
                pass
            if self.under_way:
                self.answer(0, [True] * len(self.under_way[0]))
            elif not self.courier.waiting:
                break
            else:
                wake_ms = self.courier.wake_at_ms()
                assert wake_ms is not None, "something waits, and nothing will ever wake it"
                self.now_ms = max(self.now_ms + 1, wake_ms)
        assert self.effects.keys() == {f"call-{call}" for call in range(self.made)}
        assert max(self.effects.values(), default=0) <= 1 + self.crashes
        queue = self.store.delivery_queue(OUTPUT)
        assert (queue.totals.delivered, queue.totals.died) == (self.made, 0)
        assert not list(queue.rows()) and not list(queue.lanes())
        window = self.courier.windows[0]
        assert not window.deferred and not window.lanes and window.is_read


@settings(max_examples=150)
@given(
    steps=st.lists(STEPS, max_size=40),
    batch=st.integers(1, 8),
    concurrency=st.integers(1, 3),
    window=st.sampled_from([4, 1_000]),
)
def test_each_call_is_made_and_none_is_left(
    steps: list[tuple[Any, ...]], batch: int, concurrency: int, window: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_CHUNK", 3)
        patch.setattr(loader, "WINDOW_ROWS", window)
        world = EarlyWorld(Path(directory), Limits(concurrency, batch))
        try:
            for kind, *given_ in steps:
                if kind == "wait":
                    world.now_ms += given_[0]
                elif kind == "take":
                    for _ in range(given_[0]):
                        world.take()
                elif kind != "answer" or world.under_way:
                    getattr(world, kind)(*given_)
            world.check_end()
        finally:
            world.group.close()


def test_it_leaves_before_its_epoch_is_durable_and_once(tmp_path: Path) -> None:
    world = EarlyWorld(tmp_path, Limits(concurrency=4, batch=2))
    try:
        world.make(3)
        assert world.take() and world.take()
        world.answer(0, [True, True])
        world.answer(0, [True])
        assert world.effects == {"call-0": 1, "call-1": 1, "call-2": 1}
        assert not world.take()
        world.commit()
        assert not world.take() and world.courier.waiting == 0
        world.check_end()
    finally:
        world.group.close()
