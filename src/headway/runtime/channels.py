"""The channels of a stage's inputs and what each claims about time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from headway.basics.times import MIN_TIME_MS
from headway.errors import InternalError
from headway.plan.stages import Edge

__all__ = ["Channels"]


class Channels:
    """The watermark of a task: the minimum over the claims of all channels that must be heard.

    `counts` says how many channels each input edge has. A claim never goes back.
    """

    def __init__(self, inputs: list[Edge], counts: Mapping[int, int]) -> None:
        self._ranks = {edge.id: edge.rank for edge in inputs}
        self._expected = sum(counts[edge.id] for edge in inputs)
        self._claims: dict[tuple[int, str], int] = {}

    def restore(self, claims: Optional[Mapping[str, Mapping[str, int]]]) -> None:
        """Go back to the claims that `claims_by_edge` told."""
        by_rank = {str(rank): edge for edge, rank in self._ranks.items()}
        self._claims = {
            (by_rank[rank], channel): watermark
            for rank, by_channel in (claims or {}).items()
            for channel, watermark in by_channel.items()
        }

    def rank_of(self, edge: int) -> int:
        """The number of an input edge."""
        return self._ranks[edge]

    def claim(self, edge: int, channel: str, watermark: int) -> bool:
        """Take note of what a channel says; returns whether that is more than it has said before."""
        claims = self._claims
        if watermark > claims.get((edge, channel), MIN_TIME_MS):
            claims[edge, channel] = watermark
            return True
        return False

    def watermark(self) -> int:
        """The minimum over all channels; the least time while one has not been heard."""
        claims = self._claims
        if len(claims) < self._expected:
            return MIN_TIME_MS
        if len(claims) > self._expected:
            msg = f"{len(claims)} channels were heard where {self._expected} are known"
            raise InternalError(msg)
        return min(claims.values(), default=MIN_TIME_MS)

    def claims_by_edge(self) -> dict[str, dict[str, int]]:
        """All claims, as stored: by the number of the input and the channel."""
        stored: dict[str, dict[str, Any]] = {}
        for (edge, channel), watermark in self._claims.items():
            stored.setdefault(str(self._ranks[edge]), {})[channel] = watermark
        return stored
