"""The kit for unit tests of flows: no files, no engine, no waiting; the test sends events and owns the clock."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Optional, Union

import msgspec

from headway.basics.times import MIN_TIME_MS, Duration, duration_ms, format_time, parse_time
from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow
from headway.errors import DrainedStateError, UsageError
from headway.testing.oracle import Oracle
from headway.testing.oracle_stage import Row
from headway.types.letters import DeadLetter

__all__ = ["FlowTest"]


class FlowTest:
    """Runs a flow in this process, on the events that the test sends, as the real engine would.

    The flow's inputs and outputs are not touched: no file is read or written. Each call runs everything that
    the flow may do by then. What event time holds back in a real run waits here too: with `out_of_order="2s"` an
    event is seen once another of its partition is more than two seconds newer, or once the test lets time pass with
    `advance`. Where streams of several sources meet, each of them must have come that far.

    `partitions` names the partitions of sources that have several, such as `{"shop": ["eu", "us"]}`. One that is
    not named there is new when it is first sent to, and starts at what is then the watermark of its source.

    Costs some 50 µs an event. Raises `UserCodeError` where the flow's code raises, and also where a state or a value
    between two stages could not be stored as its type says.

    >>> import headway as hw
    >>> class Visit(hw.State):
    ...     pages: int = 0
    >>> class Visits(hw.Operator[hw.Json, Visit]):
    ...     def on_event(self, visit, event, ctx):
    ...         visit.pages += 1
    ...         ctx.timer("over", after="30m")
    ...     def on_timer(self, visit, timer, ctx):
    ...         ctx.emit({"user": ctx.key, "pages": visit.pages})
    ...         ctx.forget()
    >>> flow = hw.Flow("visits")
    >>> views = flow.source("views", hw.Json, hw.files("views/*.jsonl"), time="at")
    >>> views.key_by("user").process("visits", Visits()).trigger("visit.over", hw.to_jsonl("visits.jsonl"))
    >>> test = FlowTest(flow)
    >>> test.send("views", {"user": "ann", "at": "2024-05-01T10:00:00Z"})
    >>> test.send("views", {"user": "ann", "at": "2024-05-01T10:10:00Z"})
    >>> test.advance(by="29m")
    >>> test.triggers(), test.keys("visits"), test.state("visits", "ann")
    ([], ['ann'], Visit(pages=2))
    >>> test.advance(by="1m")
    >>> [trigger["data"] for trigger in test.triggers("visit.over")], test.keys("visits")
    ([{'user': 'ann', 'pages': 2}], [])
    """

    def __init__(self, flow: Flow, *, partitions: Optional[Mapping[str, Sequence[str]]] = None) -> None:
        self._now: Optional[int] = None
        self._oracle = Oracle(flow, now_ms=lambda: self._now or 0)
        self._operators = {
            node.name: (stage.name, rank)
            for stage in self._oracle.plan.stages
            for rank, node in enumerate(stage.operators)
        }
        self._read = dict.fromkeys(self._oracle.sinks, 0)
        self._written: list[tuple[str, dict[str, Any]]] = []
        self._seen: dict[Optional[str], int] = {}
        self._oracle.feed({name: dict.fromkeys(parts, ()) for name, parts in (partitions or {}).items()})

    @classmethod
    def load(cls, ref: str, **parameters: Union[str, float]) -> FlowTest:
        """Test the flow of a file or module, such as `"flows/shop.py"`, with some of its parameters set.

        Raises what `headway run` would for a flow or a parameter that does not exist.

        >>> test = FlowTest.load("headway.flows.stalled_loans", after="3d")
        >>> test.sources
        ['loans']
        """
        return cls(load_flow(FlowSpec(ref, {name: _as_text(value) for name, value in parameters.items()})))

    @property
    def sources(self) -> list[str]:
        """The names of the flow's sources."""
        return list(self._oracle.sources)

    @property
    def now(self) -> Optional[int]:
        """The latest time, of all events sent and of all calls of `advance`, in epoch milliseconds; None at first.

        Operators that read the wall clock read this.
        """
        return self._now

    def send(self, source: str, event: Any, *, partition: str = "0") -> None:
        """Append an event to the log of a source: a dict, an object of the source's type, or a line of JSON as bytes.

        An event that is late or cannot be used is no error, as in a real run: see `late` and `dead_letters`.
        Raises `UsageError` for a source that does not exist, `DrainedStateError` after `drain`.
        """
        self._oracle.feed({source: {partition: [event]}})
        newest = [s.latest_event for s in self._oracle.sources.values() if s.latest_event is not None]
        self._now = max([*newest, *([] if self._now is None else [self._now])], default=None)
        self._collect()

    def advance(self, *, to: Union[int, str, datetime, None] = None, by: Optional[Duration] = None) -> None:
        """Let time pass in all sources, as if nothing at or before the new time could come any more.

        `to` is epoch milliseconds, RFC 3339 text or a datetime with a zone; `by` is a duration from `now` on. What is
        due then runs, timers at that very time included; an event at or before it is late from now on.
        Raises `UsageError` for a time that has passed already or cannot be read.
        """
        if self._oracle.drained:
            msg = "the books are closed: after drain() time does not go on; start with a new FlowTest"
            raise DrainedStateError(msg)
        to_ms = self._target(to, by)
        passed_ms = min(source.watermark for source in self._oracle.sources.values())
        if to_ms < passed_ms:
            msg = f"advance to {_shown(to_ms)}: time has come to {_shown(passed_ms)} already, and does not go back"
            raise UsageError(msg)
        self._now = to_ms if self._now is None else max(self._now, to_ms)
        for source in self._oracle.sources.values():
            source.raise_watermark(to_ms)
        self._oracle.advance()
        self._collect()

    def _target(self, to: Union[int, str, datetime, None], by: Optional[Duration]) -> int:
        if (to is None) == (by is None):
            msg = 'advance() needs either to=TIME or by=DURATION, such as advance(by="30m")'
            raise UsageError(msg)
        if by is not None:
            if self._now is None:
                msg = f"advance(by={by!r}): there is no time yet to count from; send an event first, or use to=TIME"
                raise UsageError(msg)
            to = self._now + duration_ms(by, what="by")
        try:
            return parse_time(to)
        except ValueError as error:
            given = f"to={to!r}" if by is None else f"by={by!r}"
            msg = f"advance({given}): {error}"
            raise UsageError(msg) from None

    def drain(self) -> None:
        """Close the books, as `--drain` does: everything that waits runs, and each timer fires up to the last one.

        Nothing can be sent afterwards.
        """
        self._oracle.drain()
        self._collect()

    def triggers(self, name: Optional[str] = None) -> list[dict[str, Any]]:
        """Everything written since the start, decoded from JSON: to the output `name`, or to all of them.

        What one call of `send`, `advance` or `drain` writes comes output by output, in the order in which they are
        declared, and in each by time. Raises `UsageError` for an output that does not exist.
        """
        self._check_output(name)
        return [line for sink, line in self._written if name in (None, sink)]

    def new_triggers(self, name: Optional[str] = None) -> list[dict[str, Any]]:
        """What `triggers(name)` has got since the last call of `new_triggers` with the same `name`."""
        found = self.triggers(name)
        seen, self._seen[name] = self._seen.get(name, 0), len(found)
        return found[seen:]

    def state(self, operator: str, key: str) -> Any:
        """A copy of the state that an operator keeps for a key; a fresh one where it keeps none."""
        row = self._row(operator, key)
        if row is not None:
            return copy.deepcopy(row.state)
        stage, rank = self._operators[operator]
        return self._oracle.stages[stage].operators[rank].operator.state_type()

    def timers(self, operator: str, key: str) -> dict[str, int]:
        """The timers of a key that are set: name and due time, in epoch milliseconds."""
        row = self._row(operator, key)
        return {} if row is None else dict(row.timers)

    def keys(self, operator: str) -> list[str]:
        """The keys that an operator keeps a state or a timer for, sorted."""
        return sorted(self._rows(operator))

    def late(self, source: str) -> list[Any]:
        """The late events of a source, in the order in which they were sent."""
        if source not in self._oracle.sources:
            msg = f"the flow has no source {source!r}, its sources are: {', '.join(self.sources)}"
            raise UsageError(msg)
        return list(self._oracle.sources[source].late)

    def losses(self, operator: str) -> dict[str, int]:
        """How much an operator has lost to its bounds, by side output, whether that is read or not."""
        stage, rank = self._place_of(operator)
        return {side: count for side, count in self._oracle.stages[stage].losses[rank].items() if count}

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What could not be decoded, or had no usable time or key; of all sources, one after the other.

        Where `on_error` says so, also what the flow's code has failed on: in a source's steps with those of the source,
        in operators behind all others, stage by stage.
        """
        result = self._oracle.result()
        return [letter for letters in result.dead_letters.values() for letter in letters] + result.failed

    @property
    def waiting(self) -> int:
        """How many events and outputs wait for time to pass: more than 0 often explains a missing trigger."""
        return self._oracle.waiting

    def _row(self, operator: str, key: str) -> Optional[Row]:
        if not isinstance(key, str):
            msg = f"the key {key!r} is not text: keys are, and that of an integer is its digits, {str(key)!r}"
            raise UsageError(msg)
        return self._rows(operator).get(key)

    def _rows(self, operator: str) -> dict[str, Row]:
        stage, rank = self._place_of(operator)
        return self._oracle.stages[stage].rows[rank]

    def _place_of(self, operator: str) -> tuple[str, int]:
        """The stage of an operator, and its rank there."""
        if operator not in self._operators:
            known = ", ".join(self._operators) or "none at all"
            msg = f"the flow has no operator {operator!r}, its operators are: {known}"
            raise UsageError(msg)
        return self._operators[operator]

    def _check_output(self, name: Optional[str]) -> None:
        if name is not None and name not in self._oracle.sinks:
            msg = f"the flow has no output {name!r}, its outputs are: {', '.join(self._oracle.sinks)}"
            raise UsageError(msg)

    def _collect(self) -> None:
        for name, sink in self._oracle.sinks.items():
            new = sink.lines[self._read[name] :]
            self._read[name] += len(new)
            self._written += [(name, msgspec.json.decode(line)) for line in new]

    def __repr__(self) -> str:
        now = "no time yet" if self._now is None else format_time(self._now)
        return f"FlowTest({self._oracle.plan.flow!r}, {now}, {len(self._written)} written, {self.waiting} waiting)"


def _as_text(value: Union[str, float]) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(time_ms: int) -> str:
    return "the beginning" if time_ms == MIN_TIME_MS else f"{format_time(time_ms)} ({time_ms})"
