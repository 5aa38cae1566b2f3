"""The state as requests see it: as new as they ask for, or a problem that says what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Optional

from headway.serving.answers import Freshness
from headway.serving.catalog import Shown
from headway.serving.requests import Query
from headway.serving.state import DecisionState
from headway.state.snapshots import Snapshot
from headway.web.problems import ProblemError

__all__ = ["FRESH", "Current"]

FRESH = ("at_least", "epoch", "wait")
"""The parameters by which a request says how new the state must be."""


class Current:
    """Decision state for one request after another. `wall_ms` is the wall clock."""

    def __init__(self, state: DecisionState, wall_ms: Callable[[], int]) -> None:
        self.state = state
        self.wall_ms = wall_ms

    @property
    def snapshot(self) -> Snapshot:
        """The newest one. Raises `ProblemError` where there is none."""
        if self.state.snapshot is None:
            raise _not_known(self.state.not_ready or "")
        return self.state.snapshot

    def shown(self, view: str) -> Shown:
        """A view by its name. Raises `ProblemError` for one that is not there, or not known yet."""
        found = self.state.views().get(view)
        if found is not None:
            return found
        if self.state.catalog is None:
            raise _not_known(self.state.not_ready or "")
        if view in self.state.catalog.missing:
            msg = "no run of this flow has known this view yet"
            raise _not_known(msg)
        listed = ", ".join(self.state.views()) or "it has none"
        raise ProblemError(404, f"the flow has no view {view!r:.80}: {listed}", title="no such view", reason="no view")

    def freshness(self, view: str) -> Freshness:
        """How new a view is."""
        return self.freshness_of(self.snapshot, self.shown(view))

    def freshness_of(self, snapshot: Snapshot, shown: Shown) -> Freshness:
        """As `freshness`, of a snapshot that was taken."""
        return Freshness.of(snapshot, shown.task, self.wall_ms())

    async def await_known(self, view: str, within_s: float) -> None:
        """Return once a view is known, or after that time: a flow that has just started has no epoch yet."""
        until_s = time.monotonic() + within_s
        state = self.state
        while view not in state.views() and (state.catalog is None or view in state.catalog.missing):
            if not await state.next_change(until_s - time.monotonic()):
                return

    async def await_fresh(self, query: Query, shown: Shown, within_s: float) -> None:
        """Return once the state is as new as it must be. Raises `ProblemError` when it is not in time."""
        receipt = query.receipt()
        epoch = query.number("epoch", 0, 0, 1 << 62)
        if receipt is not None and not self.state.knows(receipt):
            log_name = receipt.log or receipt.partition
            raise ProblemError(400, f"at_least: the receipt is of {log_name!r:.80}, which is no source of this flow")
        until_s = time.monotonic() + within_s
        while True:
            missing = self._missing(receipt, epoch, shown)
            if missing is None:
                return
            if not await self.state.next_change(until_s - time.monotonic()):
                break
        if self.state.is_closing:
            raise ProblemError(503, "the server is about to stop: come again in a moment", headers={"retry-after": "1"})
        if missing != self.state.not_ready:
            raise ProblemError(412, f"the state is not there yet: {missing}", title="not there yet", reason="behind")
        raise _not_known(missing)

    def _missing(self, receipt: Any, epoch: int, shown: Shown) -> Optional[str]:
        snapshot = self.state.snapshot
        if snapshot is None:
            return self.state.not_ready
        if snapshot.cut.epoch < epoch:
            return f"it is of epoch {snapshot.cut.epoch}"
        return None if receipt is None else self.state.reached(receipt, shown)


def _not_known(detail: str) -> ProblemError:
    return ProblemError(503, detail, title="not known yet", headers={"retry-after": "1"}, reason="not known")
