"""How slots sleep: a model of the engine's epochs, with two slots that began at any time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.runtime.rest import NAP_MS, Rest

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
