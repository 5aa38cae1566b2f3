"""A small world for couriers: key groups on disk, a receiver that does as it is told, a clock, and crashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from headway.delivery.courier import Courier, Fate, Item
from headway.state.group import GroupStore
from headway.state.stage import StageStore
from headway.targets.base import DONE, Answer, Delivery, Limits, Outcome, Target
from headway.targets.delivered import Delivering

OUTPUT = 3
LINE = b'{"id":"%d"}'


class Receiver(Target):
    """Stands for a target: the world answers for it."""

    def __init__(self, limits: Limits, *, in_order: bool) -> None:
        self.limits = limits
        self.in_order = in_order

    @property
    def name(self) -> str:
        return "receiver"

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        raise AssertionError


class World:
    """Commits triggers, hands out what a courier gives, and knows by its own books what must come of it."""

    def __init__(
        self, directory: Path, delivering: Delivering, limits: Limits, *, groups: int = 2, in_order: bool = False
    ) -> None:
        self.delivering = delivering
        self.in_order = in_order
        self.now_ms = 1_700_000_000_000
        self.under_way: list[tuple[Courier, list[Item]]] = []
        self.told: list[str] = []
        self.made: dict[str, list[int]] = {}
        """What was committed, by lane, in order."""
        self.effects: dict[str, list[int]] = {}
        """What the receiver has got and taken, by lane, in order."""
        self.answered: set[int] = set()
        """What it has taken and its answer was heard."""
        self.not_before: dict[str, int] = {}
        """Before which time a lane must not be tried."""
        self._groups = [GroupStore.open(directory, group) for group in range(groups)]
        self.stores: list[StageStore] = [group.stage("stage", [], []) for group in self._groups]
        self._target = Receiver(limits, in_order=in_order)
        self._number = 0
        self._refused: set[tuple[str, int]] = set()
        for store in self.stores:
            store.resume(None)
        self.courier = self._new_courier()

    def close(self) -> None:
        for group in self._groups:
            group.close()

    def _new_courier(self) -> Courier:
        courier = Courier("out", self._target, self.delivering, lambda: self.now_ms, lambda: 0.5, self.told.append)
        for store in self.stores:
            courier.add(store.delivery_queue(OUTPUT))
        return courier

    def group_of(self, lane: str) -> int:
        return sum(lane.encode()) % len(self.stores)

    def epoch(self, lanes: Sequence[str], *, commits: bool = True) -> None:
        """An epoch that makes one trigger for each of these lanes, in their order."""
        made: list[tuple[str, int]] = []
        for lane in lanes:
            self._number += 1
            made.append((lane, self._number))
            row = (self.now_ms, lane, LINE % self._number, f"{self._number:020d}")
            self.stores[self.group_of(lane)].deliveries.add(OUTPUT, [row])
        versions = [store.version for store in self.stores]
        for store in self.stores:
            store.commit({"epoch": self._number})
        if not commits:
            for store, version in zip(self.stores, versions):
                store.resume(version or None)
            return
        for store in self.stores:
            store.settle(sync=False)
        for lane, number in made:
            self.made.setdefault(lane, []).append(number)
        for window in self.courier.windows:
            window.queue.next = self.stores[window.queue.group].deliveries.numbered().get(OUTPUT, window.queue.next)

    def take(self) -> bool:
        """One more batch gets under way, if there is any."""
        items = self.courier.take()
        if not items:
            return False
        lanes = [item.row.row.lane for item in items]
        busy = [item.row.row.lane for courier, others in self.under_way for item in others if courier is self.courier]
        if not self.in_order:
            assert len(set(lanes)) == len(lanes), "two triggers of one key in a batch"
            assert not set(lanes) & set(busy), "a key has two triggers under way"
            for lane in lanes:
                assert self.now_ms >= self.not_before.get(lane, 0), "tried before its time"
        self.under_way.append((self.courier, items))
        return True

    def answer(self, index: int, outcomes: Sequence[Outcome], *, is_heard: bool = True) -> None:
        """The receiver answers one of the batches under way; unheard, it has done so just before a crash."""
        courier, items = self.under_way.pop(index % len(self.under_way))
        answers = [
            DONE if outcome is Outcome.DONE else Answer(outcome, f"{outcome.value} {item.row.number}", "head")
            for item, outcome in zip(items, outcomes)
        ]
        if self.in_order:
            answers = [
                Answer(Outcome.NEVER, "refused") if _place(item) in self._refused else answer
                for item, answer in zip(items, answers)
            ]
            answers = _behind_the_first_retry(answers)
            # A target that keeps order has taken what lies behind, and must know what it has not.
            self._refused |= {_place(i) for i, a in zip(items, answers) if a.outcome is Outcome.NEVER}
        for item, answer in zip(items, answers):
            if answer.outcome is Outcome.DONE:
                self._take_effect(item)
        if not is_heard or courier is not self.courier:
            return
        for item, answer in zip(items, answers):
            lane = item.row.row.lane
            self.not_before.pop(lane, None)
            if answer.outcome is Outcome.DONE:
                self.answered.add(_number(item))
            elif answer.outcome is Outcome.RETRY:
                self.not_before[lane] = self.now_ms + self.delivering.retry_first_ms
        fates = courier.fates(items, answers, self.now_ms)
        before = self._totals(courier)
        courier.answered(items, answers, self.now_ms)
        delivered, died = (after - old for after, old in zip(self._totals(courier), before))
        assert (fates.count(Fate.DELIVERED), fates.count(Fate.DEAD)) == (delivered, died)
        for number, dead in self.dead():
            assert number, dead

    @staticmethod
    def _totals(courier: Courier) -> tuple[int, int]:
        totals = [window.queue.totals for window in courier.windows]
        return sum(total.delivered for total in totals), sum(total.died for total in totals)

    def _take_effect(self, item: Item) -> None:
        lane, number = item.row.row.lane, _number(item)
        assert number not in self.answered, "delivered again though the answer was heard"
        had = self.effects.setdefault(lane, [])
        if number not in had:
            had.append(number)

    def crash(self) -> None:
        """The process is gone, with all that it knew."""
        self.under_way.clear()
        self.not_before.clear()
        for store in self.stores:
            store.resume(store.version or None)
        self.courier = self._new_courier()

    def dead(self) -> list[tuple[int, str]]:
        """What was given up: its number, and why."""
        found = []
        for store in self.stores:
            for _, dead in store.delivery_queue(OUTPUT).dead():
                found.append((_number_of(dead.row.line), dead.reason))
        return found

    def deliver_all(self) -> None:
        """The receiver takes everything from now on, and time passes until nothing waits."""
        for _ in range(10_000):
            while self.take():
                pass
            if self.under_way:
                _, items = self.under_way[0]
                self.answer(0, [Outcome.DONE] * len(items))
                continue
            if not self.courier.waiting:
                return
            wake_ms: Optional[int] = self.courier.wake_at_ms()
            assert wake_ms is not None, "something waits, and nothing will ever wake it"
            self.now_ms = max(self.now_ms + 1, wake_ms)
        raise AssertionError("it goes on for ever")

    def check_end(self) -> None:
        """All that was committed has arrived or was given up, in the order of each key, and nothing else."""
        dead = {number for number, _ in self.dead()}
        for lane, numbers in self.made.items():
            # What was given up may have been taken before, by a receiver whose answer was lost.
            effects = [number for number in self.effects.get(lane, []) if number not in dead]
            assert [number for number in numbers if number not in dead] == effects, lane
        assert self.effects.keys() <= self.made.keys()
        totals = [store.delivery_queue(OUTPUT).totals for store in self.stores]
        assert sum(total.gone for total in totals) == sum(map(len, self.made.values()))
        assert sum(total.died for total in totals) == len(dead)
        for store in self.stores:
            queue = store.delivery_queue(OUTPUT)
            assert not list(queue.rows())
            assert not list(queue.lanes())
            assert queue.next_due_ms() is None


def _number(item: Item) -> int:
    return _number_of(item.row.row.line)


def _place(item: Item) -> tuple[str, int]:
    """The place that it comes under, and its number there: what is put back has another one."""
    place, number, _ = item.row.place(item.lane.window.queue.place)
    return place, number


def _number_of(line: bytes) -> int:
    return int(line.split(b'"')[3])


def _behind_the_first_retry(answers: list[Answer]) -> list[Answer]:
    """A target that keeps order takes nothing behind what it has not taken."""
    for index, answer in enumerate(answers):
        if answer.outcome is Outcome.RETRY:
            return answers[:index] + [answer] * (len(answers) - index)
    return answers
