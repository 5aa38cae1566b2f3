"""How it stands with deliveries, in words: for the panel of a run, its lines and its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headway.basics.times import format_duration
from headway.cli.texts import count_text
from headway.delivery.breaker import BreakerState
from headway.delivery.stats import DeliveryStats
from headway.runtime.stats import RunStats

__all__ = ["Alerts", "delivery_json", "delivery_text", "ended_text", "ending_text"]

_LATE_MS: Final = 30_000
"""For so long a trigger may wait that cannot be delivered before somebody is told why."""


def delivery_text(stats: DeliveryStats) -> str:
    """One output while a run goes on.

    >>> delivery_text(DeliveryStats(
    ...     target="t", edge="direct", waiting=3, delivered=12, dead=0, dropped=0, oldest_ms=4_200))
    '3 waiting, for 4s, 12 delivered'
    """
    parts = [f"{stats.waiting:,} waiting"]
    if stats.waiting and stats.oldest_ms >= 1_000:
        parts.append(f"for {format_duration(stats.oldest_ms // 1_000 * 1_000)}")
    parts.append(f"{stats.delivered:,} delivered")
    if stats.dead:
        parts.append(f"{stats.dead:,} dead")
    if stats.stopped:
        parts.append("it wants no more")
    elif stats.breaker != BreakerState.CLOSED.value:
        parts.append(f"breaker {stats.breaker}")
    if stats.is_pressing:
        parts.append("holds the flow up")
    return ", ".join(parts)


def ended_text(stats: DeliveryStats) -> str:
    """One output at the end of a run.

    >>> ended_text(DeliveryStats(target="t", edge="direct", waiting=3, delivered=12, dead=1, dropped=0))
    '12 delivered, 3 waiting, 1 dead'
    """
    parts = [f"{stats.delivered:,} delivered", f"{stats.waiting:,} waiting", f"{stats.dead:,} dead"]
    return ", ".join([*parts, f"{stats.dropped:,} dropped"] if stats.dropped else parts)


def ending_text(stats: RunStats) -> str:
    """What the end of a run waits for; empty where it does not."""
    waiting = {name: one.waiting for name, one in stats.deliveries.items() if one.is_ending and one.waiting}
    if not waiting:
        return ""
    return f"all is read; delivering {count_text(sum(waiting.values()), 'trigger')} of {', '.join(waiting)}"


def delivery_json(stats: DeliveryStats) -> dict[str, object]:
    """One output for programs."""
    return {
        "target": stats.target,
        "edge": stats.edge,
        "delivered": stats.delivered,
        "waiting": stats.waiting,
        "dead": stats.dead,
        "dropped": stats.dropped,
        "attempts": stats.attempts,
        "breaker": stats.breaker,
        "stopped": stats.stopped or None,
    }


class Alerts:
    """What one should hear when it begins and when it is over, such as that a target holds the flow up; each once."""

    def __init__(self) -> None:
        self._pressing: set[str] = set()
        self._broken: set[str] = set()
        self._late: set[str] = set()
        self._is_ending = False

    def of(self, stats: RunStats) -> Iterator[str]:
        """What has begun or ended since the last time."""
        for name, one in stats.deliveries.items():
            yield from self._of_output(name, one)
        ending = ending_text(stats)
        if ending and not self._is_ending:
            self._is_ending = True
            yield f"{ending}; Ctrl-C leaves them to the next run"

    def _of_output(self, name: str, one: DeliveryStats) -> Iterator[str]:
        if one.is_pressing and name not in self._pressing:
            self._pressing.add(name)
            yield (
                f"output {name!r} holds the flow up: {_wait(one)} for {one.target}, as many as may; "
                "nothing more is read until some are delivered"
            )
        elif not one.is_pressing and name in self._pressing:
            self._pressing.discard(name)
            yield f"output {name!r} holds the flow up no longer: {_wait(one)}"
        is_broken = one.breaker == BreakerState.OPEN.value and not one.stopped
        if is_broken and name not in self._broken:
            self._broken.add(name)
            why = f" ({one.reason})" if one.reason else ""
            yield f"output {name!r}: {one.target} fails{why}, and is left alone for a while; {_wait(one)}"
        elif one.breaker == BreakerState.CLOSED.value and name in self._broken:
            self._broken.discard(name)
            yield f"output {name!r}: {one.target} takes triggers again"
        # A breaker opens after several attempts, which may take half a minute each.
        is_late = bool(one.reason) and one.oldest_ms >= _LATE_MS and not one.stopped
        if not is_late:
            self._late.discard(name)
        elif name not in self._late and name not in self._broken:
            self._late.add(name)
            age = format_duration(one.oldest_ms // 1_000 * 1_000)
            yield f"output {name!r}: {_wait(one)}, the oldest for {age}; the last attempt failed ({one.reason})"


def _wait(stats: DeliveryStats) -> str:
    return count_text(stats.waiting, "trigger waits", "triggers wait")
