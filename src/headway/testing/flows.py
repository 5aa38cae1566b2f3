"""Hypothesis strategy of small flows with logs to run them on, for comparing two ways of running a flow.

Needs Hypothesis (`pip install "headway[testing]"`); building a flow from its spec does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from headway.basics.times import format_time
from headway.connectors.memory import items, to_list
from headway.declare.flow import Flow
from headway.testing.flow_specs import Spec, build_flow, sink_names
from headway.testing.strategies import KEYS, LogEvent, event_logs

__all__ = ["FlowCase", "build_flow", "flow_cases", "sink_names"]

BAD_LINES: Final = (b"{", b"[1]", b"nothing", b'{"key": 5}', b'{"key": "a", "time": null, "n": 1}', b"\xff\xfe", b"")
"""Lines that hold no usable event; the last is blank, which is no record at all."""

_MOST_KEY_CHANGES: Final = 3


@dataclass(frozen=True)
class FlowCase:
    """A flow and the logs of its sources."""

    spec: Spec
    """Plain data, for `build_flow`, in this process or another."""
    logs: dict[str, dict[str, list[bytes]]]
    """For each source the lines of each partition; partitions are named as files would be, `p0.jsonl` and so on."""

    def flow(self) -> Flow:
        """The flow, reading its logs from memory and writing to lists that nobody sees."""
        inputs = {name: items(partitions) for name, partitions in self.logs.items()}
        return build_flow(self.spec, inputs, lambda name: to_list([]))

    @property
    def outputs(self) -> list[str]:
        """The names of the flow's outputs."""
        return sink_names(self.spec)


class _Stream(NamedTuple):
    """A stream of the flow that is being drawn."""

    name: str
    shape: str
    keyed: bool = False
    from_source: bool = True
    """Whether no operator stands before it."""
    key_changes: int = 0


@dataclass
class _Draft:
    draw: st.DrawFn
    fails: bool = False
    """Whether steps and handlers fail now and then."""
    streams: list[_Stream] = field(default_factory=list)
    steps: list[Spec] = field(default_factory=list)
    unread: dict[str, None] = field(default_factory=dict)

    def add(self, stream: _Stream, *, required: bool = True) -> None:
        self.streams.append(stream)
        if required:
            self.unread[stream.name] = None

    def step(self, op: str, reads: Sequence[_Stream], **options: Any) -> str:
        """Add a step; returns its name."""
        name = f"{op}{len(self.steps)}"
        names = [stream.name for stream in reads]
        for read in names:
            self.unread.pop(read, None)
        self.steps.append({"op": op, "name": name, "from": names if op == "merge" else names[0], **options})
        return name


@st.composite
def flow_cases(
    draw: st.DrawFn, *, max_sources: int = 2, max_steps: int = 8, max_events: int = 30, fails: bool = False
) -> FlowCase:
    """A flow of one or two sources and one to three changes of key, with logs of up to `max_events` events each.

    Its operators set, move and cancel timers, forget, emit at events and at timers, to side outputs, and what their
    state holds; there are branches, merges, absences, operators with several inputs and with broadcasts, late
    streams and untyped events. With `fails` some steps and handlers raise, which the flow tolerates. The logs are out
    of order within each source's bound and sometimes beyond, times are often equal, keys are easily mistaken for one
    another, and some lines cannot be decoded.

    >>> from hypothesis import Phase, find, settings
    >>> first = settings(phases=[Phase.generate], database=None)
    >>> case = find(flow_cases(), lambda case: len(case.outputs) == 1, settings=first)
    >>> case.spec["steps"][-1]["op"] in ("to", "trigger")
    True
    """
    draft = _Draft(draw, fails)
    sources = [_draw_source(draft, f"s{number}") for number in range(draw(st.integers(1, max_sources)))]
    first = draft.streams[0]
    for step in draw(st.lists(st.sampled_from([_map, _filter, _flat_map]), max_size=2)):
        step(draft, first)
        first = draft.streams[-1]
    _process_anew(draft, first)
    for _ in range(draw(st.integers(0, max_steps))):
        stream = draw(st.one_of(st.sampled_from(draft.streams[-3:]), st.sampled_from(draft.streams)))
        draw(st.sampled_from(_possible_steps(draft, stream)))(draft, stream)
    for name in [*draft.unread]:
        _sink(draft, next(stream for stream in draft.streams if stream.name == name))
    logs = {source["name"]: draw(_logs(source, max_events)) for source in sources}
    spec: Spec = {"sources": sources, "steps": draft.steps}
    return FlowCase({**spec, "tolerant": True} if fails else spec, logs)


