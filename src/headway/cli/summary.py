"""How a run ended, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from headway.basics import compiled
from headway.basics.times import DRAIN_STEPS, format_time
from headway.cli.deliveries import delivery_json, ended_text
from headway.cli.escapes import printable_line
from headway.cli.function_texts import functions_left
from headway.cli.texts import count_text, seconds_text, time_text
from headway.graph import DEAD_LETTERS, Port
from headway.plan.planner import DEAD_LETTER_SINK
from headway.plan.stages import Plan, Segment
from headway.runtime.run import RunResult
from headway.runtime.stats import SourceStats

__all__ = ["Ending", "notices", "summary_json", "summary_text", "warnings"]

FEW_PERCENT = 1
"""Of a source's records, how many percent may be dead letters without a word at the end."""


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
    host: Optional[str] = None
    """Which host of a cluster this was, when it was one; the numbers are those of all hosts."""

    @property
    def is_counted(self) -> bool:
        """Whether there are numbers: a host that was stopped while no workers ran knows none."""
        return self.host is None or bool(self.result.stats.workers)

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
        sink.name: {
            "count": stats.outputs.get(sink.name, 0),
            "to": sink.node.output.describe(),
            "delivery": delivery_json(stats.deliveries[sink.name]) if sink.name in stats.deliveries else None,
        }
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
        "losses": stats.losses,
        "sources": {name: _source_json(source) for name, source in stats.sources.items()},
        "outputs": outputs,
        "keys": stats.keys,
        "rows": stats.rows,
        "timers": stats.timers,
        "waiting": stats.waiting,
        "watermark": None if stats.watermark is None else format_time(stats.watermark),
        "watermark_ms": stats.watermark,
        "host": ending.host,
        "workers": len(stats.workers),
        "restarts": ending.result.restarts,
        "state_dir": str(ending.state_dir),
        "hot_path": compiled.how(),
        "notices": [*notices(ending), *_how_it_ran(), *warnings(ending)],
    }


def summary_text(ending: Ending) -> str:
    """A short block of lines.

    The first says how the run ended, the others what it did and where that is.
    """
    facts = list(_facts(ending))
    width = max(len(name) for name, _ in facts)
    name = ending.plan.flow if ending.host is None else f"{ending.plan.flow}, host {ending.host}"
    lines = [f"{name}: {_headline(ending)}"]
    lines += [f"  {name:<{width}}  {text}" for name, text in facts]
    notes = (*notices(ending), *_how_it_ran(), *warnings(ending), *_hints(ending))
    lines += [f"  note: {note}" for note in notes]
    return "\n".join(map(printable_line, lines))


def _headline(ending: Ending) -> str:
    if ending.result.stopped:
        return "stopped; the next run goes on from here"
    begin = f"resumed after {count_text(ending.events_before, 'event')}; " if ending.resumed else ""
    if ending.result.drained:
        left = functions_left(ending.result.stats)
        if left:
            verb = "goes on" if left == 1 else "go on"
            return f"{begin}the books are closed; {count_text(left, 'function')} {verb} with the next run, by --drain"
        return f"{begin}the books are closed: all timers have fired"
    if ending.resumed and not ending.events:
        return "nothing new: the input had been read to its end"
    return f"{begin}the input is read to its end"


def _facts(ending: Ending) -> Iterator[tuple[str, str]]:
    stats, result = ending.result.stats, ending.result
    if not ending.is_counted:
        yield "state", f"in {ending.state_dir}"
        return
    rate = f", {ending.events_per_s:,.0f}/s" if ending.events else ""
    in_all = f"; {stats.events:,} in all" if ending.events_before else ""
    yield "events", f"{ending.events:,} in {seconds_text(ending.seconds)}{rate}{in_all}"
    yield "late", f"{stats.late:,}"
    for sink in ending.plan.sinks:
        name = "dead letters" if sink.name == DEAD_LETTER_SINK else sink.name
        told = f"; {ended_text(stats.deliveries[sink.name])}" if sink.name in stats.deliveries else ""
        yield name, f"{stats.outputs.get(sink.name, 0):,}  to {sink.node.output.describe()}{told}"
    if not any(sink.name == DEAD_LETTER_SINK for sink in ending.plan.sinks):
        yield "dead letters", f"{stats.dead_letters:,}"
    for operator, sides in stats.losses.items():
        for side, count in sides.items():
            yield f"{operator}, {side}", f"{count:,}"
    held = f"{count_text(stats.keys, 'key')}, {count_text(stats.timers, 'timer')}, {stats.waiting:,} waiting"
    yield "state", f"{held}, in {ending.state_dir}"
    yield "watermark", time_text(stats.watermark)
    if result.restarts:
        yield "restarts", f"{result.restarts:,}"


