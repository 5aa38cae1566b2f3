"""Small flows described by plain data: any process can build the same flow again from its JSON.

A spec is `{"sources": [...], "steps": [...]}`, with `"tolerant": true` where failed events are to be set aside. A step
reads the streams that earlier ones produced, by name, and its own name is that of the stream it produces; `branch`
also produces `NAME.else`, `process` `NAME.side`, `absence` `NAME.raw`, and a source `NAME.late`. `process` may read two
more: `other` with a key, and `news` as a broadcast; `concerns` are conditions, of which its events meet one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from headway.basics.times import parse_time
from headway.connectors.base import Input, Output
from headway.declare.flow import Flow, dead_letter
from headway.errors import UsageError
from headway.operators.absence import Absent
from headway.operators.base import Context, Operator, Timer
from headway.operators.conditions import Condition, where
from headway.testing.strategies import KEYS
from headway.types.schema import Event, Json, State

__all__ = ["Memory", "Scripted", "Signal", "build_flow", "sink_names"]

Spec = dict[str, Any]
"""A flow, a step or an operator as plain data."""


class Signal(Event):
    """The typed event of these flows; the untyped one is an object with the same fields."""

    key: str
    time: int
    n: int
    also: str = ""
    """Another key."""


class Memory(State):
    """The state of a scripted operator."""

    total: int = 0
    fired: int = 0
    counts: dict[str, int] = {}
    recent: list[int] = []
    last: Optional[Signal] = None


class Scripted(Operator[Any, Memory, Any]):
    """Does what its rules say.

    A rule is `{"on": "event" | "timer", "modulo": m, "rest": r, "do": [[action, argument ...], ...]}`: its
    actions are done when the event's number, or the number of timers fired so far, leaves that rest. Actions:
    `add`, `count`, `remember`, `emit`, `emit_state`, `side`, `timer NAME DELAY`, `cancel NAME`, `due NAME`, `forget`,
    `fail`.
    """

    sides = {"side": Signal}

    def __init__(
        self,
        rules: Sequence[Spec],
        shape: str,
        *,
        with_other: bool = False,
        with_news: bool = False,
        concerns: Optional[Sequence[Condition]] = None,
    ) -> None:
        self.concerns = concerns
        self.output_type = _TYPES[shape]
        self.inputs = {"other": Any} if with_other else {}
        self.broadcasts = {"news": Any} if with_news else {}
        self.shared_type = Memory if with_news else None
        self._shape = shape
        self._news_fails = any(["fail"] in rule["do"] for rule in rules)
        self._rules = {on: [rule for rule in rules if rule["on"] == on] for on in ("event", "timer")}

    def on_event(self, state: Memory, event: Any, ctx: Context[Any]) -> None:
        """Run the rules for events."""
        self._run("event", _get(event, "n"), state, event, ctx)

    def on_other(self, state: Memory, event: Any, ctx: Context[Any]) -> None:
        """Run the rules for events, with another number."""
        self._run("event", _get(event, "n") + 1, state, event, ctx)

    def on_news(self, shared: Memory, event: Any, ctx: Context[Any]) -> None:
        """Remember the last event and count."""
        shared.total += _get(event, "n") + ctx.time
        shared.counts[_get(event, "key")] = shared.total
        shared.last = _shaped(event, "event")
        if self._news_fails and shared.total % 3 == 0:
            msg = f"the total is {shared.total}"
            raise ValueError(msg)

    def on_timer(self, state: Memory, timer: Timer, ctx: Context[Any]) -> None:
        """Run the rules for timers; the name of the timer is told by what is emitted."""
        state.fired += 1
        state.counts[timer.name] = state.counts.get(timer.name, 0) + timer.at - ctx.time + 1
        self._run("timer", state.fired, state, None, ctx)

    def _run(self, on: str, number: int, state: Memory, event: Any, ctx: Context[Any]) -> None:
        for rule in self._rules[on]:
            if number % rule["modulo"] == rule["rest"]:
                for action, *arguments in rule["do"]:
                    getattr(self, f"_{action}")(state, number, event, ctx, *arguments)

    def _add(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        state.total += number + 1
        state.recent = [*state.recent, number][-3:]

    def _count(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        name = "timer" if event is None else _get(event, "key")
        state.counts[name] = state.counts.get(name, 0) + 1

    def _remember(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        state.last = None if event is None else _shaped(event, "event")

    def _emit(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        ctx.emit(_shaped(self._report(state, number, ctx), self._shape))

    def _emit_state(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        report = self._report(state, number, ctx)
        if self._shape == "json":
            # Emits what the state holds itself, not a copy: what changes later must not change what was emitted.
            ctx.emit({**_shaped(report, "json"), "counts": state.counts, "last": state.last and state.last.n})
        else:
            ctx.emit(state.last or report)

    def _side(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        ctx.emit_to("side", self._report(state, -number, ctx))

    def _timer(self, state: Memory, number: int, event: Any, ctx: Context[Any], name: str, delay_ms: int) -> None:
        if event is not None or state.fired < _MOST_FIRED:
            ctx.timer(name, ctx.time + delay_ms)

    def _cancel(self, state: Memory, number: int, event: Any, ctx: Context[Any], name: str) -> None:
        ctx.cancel(name)

    def _due(self, state: Memory, number: int, event: Any, ctx: Context[Any], name: str) -> None:
        due = ctx.due(name)
        state.recent = [] if due is None else [due - ctx.time]

    def _forget(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        ctx.forget()

    def _fail(self, state: Memory, number: int, event: Any, ctx: Context[Any]) -> None:
        msg = f"number {number} of {ctx.key!r}"
        raise ValueError(msg)

    def _report(self, state: Memory, number: int, ctx: Context[Any]) -> Signal:
        n = state.total + 7 * number + 31 * sum(state.recent) + len(state.counts)
        if self.broadcasts:
            n += 1000 * ctx.shared.total + len(ctx.shared.counts)
        return Signal(key=ctx.key, time=ctx.time, n=n, also=KEYS[n % len(KEYS)])


_MOST_FIRED = 6
_TYPES: dict[str, Any] = {"event": Signal, "json": Json}


def _get(value: Any, field: str) -> Any:
    return value[field] if isinstance(value, dict) else getattr(value, field)


def _shaped(value: Any, shape: str) -> Any:
    """The same event, typed or as an object."""
    fields = {field: _get(value, field) for field in Signal.__struct_fields__}
    fields["time"] = parse_time(fields["time"])
    return fields if shape == "json" else Signal(**fields)


def _changed(value: Any, shape: str, **changes: Any) -> Any:
    return _shaped(Signal(**{**_shaped(value, "json"), **changes}), shape)


def _mapper(step: Spec) -> Callable[[Any], Any]:
    shape, kind = step["shape"], step["kind"]
    if kind == "add":
        return lambda value: _changed(value, shape, n=_get(value, "n") + step["amount"])
    if kind == "swap":
        return lambda value: _changed(value, shape, key=_get(value, "also"), also=_get(value, "key"))
    if kind == "fail":
        return lambda value: _unless_failing(value, shape, step["amount"])
    return lambda value: _shaped(value, shape)


def _unless_failing(value: Any, shape: str, amount: int) -> Any:
    """The same event with another number, unless the number it has is one to fail on."""
    n = _get(value, "n")
    if n % (amount + 1) == 0:
        msg = f"n is {n}"
        raise RuntimeError(msg)
    return _changed(value, shape, n=n + amount)


def _copier(step: Spec) -> Callable[[Any], list[Any]]:
    def copies(value: Any) -> list[Any]:
        n = _get(value, "n")
        return [_changed(value, step["shape"], n=10 * n + number) for number in range(n % step["most"])]

    return copies


def _condition(spec: Spec) -> Condition:
    if "fields" in spec:
        return where(**spec["fields"])
    return lambda value: _get(value, "n") % spec["modulo"] == spec["rest"]


def _key(spec: Spec) -> Any:
    if spec["kind"] == "field":
        return spec["field"]
    if spec["kind"] == "first":
        return lambda value: _get(value, "key")[:1]
    if spec["kind"] == "sometimes":
        return lambda value: _get(value, "key") if _get(value, "n") % 5 else None
    return lambda value: _get(value, "n") % spec["modulo"]


def _from_absent(absent: Absent[Any]) -> Signal:
    return Signal(
        key=_get(absent.start, "key"),
        time=absent.due,
        n=absent.due - absent.since,
        also=_get(absent.start, "also"),
    )


def build_flow(spec: Spec, inputs: Mapping[str, Input], output: Callable[[str], Output]) -> Flow:
    """The flow that a spec describes.

    `inputs` gives each source its input, `output` makes that of the sink it is given the name of.
    Raises `UsageError` for a step of an unknown kind.

    >>> from headway.connectors.memory import items, to_list
    >>> spec = {
    ...     "sources": [{"name": "s", "shape": "event", "out_of_order_ms": 0, "time": "field"}],
    ...     "steps": [{"op": "to", "name": "out", "from": "s"}],
    ... }
    >>> build_flow(spec, {"s": items([])}, lambda name: to_list([]))
    Flow('random', 2 steps)
    """
    flow = Flow("random", on_error=dead_letter(at_most=1_000_000) if spec.get("tolerant") else "stop")
    streams: dict[str, Any] = {}
    for source in spec["sources"]:
        stream = flow.source(
            source["name"],
            _TYPES[source["shape"]],
            inputs[source["name"]],
            time="time" if source["time"] == "field" else lambda event: _get(event, "time"),
            out_of_order=source["out_of_order_ms"],
        )
        streams[source["name"]] = stream
        streams[f"{source['name']}.late"] = stream.late
    for step in spec["steps"]:
        build = _STEPS.get(step["op"])
        if build is None:
            msg = f"step {step['name']!r}: {step['op']!r} is not a kind of step, expected one of {', '.join(_STEPS)}"
            raise UsageError(msg)
        streams.update(build(step, streams, output))
    return flow


def sink_names(spec: Spec) -> list[str]:
    """The names of a spec's outputs."""
    return [step["name"] for step in spec["steps"] if step["op"] in ("to", "trigger")]


