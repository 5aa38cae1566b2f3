"""What commands ask of deliveries, while couriers deliver: nothing is lost but what was to be dropped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.delivery_world import OUTPUT, World
from tests.test_delivery_courier import LANES, OUTCOMES, take_step

from headway.delivery import actions, loader
from headway.delivery.requests import Action, Request
from headway.targets.base import Limits, Outcome
from headway.targets.delivered import Delivering

ACTIONS = st.sampled_from(["retry", "redrive", "drop", "forget"])
ASKED = st.tuples(st.just("asked"), ACTIONS, st.one_of(st.none(), st.none(), LANES))
EPOCH = st.tuples(st.just("epoch"), st.lists(LANES, min_size=1, max_size=12))
STEPS = st.one_of(
    EPOCH,
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("answer"), st.integers(0, 9), st.lists(OUTCOMES, min_size=8, max_size=8)),
    st.tuples(st.just("unheard"), st.integers(0, 9), st.lists(OUTCOMES, min_size=8, max_size=8)),
    st.tuples(st.just("wait"), st.sampled_from([1, 2_000, 5_000_000])),
    ASKED,
    ASKED,
    *[st.tuples(st.just("step"))] * 3,
)


class Asked:
    """Requests as a desk has them: one after the other, step by step, and begun anew after a crash."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pending: list[Request] = []
        self.droppable: set[int] = set()
        """What was waiting, or dead, and was to be dropped."""
        self.ever_dead: set[int] = set()
        self._steps: Optional[Iterator[Any]] = None

    def ask(self, action: Action, lane: Optional[str]) -> None:
        world = self.world
        queues = {store.delivery_queue(OUTPUT).group: store.delivery_queue(OUTPUT) for store in world.stores}
        outputs = {OUTPUT: {group: queue.next for group, queue in queues.items()}}
        self.pending.append(Request(action=action, made_ms=world.now_ms, outputs=outputs, key=lane))
        world.now_ms += 1  # What dies in the same millisecond is meant as well.
        self.note_dead()
        if action == "drop":
            waiting = [row.row for queue in queues.values() for row in queue.rows()]
            if any(request.action == "redrive" for request in self.pending):
                waiting += [dead.row for queue in queues.values() for _, dead in queue.dead()]
        else:
            waiting = [dead.row for queue in queues.values() for _, dead in queue.dead()] if action == "forget" else []
        self.droppable |= {int(row.line.split(b'"')[3]) for row in waiting if lane in (None, row.lane)}

    def step(self) -> None:
        if self._steps is None and self.pending:
            self._steps = self.world.courier.carry_out(self.pending[0])
        if self._steps is not None and next(self._steps, None) is None:
            self._steps = None
            self.pending.pop(0)
        self.note_dead()

    def note_dead(self) -> None:
        self.ever_dead |= {number for number, _ in self.world.dead()}

    def crashed(self) -> None:
        self._steps = None

    def finish(self) -> None:
        while self.pending:
            self.step()


def check_end(world: World, asked: Asked) -> None:
    dead = {number for number, _ in world.dead()}
    for lane, numbers in world.made.items():
        effects = world.effects.get(lane, [])
        gone = set(numbers) - set(effects) - dead
        assert gone <= asked.droppable, f"lost {gone}"
        in_turn = [number for number in effects if number not in asked.ever_dead]
        assert in_turn == sorted(in_turn), lane
    totals = [store.delivery_queue(OUTPUT).totals for store in world.stores]
    assert sum(total.gone for total in totals) == sum(map(len, world.made.values()))
    assert sum(total.died for total in totals) == len(dead)
    for store in world.stores:
        queue = store.delivery_queue(OUTPUT)
        assert not list(queue.rows()) and not list(queue.lanes())
        assert queue.next_due_ms() is None


@pytest.mark.parametrize("in_order", [False, True])
@settings(max_examples=40, deadline=None)
@given(
    begin=st.lists(EPOCH, min_size=1, max_size=2),
    rest=st.lists(STEPS, min_size=12, max_size=40),
    batch=st.integers(1, 4),
    concurrency=st.integers(1, 3),
    skips=st.booleans(),
    window=st.sampled_from([4, 1_000]),
)
def test_requests_while_couriers_deliver(
    begin: list[Any], rest: list[Any], batch: int, concurrency: int, skips: bool, window: int, in_order: bool
) -> None:
    delivering = Delivering(on_failure="skip" if skips else "block", give_up_after_ms=1 if skips else None)
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_LANE_ROWS", 2)
        patch.setattr(loader, "_CHUNK", 3)
        patch.setattr(loader, "WINDOW_ROWS", window)
        patch.setattr(actions, "_ROWS", 2)
        world = World(Path(directory), delivering, Limits(concurrency, batch), in_order=in_order)
        asked = Asked(world)
        try:
            for step in [*begin, *rest]:
                if step[0] == "asked":
                    asked.ask(*step[1:])
                elif step[0] == "step":
                    asked.step()
                else:
                    # What is tried anew, or comes behind what was dropped, need not wait.
                    world.not_before.clear()
                    take_step(world, step)
                    if step[0] == "unheard":
                        asked.crashed()
                    asked.note_dead()
            asked.finish()
            world.not_before.clear()
            world.deliver_all()
            asked.note_dead()
            check_end(world, asked)
        finally:
            world.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, Delivering(on_failure="skip"), Limits(concurrency=4, batch=1), groups=1)
    yield made
    made.close()


def test_dropped_while_under_way(world: World) -> None:
    """It was taken: then it is delivered. It has failed: then it is gone, and is not tried again."""
    asked = Asked(world)
    world.epoch(["a", "b", "a"])
    assert world.take() and world.take()
    asked.ask("drop", None)
    asked.finish()
    assert world.courier.waiting == 2
    world.answer(0, [Outcome.DONE])
    world.answer(0, [Outcome.RETRY])
    assert world.courier.waiting == 0 and world.courier.wake_at_ms() is None
    [totals] = [store.delivery_queue(OUTPUT).totals for store in world.stores]
    assert (totals.delivered, totals.dropped, totals.died) == (1, 2, 0)


def test_a_request_means_what_was_there(world: World) -> None:
    """What is made, or dies, after it was made is not meant, also where it is carried out once more."""
    asked = Asked(world)
    world.epoch(["a"])
    world.take()
    world.answer(0, [Outcome.NEVER])
    asked.ask("redrive", None)
    asked.ask("drop", "b")
    first, second = asked.pending
    world.epoch(["b"])
    world.now_ms += 1
    asked.finish()
    world.take()
    world.take()
    for _ in range(2):
        world.answer(0, [Outcome.NEVER])
    assert len(world.dead()) == 2
    world.now_ms += 1
    for request in (first, second):
        assert sum(counts.redriven + counts.dropped for _, counts in world.courier.carry_out(request)) == 0


def test_what_is_put_back_goes_before_what_waits(world: World) -> None:
    asked = Asked(world)
    world.epoch(["a", "a", "a"])
    world.take()
    world.answer(0, [Outcome.NEVER])
    asked.ask("redrive", None)
    asked.finish()
    world.deliver_all()
    assert world.effects["a"] in ([1, 2, 3], [2, 1, 3])
