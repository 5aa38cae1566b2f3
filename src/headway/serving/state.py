"""Decision state as a server has it: the newest snapshot, those that pages are read from, and who waits for what.

**Following.** A task looks at the cut's file, a hundred times a second while anybody waits or something has changed
lately, and ten times in silence: one `stat`, some microseconds. When it is another file, the key groups move on one by
one (`headway.state.followed`), with a pause between them in which requests are answered. The snapshot before goes on
answering until the new one is there. (RocksDB and the decoding of what has changed hold the interpreter, so a thread
would gain nothing.)

**Waiting.** Who waits for a key waits with the version that it has, its ETag. For each new snapshot the key is looked
up once, however many wait for it, and all of them are given the same bytes. A client that is slow gets the newest
version when it has taken the one before: versions in between are skipped, so that nothing is queued for anybody.

**Receipts.** A receipt names a record of a partition. State includes its event when an epoch is committed that has read
past it, *and* time has passed the event in the stage of the view: before that it waits there for events that may still
come before it. A receipt may say which time that is. For one that does not: the event is no later than the latest one
of its partition in the first epoch that had read it. So the last positions are remembered, and such a receipt is taken
for reached when the view's watermark is at the latest time of the first of them that is behind the record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Optional

from headway.basics.receipts import Receipt
from headway.errors import HeadwayError, StateError
from headway.plan.stages import Plan
from headway.serving.catalog import Catalog, Shown
from headway.state.cut import Cut
from headway.state.manifest import MANIFEST_NAME, Manifest
from headway.state.snapshots import Follower, Snapshot

__all__ = ["DecisionState"]

log = logging.getLogger("headway")

_BUSY_S: Final = 0.01
_IDLE_S: Final = 0.1
_LIVELY_S: Final = 2.0
"""For how long after a change another one is expected soon."""
_PINS_MAX: Final = 8
_PIN_S: Final = 60.0
_EPOCHS_REMEMBERED: Final = 512

Places = dict[str, dict[str, tuple[Optional[dict[str, Any]], Optional[int]]]]


class DecisionState:
    """What is committed of the views of a flow. All methods are called on one event loop, but for `refresh`."""

    def __init__(self, plan: Plan, directory: Path, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.snapshot: Optional[Snapshot] = None
        self.catalog: Optional[Catalog] = None
        self.fault: Optional[str] = None
        """Why the newest state cannot be read, for logs."""
        self.is_closing = False
        self._is_followed = False
        self.declared = list(plan.graph.views)
        """The names of all views of the flow."""
        self._plan = plan
        self._inputs = {source.name: source.node.input for source in plan.sources}
        self._directory = directory
        self._clock_s = clock_s
        self._follower: Optional[Follower] = None
        self._next_catalog: Optional[Catalog] = None
        """Of the follower: it holds from its first snapshot on."""
        self._manifest_stamp = 0
        self._stamp: Optional[tuple[int, int]] = None
        self._changed_s = -_LIVELY_S
        self._pins: OrderedDict[int, tuple[Snapshot, float]] = OrderedDict()
        self._history: deque[Places] = deque(maxlen=_EPOCHS_REMEMBERED)
        self._waiting: set[asyncio.Future[None]] = set()
        self._listeners: list[Callable[[], Any]] = []

    @property
    def is_known(self) -> bool:
        """Whether anything committed is known."""
        return self.snapshot is not None

    @property
    def not_ready(self) -> Optional[str]:
        """Why nothing can be answered; None when it can."""
        return None if self.snapshot is not None else "no committed epoch of this flow is known yet"

    def views(self) -> dict[str, Shown]:
        """The views by name."""
        return {} if self.catalog is None else self.catalog.views

    def age_ms(self, wall_ms: int) -> int:
        """How long ago what is answered was the newest."""
        assert self.snapshot is not None
        return max(0, wall_ms - self.snapshot.cut.at_ms)

    def refresh(self) -> bool:
        """Look at once; returns whether there is another snapshot. For the start, and for tests."""
        follower = self._follow()
        return follower is not None and self._take(follower.snapshot())

    async def follow(self) -> None:
        """Follow what is committed, until `is_closing`."""
        self._is_followed = True
        try:
            while not self.is_closing:
                await self._step_on()
                await asyncio.sleep(self._pause_s())
        finally:  # Also where the loop ends, and all of its tasks are cancelled.
            self._is_followed = False
            self._drop_follower()
        for waiter in list(self._waiting):
            if not waiter.done():
                waiter.set_result(None)

    def on_change(self, listener: Callable[[], Any]) -> None:
        """Call `listener` for each new snapshot."""
        self._listeners.append(listener)

    async def next_change(self, within_s: float) -> bool:
        """Wait for another snapshot; returns whether there is one. At once when the server is about to end."""
        if within_s <= 0 or self.is_closing:
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait_for(waiter, within_s)
        except asyncio.TimeoutError:
            return False
        finally:
            self._waiting.discard(waiter)
        return not self.is_closing

    def pin(self, snapshot: Snapshot) -> int:
        """Keep a snapshot for the pages to come; returns its epoch."""
        now_s = self._clock_s()
        self._pins[snapshot.cut.epoch] = snapshot, now_s
        self._pins.move_to_end(snapshot.cut.epoch)
        self._drop_pins(now_s)
        return snapshot.cut.epoch

    def pinned(self, epoch: int) -> Optional[Snapshot]:
        """The snapshot of an epoch; None when it is gone."""
        if self.snapshot is not None and self.snapshot.cut.epoch == epoch:
            return self.snapshot
        self._drop_pins(self._clock_s())
        found = self._pins.get(epoch)
        return None if found is None else found[0]

    def knows(self, receipt: Receipt) -> bool:
        """Whether a receipt is of a source of this flow."""
        return self._source_of(receipt) is not None

    def reached(self, receipt: Receipt, shown: Shown) -> Optional[str]:
        """What is missing until a view's state includes an event; None when it does."""
        missing = "its event has not been read yet"
        if self.snapshot is None:
            return missing
        source = self._source_of(receipt)
        if source is None:
            return missing
        given = self._inputs[source]
        for places in self._history:
            stand, latest_ms = places.get(source, {}).get(receipt.partition, (None, None))
            count = None if stand is None else given.records_before(stand)
            if count is not None and count > receipt.position:
                break
        else:
            return missing
        if latest_ms is None or source not in shown.sources:
            return None
        watermark = self.snapshot.cut.watermarks[shown.task]
        happened_ms = latest_ms if receipt.time_ms is None else min(receipt.time_ms, latest_ms)
        if watermark is not None and watermark >= happened_ms:
            return None
        return "its event was read, and waits until time has passed it"

    def _source_of(self, receipt: Receipt) -> Optional[str]:
        """The source that reads a receipt's log."""
        if receipt.log:
            return receipt.log if receipt.log in self._inputs else None
        known = {} if self.snapshot is None else self.snapshot.cut.positions
        found = (name for name in self._inputs if receipt.partition in known.get(name, {}))
        return next(found, None) or next(
            (name for name, given in self._inputs.items() if receipt.partition in given.partitions()), None
        )

    def close(self) -> None:
        """Stop following, and let everything go; `follow` then tells all who wait. Again does nothing."""
        self.is_closing = True
        if not self._is_followed:  # Else `follow` does it, between two steps.
            self._drop_follower()

    def _pause_s(self) -> float:
        lively = bool(self._waiting) or self._clock_s() - self._changed_s < _LIVELY_S
        return _BUSY_S if lively else _IDLE_S

    async def _step_on(self) -> None:
        try:
            await self._step()
            self.fault = None
        except HeadwayError as error:
            if self.fault != str(error):
                self.fault = str(error)
                log.warning("the views cannot be read on: %s", error)
            self._drop_follower()
            self._stamp = None

    async def _step(self) -> None:
        self._drop_pins(self._clock_s())
        stamp = Cut.stamp(self._directory)
        if stamp is None or stamp == self._stamp:
            return
        follower = self._follow()
        if follower is None:
            return
        steps = follower.advance()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Optional[Snapshot] = end.value
                break
            await asyncio.sleep(0)
        if found is not None:
            self._stamp = stamp
        if self._take(found):
            for waiter in list(self._waiting):
                if not waiter.done():
                    waiter.set_result(None)
            for listener in self._listeners:
                await listener()
        for _ in follower.renew():
            await asyncio.sleep(0)

    def _take(self, found: Optional[Snapshot]) -> bool:
        if found is None or found is self.snapshot:
            return False
        self.snapshot = found
        self.catalog = self._next_catalog
        self._changed_s = self._clock_s()
        self._history.append(found.cut.positions)
        return True

    def _follow(self) -> Optional[Follower]:
        """What follows the generation that there is; None while there is none, or it shows no view."""
        try:
            stamp = (self._directory / MANIFEST_NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._follower is None or stamp != self._manifest_stamp:
            manifest = Manifest.load(self._directory)
            if manifest is None or manifest.moves:
                return None
            if manifest.flow != self._plan.flow:
                msg = f"{self._directory} belongs to the flow {manifest.flow!r}, not to {self._plan.flow!r}"
                raise StateError(msg)
            self._drop_follower()
            self._manifest_stamp = stamp
            self._next_catalog = Catalog(self._plan, manifest)
            self._follower = Follower(self._directory, manifest, self._next_catalog.tasks)
        return self._follower

    def _drop_follower(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()

    def _drop_pins(self, now_s: float) -> None:
        while self._pins:
            epoch, (_, since_s) = next(iter(self._pins.items()))
            if len(self._pins) <= _PINS_MAX and now_s - since_s < _PIN_S:
                break
            del self._pins[epoch]
