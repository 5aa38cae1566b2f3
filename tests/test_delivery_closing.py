"""How a dispatcher lets targets go that do not end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.test_delivery_runs import Script, flow_of, run

from headway.delivery import dispatcher
from headway.runtime.stopping import StopFlag
from headway.targets.base import Answer, Delivery


class Reluctant(Script):
    """Has something to do when a delivery is given up, and something else when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        self.got += batch
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):  # Other tasks end meanwhile.
                await asyncio.sleep(0)
            self.told.append("ended")
        return []

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.told.append("closed")


def test_a_target_is_closed_when_what_it_had_under_way_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_LAST_ANSWERS_S", 0.0)
    target = Reluctant()
    with suppress(KeyboardInterrupt):
        run(flow_of(target, 1), tmp_path, StopFlag(lambda: bool(target.got)), follow=True)
    assert target.told == ["ended", "closed"]


def test_who_keeps_its_time_itself_is_waited_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `spare_s`: its own answer says more than that time is over."""
    waited: list[float] = []
    within = dispatcher._within

    async def noting(timeout_s: float, work: Any) -> Any:
        waited.append(timeout_s)
        return await within(timeout_s, work)

    monkeypatch.setattr(dispatcher, "_within", noting)
    run(flow_of(Script(timeout_s=3.0, spare_s=2.5), 1), tmp_path)
    assert waited == [5.5]