def notices(ending: Ending) -> list[str]:
    """What happened that one should know, such as that a file was moved aside, or what a bound has cut off."""
    told = list(ending.result.notices)
    if not ending.is_counted:
        told.append("no workers ran when this host was stopped, since it waited for others: it has no figures to show")
    if ending.result.cut_off:
        told.append(
            f"{count_text(ending.result.cut_off, 'timer')} still armed after time has gone on {DRAIN_STEPS} times to "
            "the latest one: what is armed then arms itself for ever, and stays"
        )
    return [*told, *_losses(ending)]


def _how_it_ran() -> list[str]:
    """What one may want to change before the next run."""
    plain = compiled.notice()
    return [] if plain is None else [plain]


def _losses(ending: Ending) -> Iterator[str]:
    """What a bound has cut off, where nothing in the flow takes it: with what to do about it."""
    read = {port for stage in ending.plan.stages for port, segment in stage.outputs.items() if segment.branches}
    operators = [node for stage in ending.plan.stages for node in stage.operators]
    for node in operators:
        for side, count in ending.result.stats.losses.get(node.name, {}).items():
            if Port(node.name, side) not in read:
                yield f"{node.name}: {count:,} {node.operator.losses[side]}"


def warnings(ending: Ending) -> Iterator[str]:
    """What must not be overlooked: each source of which more than `FEW_PERCENT` percent are dead letters.

    Both of all records that were ever read and of those that this run has read.
    """
    before = ending.result.before
    for name, source in ending.result.stats.sources.items():
        earlier = before.sources.get(name) if before is not None else None
        counts = [("", source.dead_letters, source.events)]
        if earlier is not None:
            counts.append(
                ("that this run has read ", source.dead_letters - earlier.dead_letters, source.events - earlier.events)
            )
        for which, dead, events in counts:
            if dead * 100 > events * FEW_PERCENT and source.first is not None:
                first = source.first
                yield (
                    f"{dead:,} of the {count_text(events, 'record')} {which}of the source {name!r} "
                    f"{'is a dead letter' if dead == 1 else 'are dead letters'} ({_percent(dead, events)}); "
                    f"{'the first of all' if which else 'the first'}: "
                    f"{first.partition}, {first.position}: {first.reason}; {_where_letters_are(ending.plan, name)}"
                )
                break


def _percent(part: int, whole: int) -> str:
    """A share, as a whole number of percent where it is not a small one.

    >>> _percent(1, 66), _percent(2, 3), _percent(999, 1000), _percent(5, 5)
    ('1.5 %', '66 %', '99 %', '100 %')
    """
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent < 10 else f"{percent // 1:.0f} %"


def _where_letters_are(plan: Plan, source: str) -> str:
    [stage] = (stage for stage in plan.sources if stage.name == source)
    targets = {edge.target for edge in plan.edges_of([stage.ports.get(DEAD_LETTERS, Segment())])}
    outputs = [sink.node.output.describe() for sink in plan.sinks if sink.name in targets]
    return f"all are in {' and '.join(outputs)}" if outputs else "the flow reads them itself"


def _source_json(source: SourceStats) -> dict[str, Any]:
    first = source.first
    return {
        "events_total": source.events,
        "dead_letters": source.dead_letters,
        "first_dead_letter": None
        if first is None
        else {"partition": first.partition, "position": first.position, "reason": first.reason},
    }


def _undelivered(ending: Ending) -> Iterator[str]:
    """What becomes of triggers that were not taken, and what to do about them."""
    place = ending.state_dir
    for name, one in ending.result.stats.deliveries.items():
        if one.stopped:
            yield (
                f"{name}: {one.target} wants no more triggers ({one.stopped}), {one.waiting:,} wait; to ask it again: "
                f"headway triggers retry {place} --output {name}"
            )
        elif one.waiting:
            waits = count_text(one.waiting, "trigger waits", "triggers wait")
            way = "to be delivered by headway triggers deliver FLOW" if ending.result.drained else "for the next run"
            yield f"{name}: {waits} {way}; to see them: headway triggers ls {place}"
        if one.dead:
            yield (
                f"{name}: {count_text(one.dead, 'trigger')} given up: headway triggers ls {place} --dead, and "
                "headway triggers redrive puts them back"
            )


def _hints(ending: Ending) -> Iterator[str]:
    stats, result = ending.result.stats, ending.result
    yield from _undelivered(ending)
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
