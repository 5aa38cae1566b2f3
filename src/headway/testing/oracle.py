"""The oracle: a second interpreter of a plan, so simple that it can be believed at a glance.

One process, one event at a time, dicts and sorted lists; no batches, key groups, caches or files. It says
what a run of the real engine must give, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, Optional, Union

import msgspec

from headway.basics.times import DRAIN_STEPS, MIN_TIME_MS, format_time
from headway.declare.flow import Flow
from headway.errors import DrainedStateError, UsageError, UserCodeError
from headway.graph import INGESTION_TIME, Tolerance
from headway.plan.planner import compile_plan
from headway.plan.stages import Edge, Plan, SinkStage
from headway.testing.oracle_source import SourceOracle
from headway.testing.oracle_stage import Row, StageOracle
from headway.testing.oracle_steps import Ends, Item, field_or_result
from headway.types.isolation import writable
from headway.types.letters import DeadLetter

__all__ = ["Logs", "Oracle", "OracleResult", "run_oracle"]

Logs = Mapping[str, Mapping[str, Iterable[Any]]]
"""The records of each partition of each source: lines of JSON as bytes, dicts, or events."""


@dataclass(frozen=True)
class OracleResult:
    """What a flow has done with the logs it was given."""

    outputs: dict[str, list[bytes]]
    """The lines written to each output."""
    rows: dict[str, dict[str, Row]]
    """State and timers of each key of each operator; a key that is as if it had never been is not listed."""
    late: dict[str, list[Any]]
    """The late events of each source, in the order of their arrival."""
    dead_letters: dict[str, list[DeadLetter]]
    """The records of each source that could not be decoded, had no usable time or key, or failed on their way to the
    first keyed stage."""
    failed: list[DeadLetter]
    """What operators have failed on, stage by stage, where `on_error` sets it aside."""
    losses: dict[str, dict[str, int]]
    """What operators have lost to their bounds, by operator and side output; what nothing was lost of is not listed."""


class Oracle:
    """Runs a flow over logs that may be given bit by bit: any division gives what the whole gives.

    `now_ms` stamps the events of sources with ingestion time, and is the wall clock of operators that declare that they
    read it. Costs some 20 µs an event and more with many timers: it is for thousands of events, not for millions.

    >>> import headway as hw
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at")
    >>> clicks.filter(hw.where(page="/buy")).to("bought", hw.to_list([]))
    >>> oracle = Oracle(flow)
    >>> oracle.feed({"clicks": {"0": [{"at": 1, "page": "/buy"}, {"at": 2, "page": "/"}]}})
    >>> oracle.result().outputs
    {'bought': [b'{"at":1,"page":"/buy"}']}
    """

    def __init__(self, flow: Union[Flow, Plan], *, now_ms: Optional[Callable[[], int]] = None) -> None:
        self.plan = flow if isinstance(flow, Plan) else compile_plan(flow.graph)
        self._check_clock(now_ms)
        clock = now_ms or _no_clock
        self._failures = 0
        ends = Ends(self._send, self._check, self._count)
        self.sources = {stage.name: SourceOracle(stage, ends, clock) for stage in self.plan.sources}
        self.stages = {stage.name: StageOracle(stage, ends, clock) for stage in self.plan.stages}
        self.sinks = {sink.name: SinkOracle(self.plan, sink) for sink in self.plan.sinks}
        self.drained = False

    def _check_clock(self, now_ms: Optional[Callable[[], int]]) -> None:
        for source in self.plan.sources:
            if source.node.time is INGESTION_TIME and now_ms is None:
                msg = f"source {source.name!r} stamps its events with the clock: give one, Oracle(flow, now_ms=...)"
                raise UsageError(msg)
        for node in (node for stage in self.plan.stages for node in stage.operators):
            if node.operator.wall_clock and now_ms is None:
                msg = f"operator {node.name!r} reads the wall clock: give one, Oracle(flow, now_ms=...)"
                raise UsageError(msg)

    def feed(self, logs: Logs) -> None:
        """Append records to the sources' logs, one partition after the other, and run as far as time allows.

        A partition that is named for the first time starts at its source's watermark, as it does in a run that
        finds a new file. Raises `UsageError` for an unknown source, `DrainedStateError` after `drain`,
        `UserCodeError` when code of the flow raises.
        """
        self._check_open(logs)
        for name, partitions in logs.items():
            for partition in partitions:
                self.sources[name].add_partition(partition)
        for name, partitions in logs.items():
            for partition, records in partitions.items():
                for record in records:
                    self.sources[name].read(partition, record)
        self.advance()

    def _check_open(self, logs: Logs) -> None:
        if self.drained:
            msg = "the books are closed: after drain() nothing more can be fed; start with a new Oracle"
            raise DrainedStateError(msg)
        for name in logs:
            if name not in self.sources:
                msg = f"the flow {self.plan.flow!r} has no source {name!r}, its sources are: {', '.join(self.sources)}"
                raise UsageError(msg)

    def advance(self) -> None:
        """Let every stage and output run up to its watermark, the minimum over its inputs."""
        for stage in self.plan.stages:
            self.stages[stage.name].advance(self._watermark(stage.inputs))
        for sink in self.plan.sinks:
            self.sinks[sink.name].advance(self._watermark(sink.inputs))

    def drain(self) -> None:
        """Close the books: time goes to the latest event, then again and again to the latest armed timer."""
        self._claim(self._newest())
        for _ in range(DRAIN_STEPS):
            horizon = self._horizon()
            if horizon is None:
                break
            self._claim(horizon)
        self.drained = True

    def result(self) -> OracleResult:
        """What has been done so far. The rows are the oracle's own: do not change them."""
        rows = {
            node.name: dict(rows) for stage in self.stages.values() for node, rows in zip(stage.operators, stage.rows)
        }
        return OracleResult(
            outputs={name: list(sink.lines) for name, sink in self.sinks.items()},
            rows=rows,
            late={name: list(source.late) for name, source in self.sources.items()},
            dead_letters={name: list(source.dead_letters) for name, source in self.sources.items()},
            failed=[letter for stage in self.stages.values() for letter in stage.dead_letters],
            losses=self._losses(),
        )

    def _losses(self) -> dict[str, dict[str, int]]:
        found = {
            node.name: {side: count for side, count in losses.items() if count}
            for stage in self.stages.values()
            for node, losses in zip(stage.operators, stage.losses)
        }
        return {name: losses for name, losses in found.items() if losses}

    @property
    def waiting(self) -> int:
        """How many records wait for time to pass, before stages and outputs."""
        return sum(s.waiting for s in self.stages.values()) + sum(s.waiting for s in self.sinks.values())

    def _newest(self) -> Optional[int]:
        times = [source.newest for source in self.sources.values()]
        return max((time for time in times if time is not None), default=None)

    def _horizon(self) -> Optional[int]:
        """The latest time that anything is armed or waits for."""
        times = [stage.latest for stage in self.stages.values()] + [sink.latest for sink in self.sinks.values()]
        return max((time for time in times if time is not None), default=None)

    def _claim(self, watermark: Optional[int]) -> None:
        if watermark is not None:
            for source in self.sources.values():
                source.claimed = watermark
            self.advance()

    def _watermark(self, inputs: list[Edge]) -> int:
        return min((self._claim_of(edge) for edge in inputs), default=MIN_TIME_MS)

    def _claim_of(self, edge: Edge) -> int:
        if edge.from_source:
            return self.sources[edge.producer.node].watermark
        producer = edge.producer.node
        stage = next(s for s in self.stages.values() if producer in [node.name for node in s.operators])
        return stage.watermark

    def _send(self, edge: Edge, item: Item) -> None:
        if edge.target in self.stages:
            self.stages[edge.target].take(edge, item)
        else:
            self.sinks[edge.target].take(edge, item)

    def _check(self, edge: Edge, item: Item) -> Item:
        """The item as it would arrive. Raises what `_send` would."""
        return (self.stages if edge.target in self.stages else self.sinks)[edge.target].check(edge, item)

    def _count(self, tolerance: Tolerance, letter: DeadLetter) -> None:
        """One more failure was set aside."""
        self._failures += 1
        if self._failures > tolerance.at_most:
            msg = (
                f"code of the flow has failed {self._failures} times, and on_error sets {tolerance.at_most} failures "
                f"aside at most; the last one, in {letter.step!r}: {letter.reason}"
            )
            raise UserCodeError(msg)


