"""Key groups divided otherwise while triggers wait: against receivers that keep the last number of each place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.state.database import DELIVERIES, VERSION_BYTE, Database, Writer
from headway.state.deliveries import Deliveries
from headway.state.delivery_moves import DeliveryMove
from headway.state.delivery_queue import DeliveryQueue
from headway.state.delivery_rows import DUE, DeliveryRow, Lane, Undelivered
from headway.state.groups import group_of
from headway.state.keys import id_bytes
from headway.state.options import StoreOptions

OUTPUT = 5
LANES = st.sampled_from(["a", "b", "c\0", "", "e"])
STEPS = st.one_of(
    st.tuples(st.just("made"), st.lists(LANES, min_size=1, max_size=6)),
    st.tuples(st.sampled_from(["delivered", "parked", "died", "redriven", "dropped"]), LANES),
    st.tuples(st.just("rescaled"), st.integers(1, 4)),
)
LOG_STEPS = st.one_of(
    st.tuples(st.just("made"), st.lists(LANES, min_size=1, max_size=6)),
    st.tuples(st.sampled_from(["taken", "heard"]), st.integers(0, 3)),
    st.tuples(st.just("rescaled"), st.integers(1, 4)),
)


@dataclass
class World:
    """Groups on the disk, of which there are from time to time others; what was made, by lane."""

    root: Path
    held: ExitStack
    databases: list[Database] = field(default_factory=list)
    made: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0
    moves: int = 0

    def open(self, groups: int) -> None:
        self.moves += 1
        place = self.root / str(self.moves)
        self.databases = [Database(place, group, StoreOptions()) for group in range(groups)]
        for database in self.databases:
            self.held.callback(database.close)

    def queues(self) -> list[DeliveryQueue]:
        return [DeliveryQueue(database, OUTPUT) for database in self.databases]

    def queue(self, lane: str) -> DeliveryQueue:
        return self.queues()[group_of(lane, len(self.databases))]

    def make(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self.count += 1
            database = self.databases[group_of(lane, len(self.databases))]
            deliveries = Deliveries(database)
            deliveries.add(OUTPUT, [(self.count, lane, b"{}", f"{self.count:06}")])
            batch = database.batch()
            batch.apply(DELIVERIES, deliveries.delta())
            database.write(batch, sync=False)
            self.made.setdefault(lane, []).append(f"{self.count:06}")

    def rescale(self, groups: int) -> None:
        old = self.databases
        self.open(groups)
        writers = [Writer(database) for database in self.databases]
        move = DeliveryMove(OUTPUT, writers)
        for database in old:
            move.count(database)
        for database in old:
            move.take(database)
        move.finish()
        for writer in writers:
            writer.flush()

    def rows(self, lane: str) -> list[Undelivered]:
        """What waits of a lane, in the order in which it leaves: parked before the log."""
        return [row for row in self.queue(lane).rows() if row.row.lane == lane]


def opened(groups: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as held:
        world = World(Path(directory), held)
        world.open(groups)
        yield world


def change_lane(world: World, kind: str, lane: str) -> None:
    """As a courier would: what is parked is so as a whole, and only the first row of a lane leaves."""
    queue, rows = world.queue(lane), world.rows(lane)
    change, state = queue.change(), queue.lane(lane)
    dead = [(number, one) for number, one in queue.dead() if one.row.lane == lane]
    if kind == "redriven" and dead:
        change.redrive(*dead[0])
        if state is None:
            change.park(rows)
            change.put_lane(lane, Lane(), None)
    elif kind == "parked" and rows:
        change.park(rows)
        change.put_lane(lane, Lane(3, 1_000, 1_000 + world.count, "503", "busy"), state)
    elif rows and kind in ("delivered", "dropped", "died"):
        if kind == "died":
            change.died(rows[0], "gone", "410", 2, world.count)
        else:
            (change.delivered if kind == "delivered" else change.dropped)(rows[:1])
        if state is not None and not any(row.is_parked for row in rows[1:]):
            change.remove_lane(lane, state)
    else:
        return
    change.write()


def seen(world: World) -> dict[str, object]:
    """Everything that must be as it was, whatever the number of groups."""
    queues = world.queues()
    lanes = {name: state for queue in queues for name, state in queue.lanes()}
    totals = [queue.totals for queue in queues]
    for queue in queues:
        assert queue.waiting == len(list(queue.rows()))
        assert [row.number for row in queue.log(-1, 1_000)] == [row.number for row in queue.rows() if not row.is_parked]
        due = sorted((state.due_ms, name) for name, state in queue.lanes())
        assert sorted(queue.due(10**12, 1_000)) == sorted(name for _, name in due)
        prefix = id_bytes(OUTPUT) + DUE
        assert len(list(queue._database.scan(DELIVERIES, prefix, prefix + b"\xff"))) == len(due)
    return {
        "rows": {
            lane: [(row.row.sequence, row.row.line, row.is_parked) for row in world.rows(lane)] for lane in world.made
        },
        "lanes": lanes,
        "dead": sorted((dead.row.sequence, dead.reason, dead.attempts) for queue in queues for _, dead in queue.dead()),
        "delivered": sum(total.delivered for total in totals),
        "dropped": sum(total.dropped for total in totals),
        "died": sum(total.died for total in totals),
    }


@settings(max_examples=30, deadline=None)
@given(groups=st.integers(1, 4), steps=st.lists(STEPS, max_size=25))
def test_what_waits_is_as_it_was(groups: int, steps: list[tuple[str, object]]) -> None:
    for world in opened(groups):
        for kind, given_ in steps:
            if kind == "made":
                assert isinstance(given_, list)
                world.make(given_)
            elif kind == "rescaled":
                assert isinstance(given_, int)
                before = seen(world)
                world.rescale(given_)
                assert seen(world) == before
            else:
                assert isinstance(given_, str)
                change_lane(world, kind, given_)
        seen(world)


@settings(max_examples=40, deadline=None)
@given(groups=st.integers(1, 4), steps=st.lists(LOG_STEPS, max_size=25), turns=st.randoms(use_true_random=False))
def test_a_receiver_that_keeps_numbers_gets_each_row_once(
    groups: int, steps: list[tuple[str, int]], turns: Random
) -> None:
    """It takes the logs in order, and now and then the flow is gone before it has heard of that."""
    last: dict[str, int] = {}
    effects: dict[str, list[str]] = {}

    def take(queue: DeliveryQueue, *, heard: bool) -> None:
        for row in queue.log(-1, 1):
            place, number, former = row.place(queue.place)
            known = max((last.get(one, -1) for one in (place, *former)), default=-1)
            if number > known:
                last[place] = number
                effects.setdefault(row.row.lane, []).append(row.row.sequence)
            if heard:
                change = queue.change()
                change.delivered([row])
                change.write()

    for world in opened(groups):
        for kind, given_ in steps:
            if kind == "made":
                world.make(given_)  # type: ignore[arg-type]
            elif kind == "rescaled":
                world.rescale(given_)
            else:
                take(world.queues()[given_ % len(world.databases)], heard=kind == "heard")
        while waiting := [queue for queue in world.queues() if queue.waiting]:
            take(turns.choice(waiting), heard=True)
        assert effects == world.made


@settings(max_examples=20, deadline=None)
@given(lanes=st.lists(LANES, min_size=1, max_size=20), parked=st.sets(LANES), groups=st.integers(1, 3))
def test_what_was_parked_for_another_receiver_is_taken_in_order(
    lanes: list[str], parked: set[str], groups: int
) -> None:
    """A target that takes lanes is put in the place of one that takes the log: none of its rows is passed over."""
    for world in opened(2):
        world.make(lanes)
        for lane in sorted(parked):
            change_lane(world, "parked", lane)
        world.make(lanes[:3])
        world.rescale(groups)
        last: dict[str, int] = {}
        taken: dict[str, list[str]] = {}
        for queue in world.queues():
            queue.take_in_order()
            assert queue.waiting == len(queue.log(-1, 1_000))
            assert not list(queue.lanes()) and queue.next_due_ms() is None
            for row in queue.log(-1, 1_000):
                place, number, _ = row.place(queue.place)
                assert number > last.get(place, -1)
                last[place] = number
                taken.setdefault(row.row.lane, []).append(row.row.sequence)
        assert taken == world.made


def test_rows_with_a_place_of_their_own_stay_parked() -> None:
    for world in opened(1):
        world.make(["a", "a"])
        change_lane(world, "died", "a")
        change_lane(world, "redriven", "a")
        [queue] = world.queues()
        queue.take_in_order()
        assert [row.row.sequence for row in queue.log(-1, 9)] == ["000002"]
        assert [row.row.sequence for row in queue.parked("a", 9)] == ["000001"]
        assert queue.due(0, 9) == ["a"]
        places = {row.place(queue.place)[0] for row in queue.rows()}
        assert len(places) == 2


def test_rows_of_before_have_no_places() -> None:
    """What was stored when a row had fewer fields is read with the defaults."""
    for world in opened(1):
        world.make(["a"])
        [database] = world.databases
        [row] = world.rows("a")
        batch = database.batch()
        stored = msgspec.msgpack.encode([row.row.lane, row.row.time_ms, row.row.sequence, row.row.line])
        batch.put(DELIVERIES, id_bytes(OUTPUT) + b"a" + bytes(8), VERSION_BYTE + stored)
        database.write(batch, sync=False)
        assert world.rows("a")[0].row == DeliveryRow("a", 1, "000001", b"{}")
