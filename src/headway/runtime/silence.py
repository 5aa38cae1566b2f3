"""How time goes on where no events move it: with ingestion time, and past partitions that are idle."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Optional

from headway.graph import INGESTION_TIME, SourceNode
from headway.runtime.board import Board
from headway.runtime.partition import Partition, is_idle
from headway.runtime.slot_options import SlotOptions

__all__ = ["Silence"]


class Silence:
    """Lets time go on by the wall clock, where the source asks for that: with ingestion time, and past idle partitions.

    An idle partition claims what the active ones of all slots do; where none is active, time goes on by the clock.
    """

    def __init__(
        self,
        source: SourceNode,
        partitions: Callable[[], Collection[Partition]],
        board: Board,
        slot: str,
        options: SlotOptions,
    ) -> None:
        self.is_whole = False
        """Whether all partitions are idle."""
        self._source = source
        self._partitions = partitions
        self._board = board
        self._slot = slot
        self._follow = options.follow
        self._is_pressed = options.is_pressed
        self._ooo_ms = source.out_of_order_ms
        self._followed: Optional[int] = None
        """What idle partitions have last been told to claim; None where time went by the clock."""

    def pass_time(self, now_ms: int, wall_ms: int) -> None:
        """Let time move where no events move it: with ingestion time, and past partitions that are idle."""
        if self._source.time is INGESTION_TIME:
            for partition in self._partitions():
                if partition.ended:
                    continue
                known = partition.reader is not None or self._source.input.own_log is not None
                floor_ms = partition.floor_ms(wall_ms) if known else wall_ms
                if floor_ms is not None:
                    partition.max_time = max(partition.max_time or floor_ms, floor_ms)
            return
        idle_after_ms = self._source.idle_after_ms
        if idle_after_ms is None or not self._follow:
            return
        if self._is_pressed():
            self._stand_still(now_ms)
            return
        active = [p.watermark(self._ooo_ms) for p in self._partitions() if not is_idle(p, now_ms, idle_after_ms)]
        self.is_whole = not active
        target = min(active) if active else self._board.least_active(self._slot)
        moved = target is not None and target != self._followed
        self._followed = target
        for partition in self._partitions():
            if is_idle(partition, now_ms, idle_after_ms):
                if moved:
                    partition.credited_to_ms = now_ms
                self._skip_idle(partition, target, now_ms)

    def _stand_still(self, now_ms: int) -> None:
        """Nobody looks whether there are events: so no partition is silent for longer than before."""
        for partition in self._partitions():
            if partition.quiet_since_ms is not None:
                partition.quiet_since_ms = now_ms
            if partition.credited_to_ms is not None:
                partition.credited_to_ms = now_ms

    def _skip_idle(self, partition: Partition, target: Optional[int], now_ms: int) -> None:
        """An idle partition claims what the active ones do; where none is active, time goes on by the clock."""
        if target is None and partition.max_time is None:
            target = self._least_known()
            partition.credited_to_ms = now_ms
        if target is not None:
            if target > partition.watermark(self._ooo_ms):
                partition.max_time = target + self._ooo_ms + 1
        elif partition.max_time is not None:
            assert partition.quiet_since_ms is not None
            partition.max_time += now_ms - (partition.credited_to_ms or partition.quiet_since_ms)
            partition.credited_to_ms = now_ms

    def _least_known(self) -> Optional[int]:
        """What a partition that never had an event may claim when nobody reads: as little as any other one does."""
        known = [p.watermark(self._ooo_ms) for p in self._partitions() if p.max_time is not None]
        return min(known) if known else self._board.least_known(self._slot)
