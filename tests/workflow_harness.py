"""Tests of the workflow operators: a flow around one step, drawn events, and plain-Python models of one key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st
from tests.engine_harness import Conditions
from tests.operator_harness import MakeFlow, check, oracle_run, values

import headway as hw

Line = Any
"""What a model says about one output value: anything that `shown` makes of the value too."""
Told = dict[str, list[tuple[int, str, Line]]]
"""For each output: time, key and line of each value, by time and key."""
Model = Callable[[list[dict[str, Any]]], Iterable[tuple[str, int, Line]]]
"""What one key's events, sorted by time, give: (output, time, line)."""

SPAN_MS = 30
TICK = {"at": 10_000, "key": "tick", "n": 0, "id": 0, "kind": "tick"}
"""A last event of another key, so that everything that timers arm in turn runs before the books are closed."""


def events(max_size: int = 25, span_ms: int = SPAN_MS, keys: str = "ab") -> st.SearchStrategy[list[dict[str, Any]]]:
    """Events with a time `at`, a `key`, a `kind`, a small number `id`, and their number `n`."""
    event = st.fixed_dictionaries(
        {
            "at": st.integers(0, span_ms),
            "key": st.sampled_from(keys),
            "kind": st.sampled_from(["a", "a", "b", "c"]),
            "id": st.integers(0, 3),
        }
    )
    return st.lists(event, max_size=max_size).map(lambda drawn: [{**e, "n": n} for n, e in enumerate(drawn)])


def distinct_times(drawn: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events, of which no two have one time: then the order of arrival must not matter."""
    taken: dict[int, dict[str, Any]] = {}
    for event in drawn:
        taken.setdefault(event["at"], event)
    return list(taken.values())


def one_step(step: Callable[[hw.KeyedStream[Any]], hw.Processed[Any]], sides: Sequence[str] = ()) -> MakeFlow:
    """A flow of one keyed step, with an output for it and for each of its side outputs."""

    def make(input_of: Any, output_of: Any) -> hw.Flow:
        flow = hw.Flow("one-step")
        keyed = flow.source("events", hw.Json, input_of("events"), time="at", out_of_order=50).key_by("key")
        done = step(keyed)
        done.trigger("out", output_of("out"))
        for side in sides:
            done.side(side).trigger(side, output_of(side))
        return flow

    return make


def _told(lines: dict[str, list[Any]], shown: Callable[[Any], Line]) -> Told:
    return {
        output: sorted(
            (hw_time(line["time"]), line["subject"], shown(line["data"])) for line in found if line["subject"] != "tick"
        )
        for output, found in lines.items()
    }


def hw_time(text: str) -> int:
    """Epoch milliseconds of a trigger's time."""
    from headway.basics.times import parse_time

    return parse_time(text)


def _expected(drawn: list[dict[str, Any]], model: Model, outputs: Iterable[str]) -> Told:
    told: Told = {output: [] for output in outputs}
    for key in sorted({event["key"] for event in drawn}):
        of_key = sorted((event for event in drawn if event["key"] == key), key=lambda event: int(event["at"]))
        for output, time_ms, line in model(of_key):
            told[output].append((time_ms, key, line))
    return {output: sorted(lines) for output, lines in told.items()}


def agrees(make: MakeFlow, drawn: list[dict[str, Any]], model: Model, shown: Callable[[Any], Line]) -> None:
    """The oracle gives what the model says."""
    result = oracle_run(make, {"events": {"0": [*drawn, TICK]}})
    lines = {output: values(result, output) for output in result.outputs if output != "dead-letters"}
    assert _told(lines, shown) == _expected(drawn, model, lines)


def engine_agrees(
    make: MakeFlow, drawn: list[dict[str, Any]], where: Conditions, model: Model, shown: Callable[[Any], Line]
) -> None:
    """The engine gives what the oracle gives, under all conditions, and that is what the model says."""
    lines = check(make, {"events": {"0": [*drawn, TICK]}}, where)
    assert _told(lines, shown) == _expected(drawn, model, lines)


def arrival_does_not_matter(make: MakeFlow, drawn: list[dict[str, Any]], data: st.DataObject) -> None:
    """The same events in another order, within the bound, give the same."""
    log = distinct_times(drawn)
    shuffled = data.draw(st.permutations(log), label="arrival")
    in_order = oracle_run(make, {"events": {"0": [*sorted(log, key=lambda event: int(event["at"])), TICK]}})
    assert oracle_run(make, {"events": {"0": [*shuffled, TICK]}}).outputs == in_order.outputs