def _draw_source(draft: _Draft, name: str) -> Spec:
    shape = draft.draw(st.sampled_from(["event", "json"]))
    draft.add(_Stream(name, shape))
    draft.add(_Stream(f"{name}.late", shape), required=False)
    return {
        "name": name,
        "shape": shape,
        "out_of_order_ms": draft.draw(st.sampled_from([0, 10, 3])),
        "time": draft.draw(st.sampled_from(["field", "function"])),
    }


def _possible_steps(draft: _Draft, stream: _Stream) -> list[Callable[[_Draft, _Stream], object]]:
    if stream.shape == "absent":
        return [_sink]
    steps: list[Callable[[_Draft, _Stream], object]] = [_filter, _branch, _map, _flat_map, _merge, _sink]
    if stream.key_changes < _MOST_KEY_CHANGES:
        steps += [_key_by, _process_anew, _process_anew, _process_anew]
    if stream.keyed:
        steps += [_process, _process, _absence]
    return steps


def _filter(draft: _Draft, stream: _Stream) -> None:
    name = draft.step("filter", [stream], where=draft.draw(_conditions))
    draft.add(stream._replace(name=name))


def _branch(draft: _Draft, stream: _Stream) -> None:
    name = draft.step("branch", [stream], where=draft.draw(_conditions))
    draft.add(stream._replace(name=name))
    draft.add(stream._replace(name=f"{name}.else"))


def _map(draft: _Draft, stream: _Stream) -> None:
    shape = draft.draw(st.sampled_from(["event", "json"]))
    kind = draft.draw(st.sampled_from(["add", "swap", "convert", *(["fail"] if draft.fails else [])]))
    name = draft.step("map", [stream], kind=kind, amount=draft.draw(st.integers(1, 9)), shape=shape)
    draft.add(stream._replace(name=name, shape=shape))


def _flat_map(draft: _Draft, stream: _Stream) -> None:
    name = draft.step("flat_map", [stream], most=draft.draw(st.integers(1, 4)), shape=stream.shape)
    draft.add(stream._replace(name=name))


def _merge(draft: _Draft, stream: _Stream) -> None:
    alike = [s for s in draft.streams if (s.keyed, s.shape) == (stream.keyed, stream.shape) and s.name != stream.name]
    if alike:
        others = draft.draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2, unique=True))
        merged = [stream, *others]
        name = draft.step("merge", merged)
        from_source = all(part.from_source for part in merged)
        key_changes = max(part.key_changes for part in merged)
        draft.add(stream._replace(name=name, from_source=from_source, key_changes=key_changes))


def _key_by(draft: _Draft, stream: _Stream) -> _Stream:
    keys = _KEYS_OF_SOURCES if stream.from_source else _KEYS
    name = draft.step("key_by", [stream], key=draft.draw(keys))
    keyed = stream._replace(name=name, keyed=True, key_changes=stream.key_changes + 1)
    draft.add(keyed)
    return keyed


def _process_anew(draft: _Draft, stream: _Stream) -> None:
    _process(draft, _key_by(draft, stream))


def _process(draft: _Draft, stream: _Stream) -> None:
    shape = draft.draw(st.sampled_from(["event", "json"]))
    further = _further_inputs(draft)
    rules = draft.draw(_rules)
    if draft.fails:
        rules = [*rules, *draft.draw(st.lists(_failing_rule, max_size=2))]
    concerns = draft.draw(st.just([]) | st.lists(_conditions, min_size=1, max_size=2))
    options: Spec = {"concerns": concerns} if concerns else {}
    name = draft.step("process", [stream], rules=rules, shape=shape, **further, **options)
    for read in further.values():
        draft.unread.pop(read, None)
    draft.add(stream._replace(name=name, shape=shape, from_source=False))
    draft.add(
        stream._replace(name=f"{name}.side", shape="event", from_source=False), required=draft.draw(st.booleans())
    )


def _further_inputs(draft: _Draft) -> dict[str, str]:
    """Streams for the operator's other input and for its broadcasts, now and then."""
    keyed = [stream.name for stream in draft.streams if stream.keyed and stream.shape != "absent"]
    told = [stream.name for stream in draft.streams if stream.shape != "absent"]
    further = {
        "other": draft.draw(st.none() | st.sampled_from(keyed)),
        "news": draft.draw(st.none() | st.sampled_from(told)),
    }
    return {name: read for name, read in further.items() if read is not None}


def _absence(draft: _Draft, stream: _Stream) -> None:
    name = draft.step(
        "absence",
        [stream],
        start=draft.draw(_conditions),
        end=draft.draw(_conditions),
        within_ms=draft.draw(st.sampled_from([5, 0, 1, 20])),
        rearm=draft.draw(st.booleans()),
    )
    draft.add(stream._replace(name=name, shape="event", from_source=False))
    draft.add(stream._replace(name=f"{name}.raw", shape="absent", from_source=False), required=False)


