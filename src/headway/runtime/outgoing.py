"""What leaves a keyed stage in one key group: records for other stages and for outputs, triggers for the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

from headway.basics.times import MIN_TIME_MS
from headway.plan.stages import KeyedStage, Plan
from headway.runtime.batch import Record
from headway.runtime.exchange import Exchange, Message, Router, to_everyone
from headway.runtime.triggers import TriggerEncoder
from headway.state.deliveries import Deliveries
from headway.state.delivery_rows import DeliveryRow, Undelivered

if TYPE_CHECKING:
    from headway.delivery.dispatcher import Dispatcher

__all__ = ["Outgoing"]


class Outgoing:
    """Takes what operators emit into lists, one for each edge, and sends it when a task has gone on by a slice.

    `records` and `encoders` are by edge, and stay the same objects: operators hold on to them.
    """

    def __init__(
        self,
        plan: Plan,
        stage: KeyedStage,
        group: int,
        groups: int,
        outputs: Mapping[str, int],
        outbox: Deliveries,
        dispatcher: Optional[Dispatcher],
    ) -> None:
        self.records: dict[int, list[Record]] = {}
        self.encoders: dict[int, TriggerEncoder] = {}
        self.delivered: dict[int, int] = {}
        """The numbers of outputs whose triggers are delivered from here, by edge."""
        self.next_heartbeat_ms: Optional[int] = None
        self._outbox = outbox
        self._group = group
        self._dispatcher = dispatcher
        self._early: set[int] = set()
        """The edges whose triggers leave before their epoch is durable."""
        self._router = Router(groups)
        self._exchanges: dict[int, Exchange] = {}
        self._broadcasts: set[int] = set()
        self._is_told = False
        """Whether everyone downstream has been sent something in this epoch."""
        sinks = {sink.name: sink.node for sink in plan.sinks}
        for edge in plan.edges_of(list(stage.outputs.values())):
            self.records[edge.id] = []
            if edge.target in outputs:
                self.delivered[edge.id] = outputs[edge.target]
                delivered = sinks[edge.target].delivered
                if dispatcher is not None and delivered is not None and delivered.delivering.leaves_early:
                    self._early.add(edge.id)
            else:
                everyone = [0] if edge.target in sinks else list(range(groups))
                self._exchanges[edge.id] = Exchange(edge.id, edge.target, f"{group:03d}", everyone)
            if edge.broadcast:
                self._broadcasts.add(edge.id)
            if edge.target in sinks:
                self.encoders[edge.id] = TriggerEncoder(plan.flow, edge, sinks[edge.target])

    def restore(self, ordinals: Mapping[str, Any]) -> None:
        """Go on with ordinals that were counted before."""
        for edge, counted in ordinals.items():
            self.encoders[int(edge)].ordinals = counted

    def ordinals(self) -> dict[str, Any]:
        """What must be kept of ordinals: none are left behind the watermark, but where time has gone back."""
        return {str(edge): encoder.ordinals for edge, encoder in self.encoders.items() if encoder.ordinals}

    def open_epoch(self) -> None:
        """An epoch has been closed, and the next one begins."""
        self._is_told = False
        for exchange in self._exchanges.values():
            exchange.open_epoch()

    def send(self, watermark: int) -> list[Message]:
        """Everything that was emitted; in an epoch also, to all others, that the epoch before is durable."""
        out: list[Message] = []
        for edge, records in self.records.items():
            if records:
                if edge in self.delivered:
                    first = self._outbox.add(self.delivered[edge], records)
                    if edge in self._early:
                        self._leave_early(edge, first, records)
                else:
                    self._exchanges[edge].send(self._by_group(edge, records), "", watermark, out)
                records.clear()
        if not self._is_told:
            self._is_told = True
            for exchange in self._exchanges.values():
                exchange.prove(watermark, out)
        return out

    def _leave_early(self, edge: int, first: int, records: list[Record]) -> None:
        rows = [
            Undelivered(first + at, DeliveryRow(lane, time_ms, sequence, line), is_parked=False)
            for at, (time_ms, lane, line, sequence) in enumerate(records)
        ]
        assert self._dispatcher is not None
        self._dispatcher.leave_early(self.delivered[edge], self._group, rows)

    def heartbeat(self, watermark: int, now_ms: int, out: list[Message], *, force: bool) -> None:
        """Tell those who got nothing for long how far time has come, with `force` all of them."""
        if force or watermark > MIN_TIME_MS:
            times = [exchange.heartbeat(watermark, now_ms, out, force=force) for exchange in self._exchanges.values()]
            self.next_heartbeat_ms = min((time for time in times if time is not None), default=None)

    def forget_ordinals(self, time_ms: int, origin: str) -> None:
        """See `TriggerEncoder.forget_ordinals`."""
        for encoder in self.encoders.values():
            encoder.forget_ordinals(time_ms, origin)

    def _by_group(self, edge: int, records: list[Record]) -> dict[int, list[Record]]:
        if edge in self.encoders:
            return {0: records.copy()}
        if edge in self._broadcasts:
            return to_everyone(records, self._exchanges[edge].groups)
        self._router.sort_in(records)
        return self._router.take()
