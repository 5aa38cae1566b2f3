"""How workers sleep: a model of the engine's epochs, with two slots that began at any time, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.runtime.rest import NAP_MS, Rest, Watch

EPOCH_MS = 1_000


class Slot:
    """A slot, and when the engine calls it: it ends an epoch with the first call that begins after its time."""

    def __init__(self, began_ms: int) -> None:
        self.rest = Rest(EPOCH_MS, began_ms)
        self.began_ms = self.now_ms = began_ms
        self.others_ms = 0
        self.naps: list[float] = []
        self.calls = 0

    def run_epoch(self) -> int:
        """Until the epoch is closed; returns when that was."""
        while True:
            called_ms = self.now_ms
            self.rest.called(called_ms, self.others_ms)
            nap_ms = self.rest.nap_ms(called_ms, NAP_MS)
            self.naps.append(nap_ms)
            self.calls += 1
            self.now_ms += max(1, round(nap_ms))
            if called_ms - self.began_ms >= EPOCH_MS:
                self.began_ms = called_ms
                return self.rest.closed()


@given(apart_ms=st.integers(0, EPOCH_MS - 100), written_ms=st.integers(1, 60))
def test_slots_come_into_step_and_stay_so(apart_ms: int, written_ms: int) -> None:
    """One that is ahead by nearly all of an epoch is called when that is over, and cannot sleep; it drifts on."""
    slots = [Slot(0), Slot(apart_ms)]
    apart = []
    for _ in range(60):
        closed = [slot.run_epoch() for slot in slots]
        last_ms = max(closed)
        apart.append(last_ms - min(closed))
        for slot in slots:
            slot.now_ms = max(slot.now_ms, last_ms + written_ms)
            slot.others_ms = last_ms
    assert max(apart[-20:]) <= 6


@given(apart_ms=st.integers(0, EPOCH_MS - 1))
def test_nobody_sleeps_for_long(apart_ms: int) -> None:
    slots = [Slot(0), Slot(apart_ms)]
    for _ in range(20):
        last_ms = max(slot.run_epoch() for slot in slots)
        for slot in slots:
            slot.now_ms = max(slot.now_ms, last_ms + 5)
            slot.others_ms = last_ms
    assert max(nap for slot in slots for nap in slot.naps) <= 3 * NAP_MS


def test_it_sleeps_in_the_first_epoch_too() -> None:
    """An epoch may be an hour long: nobody looks around all the time until the first one is over."""
    slot = Slot(began_ms=5_000)
    slot.run_epoch()
    assert slot.calls <= 2 * EPOCH_MS / NAP_MS


class Worker:
    """A worker without a slot beside slots that end an epoch and begin the next one at the times given."""

    def __init__(self, ends: list[tuple[int, int]]) -> None:
        self.ends = ends
        self.now_ms = ends[0][0]
        self.is_calm = True
        self.slots = 0
        self.slept: list[tuple[int, int]] = []
        self.woken = 0
        self.watch = Watch(
            EPOCH_MS,
            lambda: self.now_ms,
            lambda: max(closed_ms for closed_ms, _ in self.ends if closed_ms <= self.now_ms),
            lambda: max((begun_ms for _, begun_ms in self.ends if begun_ms <= self.now_ms), default=0),
            lambda: self.is_calm,
            lambda: self.slots > 0,
            NAP_MS,
            self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append((self.now_ms, round(seconds * 1_000)))
        self.now_ms += round(seconds * 1_000)

    def run(self, until_ms: int) -> None:
        while self.now_ms < until_ms:
            self.woken += 1
            self.watch.rest()
            self.now_ms += max(1, self.watch.pause_ms())


@given(
    written_ms=st.lists(st.integers(1, 200), min_size=2, max_size=8),
    late_ms=st.lists(st.integers(0, 50), min_size=8, max_size=8),
)
def test_a_worker_without_slots_is_awake_while_an_epoch_ends(written_ms: list[int], late_ms: list[int]) -> None:
    ends = [(EPOCH_MS, EPOCH_MS + written_ms[0])]
    for late, writing in zip(late_ms, written_ms[1:]):
        closed_ms = ends[-1][0] + EPOCH_MS + late
        ends.append((closed_ms, closed_ms + writing))
    worker = Worker(ends)
    until_ms = ends[-1][1] + EPOCH_MS // 2
    worker.run(until_ms)
    for at_ms, nap_ms in worker.slept:
        assert 0 < nap_ms <= NAP_MS
        assert not any(at_ms < begun_ms and at_ms + nap_ms > closed_ms for closed_ms, begun_ms in ends)
    # It sleeps all the time but for these ends, and what it looks around before and after them.
    ending_ms = sum(begun_ms - closed_ms for closed_ms, begun_ms in ends) + sum(late_ms) + 2 * NAP_MS * len(ends)
    assert sum(nap_ms for _, nap_ms in worker.slept) >= until_ms - EPOCH_MS - ending_ms - worker.woken


def test_a_worker_is_seldom_woken_for_its_watch_while_the_flow_is_busy() -> None:
    worker = Worker([(EPOCH_MS, EPOCH_MS + 5)])
    worker.is_calm = False
    worker.run(10_000)
    assert not worker.slept and worker.woken <= 30


def test_the_first_stage_that_asks_keeps_the_watch_of_a_worker_without_slots() -> None:
    worker = Worker([(EPOCH_MS, EPOCH_MS + 5)])
    first, second = object(), object()
    assert [worker.watch.is_kept_by(stage) for stage in (first, second, first)] == [True, False, True]
    worker.slots = 1
    assert not worker.watch.is_kept_by(first)
