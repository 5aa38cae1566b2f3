"""A flow whose state gets other versions between its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.versioned_states import First, Second, Third

import headway as hw
from headway.errors import IncompatibleStateError, UserCodeError


class Purchase(hw.Event):
    user: str
    at: hw.Time
    price: float


def spending(state_type: Any, events: Path, out: Path) -> hw.Flow:
    """A flow that tells what each user has spent in cents, with a state of one of the versions."""

    class Spending(hw.Operator[Purchase, hw.State]):
        def __init__(self) -> None:
            self.state_type = state_type

        def on_event(self, state: Any, event: Purchase, ctx: hw.Context) -> None:
            if state_type is First:
                state.total += event.price
                cents = round(state.total * 100)
            elif state_type is Second:
                state.cents += round(event.price * 100)
                cents = state.cents
            else:
                state.amounts.append(round(event.price * 100))
                cents = sum(state.amounts)
            ctx.emit({"user": ctx.key, "cents": cents})

    flow = hw.Flow("spending")
    source = flow.source("purchases", Purchase, hw.files(str(events)), time="at")
    source.key_by("user").process("spending", Spending()).to("out", hw.to_jsonl(str(out)))
    return flow


def append(events: Path, part: int) -> None:
    with events.open("ab") as file:
        for number in range(60):
            user = f"u{(number * 7 + part) % (3 + 4 * part)}"
            purchase = Purchase(user, (part * 60 + number) * 1000, 0.25 * (number % 9))
            file.write(msgspec.json.encode(purchase) + b"\n")


def test_a_flow_goes_on_through_versions_as_if_it_had_always_been_the_last(tmp_path: Path) -> None:
    events, out, at_once = tmp_path / "events.jsonl", tmp_path / "out.jsonl", tmp_path / "once.jsonl"
    for part, state_type in enumerate((First, Second, Third)):
        append(events, part)
        hw.run(spending(state_type, events, out), state=tmp_path / "state", epoch="50ms")
    hw.run(spending(Third, events, at_once), state=tmp_path / "other")
    assert out.read_bytes() == at_once.read_bytes()
    with pytest.raises(IncompatibleStateError, match=r"operator 'spending': states of version 3 are stored"):
        hw.run(spending(Second, events, out), state=tmp_path / "state")


def test_a_run_stops_where_a_migration_fails_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    class Faulty(Second):
        @classmethod
        def migrate(cls, old: dict[str, Any], version: int) -> Second:
            raise ValueError(old["total"])

    events, out, at_once = tmp_path / "events.jsonl", tmp_path / "out.jsonl", tmp_path / "once.jsonl"
    append(events, 0)
    hw.run(spending(First, events, out), state=tmp_path / "state")
    append(events, 1)
    with pytest.raises(UserCodeError, match=r"operator 'spending', key 'u\d': migrate raised ValueError\("):
        hw.run(spending(Faulty, events, out), state=tmp_path / "state")
    hw.run(spending(Second, events, out), state=tmp_path / "state")
    hw.run(spending(Second, events, at_once), state=tmp_path / "other")
    assert out.read_bytes() == at_once.read_bytes()
