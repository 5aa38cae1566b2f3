"""How a run ended, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from headway.cli.texts import count_text, seconds_text, time_text
from headway.plan import Plan
from headway.planner import DEAD_LETTER_SINK
from headway.runtime.run import RunResult
from headway.times import format_time

__all__ = ["Ending", "summary_json", "summary_text"]


@dataclass(frozen=True)
class Ending:
    """A run that has ended well."""

    plan: Plan
    state_dir: Path
    result: RunResult
    resumed: bool
    """Whether the state directory was there before."""
    seconds: float
    """How long the run took."""
    process: Optional[str] = None
    """Which process of a cluster this was, when it was one: all numbers are its own then."""

    @property
    def events_before(self) -> int:
        """Events that earlier runs on the same state directory have read, as far as they were durable."""
        return self.result.resumed_events

    @property
    def events(self) -> int:
        """Events that this run has read."""
        return max(0, self.result.stats.events - self.events_before)

    @property
    def events_per_s(self) -> float:
        """Over the whole run, its start included."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def status(self) -> str:
        """How it ended, in one word."""
        return "drained" if self.result.drained else "stopped" if self.result.stopped else "end of input"


def summary_json(ending: Ending) -> dict[str, Any]:
    """All that is known of the run, as JSON values."""
    stats = ending.result.stats
    outputs = {
        sink.name: {"count": stats.outputs.get(sink.name, 0), "to": sink.node.output.describe()}
        for sink in ending.plan.sinks
    }
    return {
        "flow": ending.plan.flow,
        "status": ending.status,
        "resumed": ending.resumed,
        "resumed_events": ending.events_before,
        "seconds": round(ending.seconds, 3),
        "events": ending.events,
        "events_total": stats.events,
        "events_per_second": round(ending.events_per_s),
        "triggers": stats.triggers,
        "late": stats.late,
        "dead_letters": stats.dead_letters,
        "outputs": outputs,
        "keys": stats.keys,
        "timers": stats.timers,
        "waiting": stats.waiting,
        "watermark": None if stats.watermark is None else format_time(stats.watermark),
        "watermark_ms": stats.watermark,
        "process": ending.process,
        "workers": len(stats.workers),
        "restarts": ending.result.restarts,
        "state_dir": str(ending.state_dir),
        "notices": ending.result.notices,
    }


def summary_text(ending: Ending) -> str:
    """A short block of lines.

    The first says how the run ended, the others what it did and where that is.
    """
    facts = list(_facts(ending))
    width = max(len(name) for name, _ in facts)
    name = ending.plan.flow if ending.process is None else f"{ending.plan.flow}, {ending.process}"
    lines = [f"{name}: {_headline(ending)}"]
    lines += [f"  {name:<{width}}  {text}" for name, text in facts]
    lines += [f"  note: {notice}" for notice in (*ending.result.notices, *_hints(ending))]
    return "\n".join(lines)


def _headline(ending: Ending) -> str:
    if ending.result.stopped:
        return "stopped; the next run goes on from here"
    begin = f"resumed after {count_text(ending.events_before, 'event')}; " if ending.resumed else ""
    if ending.result.drained:
        return f"{begin}the books are closed: all timers have fired"
    if ending.resumed and not ending.events:
        return "nothing new: the input had been read to its end"
    return f"{begin}the input is read to its end"


def _facts(ending: Ending) -> Iterator[tuple[str, str]]:
    stats, result = ending.result.stats, ending.result
    rate = f", {ending.events_per_s:,.0f}/s" if ending.events else ""
    in_all = f"; {stats.events:,} in all" if ending.events_before else ""
    yield "events", f"{ending.events:,} in {seconds_text(ending.seconds)}{rate}{in_all}"
    yield "late", f"{stats.late:,}"
    for sink in ending.plan.sinks:
        name = "dead letters" if sink.name == DEAD_LETTER_SINK else sink.name
        yield name, f"{stats.outputs.get(sink.name, 0):,}  to {sink.node.output.describe()}"
    if not any(sink.name == DEAD_LETTER_SINK for sink in ending.plan.sinks):
        yield "dead letters", f"{stats.dead_letters:,}"
    held = f"{count_text(stats.keys, 'key')}, {count_text(stats.timers, 'timer')}, {stats.waiting:,} waiting"
    yield "state", f"{held}, in {ending.state_dir}"
    yield "watermark", time_text(stats.watermark)
    if result.restarts:
        yield "restarts", f"{result.restarts:,}"


def _hints(ending: Ending) -> Iterator[str]:
    stats, result = ending.result.stats, ending.result
    if result.drained or result.stopped:
        return
    silent = [name for worker in stats.workers for name in worker.silent]
    if silent and stats.events:
        yield (
            f"time stands still: no record of {', '.join(silent)} has told a time yet; check what the input matches, "
            "or --drain closes the books"
        )
    elif stats.waiting:
        verb = "events wait" if stats.waiting != 1 else "event waits"
        yield f"{stats.waiting:,} {verb} for time to pass; --drain closes the books"
    elif stats.timers:
        verb = "timers wait" if stats.timers != 1 else "timer waits"
        yield f"{stats.timers:,} {verb} for time to pass; --drain closes the books"