Streams = dict[str, Any]
OutputFor = Callable[[str], Output]


def _build_stateless(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    stream, name, op = streams[step["from"]], step["name"], step["op"]
    if op == "filter":
        return {name: stream.filter(_condition(step["where"]), name=name)}
    if op == "branch":
        met, others = stream.branch(_condition(step["where"]), name=name)
        return {name: met, f"{name}.else": others}
    if op == "map":
        return {name: stream.map(_mapper(step), into=_TYPES[step["shape"]], name=name)}
    return {name: stream.flat_map(_copier(step), into=_TYPES[step["shape"]], name=name)}


def _build_key_by(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    return {step["name"]: streams[step["from"]].key_by(_key(step["key"]), name=step["name"])}


def _build_merge(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    first, *others = (streams[name] for name in step["from"])
    return {step["name"]: first.merge(*others, name=step["name"])}


def _build_process(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    name = step["name"]
    inputs = {"other": streams[step["other"]]} if "other" in step else {}
    if "news" in step:
        inputs["news"] = streams[step["news"]].broadcast()
    concerns = [_condition(spec) for spec in step["concerns"]] if "concerns" in step else None
    operator = Scripted(
        step["rules"], step["shape"], with_other="other" in step, with_news="news" in step, concerns=concerns
    )
    stream = streams[step["from"]].process(name, operator, **inputs)
    return {name: stream, f"{name}.side": stream.side("side")}


def _build_absence(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    name = step["name"]
    raw = streams[step["from"]].absence(
        name,
        start=_condition(step["start"]),
        end=_condition(step["end"]),
        within=step["within_ms"],
        rearm=step["rearm"],
    )
    return {f"{name}.raw": raw, name: raw.map(_from_absent, name=f"{name}.signal")}


def _build_sink(step: Spec, streams: Streams, output: OutputFor) -> Streams:
    stream, name = streams[step["from"]], step["name"]
    if step["op"] == "trigger":
        stream.trigger("random.trigger", output(name), name=name)
    else:
        stream.to(name, output(name))
    return {}


_STEPS: dict[str, Callable[[Spec, Streams, OutputFor], Streams]] = {
    "filter": _build_stateless,
    "branch": _build_stateless,
    "map": _build_stateless,
    "flat_map": _build_stateless,
    "key_by": _build_key_by,
    "merge": _build_merge,
    "process": _build_process,
    "absence": _build_absence,
    "trigger": _build_sink,
    "to": _build_sink,
}