def _sink(draft: _Draft, stream: _Stream) -> None:
    draft.step(draft.draw(st.sampled_from(["to", "trigger"])), [stream])


_conditions = st.one_of(
    st.builds(lambda modulo, rest: {"modulo": modulo, "rest": rest % modulo}, st.integers(1, 4), st.integers(0, 3)),
    st.builds(lambda keys: {"fields": {"key": keys}}, st.lists(st.sampled_from(KEYS), min_size=1, max_size=6)),
)
_KEYS = st.sampled_from(
    [
        {"kind": "field", "field": "key"},
        {"kind": "field", "field": "also"},
        {"kind": "field", "field": "n"},
        {"kind": "first"},
        {"kind": "rest", "modulo": 2},
    ]
)
_KEYS_OF_SOURCES = st.one_of(_KEYS, st.just({"kind": "sometimes"}))
_timer_names = st.sampled_from(["t", "u", "t2"])
_always = st.sampled_from([["emit"], ["add"], ["count"], ["remember"], ["emit_state"], ["side"], ["forget"]])
_timers = st.one_of(
    st.tuples(st.just("timer"), _timer_names, st.sampled_from([10, -5, 0, 1, 3, 25, 100])).map(list),
    st.tuples(st.just("cancel"), _timer_names).map(list),
    st.tuples(st.just("due"), _timer_names).map(list),
)
_rule = st.builds(
    lambda on, modulo, rest, do: {"on": on, "modulo": modulo, "rest": rest % modulo, "do": do},
    st.sampled_from(["event", "timer"]),
    st.integers(1, 4),
    st.integers(0, 3),
    st.lists(st.one_of(_always, _timers, _timers), min_size=1, max_size=4),
)
_rules = st.builds(
    lambda rules, modulo: [*rules, {"on": "event", "modulo": modulo, "rest": 0, "do": [["add"], ["emit"]]}],
    st.lists(_rule, max_size=4),
    st.sampled_from([1, 2]),
)
_failing_rule = st.builds(
    lambda on, modulo, rest, before: {"on": on, "modulo": modulo, "rest": rest % modulo, "do": [*before, ["fail"]]},
    st.sampled_from(["event", "timer"]),
    st.integers(2, 4),
    st.integers(0, 3),
    st.lists(st.one_of(_always, _timers), max_size=3),
)


@st.composite
def _logs(draw: st.DrawFn, source: Spec, max_events: int) -> dict[str, list[bytes]]:
    """Some episodes, one after the other, since short lists shrink better than a long one; often a late end."""
    text_times = source["shape"] == "json" and draw(st.booleans())
    count = draw(st.sampled_from([1, 2, 3]))
    logs: dict[str, list[bytes]] = {f"p{number}.jsonl": [] for number in range(count)}
    openings = draw(st.sampled_from([1, count, count, 0]))
    for number, name in enumerate([*logs][:openings]):
        logs[name].append(_line(LogEvent(draw(st.sampled_from(KEYS)), 0, number), text_times=text_times))
    start_ms, serial = 0, openings
    for _ in range(draw(st.integers(0, 3))):
        episode = draw(
            event_logs(partitions=count, max_size=max_events // 3, out_of_order_ms=source["out_of_order_ms"], late=True)
        )
        for name, events in episode.items():
            shifted = [event._replace(time=start_ms + event.time, payload=serial + event.payload) for event in events]
            logs[f"{name}.jsonl"] += [_line(event, text_times=text_times) for event in shifted]
        events = [event for events in episode.values() for event in events]
        start_ms += max((event.time for event in events), default=0) + draw(st.sampled_from([1, 0, 15]))
        serial += len(events)
    if draw(st.booleans()):
        for lines in logs.values():
            closing = LogEvent(draw(st.sampled_from(KEYS)), start_ms + 500, serial)
            lines.append(_line(closing, text_times=text_times))
    bad = st.tuples(st.sampled_from(sorted(logs)), st.integers(0, max_events), st.sampled_from(BAD_LINES))
    for name, position, line in draw(st.lists(bad, max_size=3)):
        logs[name].insert(position, line)
    if any(logs.values()) and draw(st.booleans()):
        logs = {name: lines for name, lines in logs.items() if lines}
    return logs


def _line(event: LogEvent, *, text_times: bool) -> bytes:
    fields = {
        "key": event.key,
        "time": format_time(event.time) if text_times else event.time,
        "n": event.payload,
        "also": KEYS[event.payload * 5 % len(KEYS)],
    }
    return json.dumps(fields, ensure_ascii=False).encode()