def run_oracle(flow: Union[Flow, Plan], logs: Logs, *, drain: bool = False) -> OracleResult:
    """Run a flow over whole logs; with `drain`, close the books at their end. See `Oracle`.

    >>> import headway as hw
    >>> flow = hw.Flow("clicks")
    >>> clicks = flow.source("clicks", hw.Json, hw.items([]), time="at", out_of_order="10ms")
    >>> clicks.to("all", hw.to_list([]))
    >>> run_oracle(flow, {"clicks": {"0": [{"at": 1}, {"at": 13}]}}).outputs
    {'all': [b'{"at":1}']}
    >>> run_oracle(flow, {"clicks": {"0": [{"at": 1}, {"at": 13}]}}, drain=True).outputs
    {'all': [b'{"at":1}', b'{"at":13}']}
    """
    oracle = Oracle(flow)
    oracle.feed(logs)
    if drain:
        oracle.drain()
    return oracle.result()


class _Line(NamedTuple):
    """A line that is ready; sorted, the order in which lines are written."""

    time: int
    id: str
    way: int
    """Of several ways from one producer to this output, which one: in the order in which they are declared."""
    line: bytes


class SinkOracle:
    """One output: the lines it has got."""

    def __init__(self, plan: Plan, sink: SinkStage) -> None:
        self.lines: list[bytes] = []
        self._flow = plan.flow
        producers = [list(s.ports.values()) for s in plan.sources] + [list(s.outputs.values()) for s in plan.stages]
        edges = plan.edges_of([segment for segments in producers for segment in segments])
        self._ways = {edge.id: way for way, edge in enumerate(edges)}
        self._sink = sink
        self._writable = {edge.id: writable(edge.value_type) for edge in sink.inputs}
        self._waiting: list[_Line] = []
        self._counts: dict[tuple[int, str, int], int] = {}

    @property
    def waiting(self) -> int:
        """How many lines wait to be written."""
        return len(self._waiting)

    @property
    def latest(self) -> Optional[int]:
        """The latest time of what waits to be written."""
        return max((line.time for line in self._waiting), default=None)

    def take(self, edge: Edge, item: Item) -> None:
        """A value arrives: it is written in its turn."""
        item = self._written(edge, item)
        trigger_id = self._id(edge, item)
        self._waiting.append(_Line(item.time, trigger_id, self._ways[edge.id], self._line(item, trigger_id)))

    def check(self, edge: Edge, item: Item) -> Item:
        """The item as it would be written. Raises what `take` would."""
        written = self._written(edge, item)
        if self._sink.node.id_by is not None:
            self._topic(edge, written, self._sink.node.id_by)
        return written

    def _written(self, edge: Edge, item: Item) -> Item:
        """The item with its value as its type says."""
        try:
            msgspec.json.encode(item.value)
            return item._replace(value=self._writable[edge.id](item.value))
        except (TypeError, ValueError, UserCodeError) as error:
            msg = (
                f"a value for the output {self._sink.name!r} that {item.origin!r} sent at time {item.time} cannot be "
                f"written as JSON ({error}): {item.value!r:.300}"
            )
            raise UserCodeError(msg) from error

    def advance(self, watermark: int) -> None:
        """Write everything up to `watermark`, in the order of (time, id)."""
        self._waiting.sort(key=lambda line: line[:3])  # Revisions of one id stay in the order of their making.
        while self._waiting and self._waiting[0].time <= watermark:
            self.lines.append(self._waiting.pop(0).line)

    def _id(self, edge: Edge, item: Item) -> str:
        if self._sink.node.id_by is not None:
            return self._topic(edge, item, self._sink.node.id_by)
        ordinal = item.ordinal
        if ordinal is None:
            place = (edge.id, item.origin, item.time)
            ordinal = self._counts[place] = self._counts.get(place, -1) + 1
        return self._hash(edge, f"{item.time}/{ordinal}/{item.origin}")

    def _topic(self, edge: Edge, item: Item, fields: tuple[str, ...]) -> str:
        """The id of what a value is about, however often it is revised."""
        try:
            about = msgspec.json.encode([field_or_result(name, item.value) for name in fields])
        except (KeyError, AttributeError) as error:
            msg = (
                f"{self._sink.name!r}, key {item.key!r}: id_by={fields!r}, but the value has not all of them: "
                f"{item.value!r:.300}"
            )
            raise UserCodeError(msg) from error
        return self._hash(edge, f"/{about.decode()}/{item.key or ''}")

    def _hash(self, edge: Edge, identity: str) -> str:
        port = f"{edge.producer.node}/{edge.producer.name}" + (f".{edge.number}" if edge.number else "")
        return blake2b(f"{self._flow}/{self._sink.name}/{port}/{identity}".encode(), digest_size=16).hexdigest()

    def _line(self, item: Item, trigger_id: str) -> bytes:
        if self._sink.node.trigger_type is None:
            return msgspec.json.encode(item.value)
        return msgspec.json.encode(self._cloud_event(item, trigger_id))

    def _cloud_event(self, item: Item, trigger_id: str) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": trigger_id,
            "source": f"/headway/{self._flow}",
            "type": self._sink.node.trigger_type,
            **({} if item.key is None else {"subject": item.key}),
            "time": format_time(item.time),
            "datacontenttype": "application/json",
            "data": item.value,
        }


def _no_clock() -> int:
    msg = "no source and no operator reads the clock"
    raise AssertionError(msg)
