"""Mistakes in the declaration of windows: what they are told, at the line where they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import headway as hw
from headway.errors import HeadwayError, IncompatibleStateError
from headway.state.changes import check_changes
from headway.state.manifest import Manifest, OperatorEntry, StageEntry
from headway.state.typeschema import state_schema


class Shop(hw.Event):
    user: str
    at: hw.Time
    price: float = 0.0


def carts() -> Any:
    flow = hw.Flow("shop")
    source: Any = flow.source("shop", Shop, hw.items([]), time="at")
    return source, source.key_by("user")


WINDOWERS: list[tuple[Callable[[], Any], str]] = [
    (lambda: hw.tumbling(0), 'size must be longer than nothing, such as "1m", not 0'),
    (lambda: hw.tumbling("1 minute"), "'1 minute' is not a length of time"),
    (lambda: hw.sliding("1h", every="2h"), "every must not be longer than the size"),
    (lambda: hw.cumulative("1d", step="7h"), "the step must divide the size"),
    (lambda: hw.session("0s"), "gap must be longer than nothing"),
    (lambda: hw.session("1s", max_length=0), "max_length must be longer than nothing"),
    (lambda: hw.count_window(0), "size=0 is not a number of events"),
    (lambda: hw.count_window(True), "size=True is not a number of events"),
    (lambda: hw.count_window(3, every=4), "every must not be more than the size"),
    (lambda: hw.count_window(3, every=1, timeout="1s"), "sliding count windows have no timeout"),
    (lambda: hw.daily("Berlin"), "'Berlin' is not a time zone of this machine"),
    (lambda: hw.weekly("UTC", starts_on="mon"), "expected one of monday, tuesday"),
    (lambda: hw.every(0), "needs a number of events"),
]


@pytest.mark.parametrize("make, text", WINDOWERS, ids=[text for _, text in WINDOWERS])
def test_windowers(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(HeadwayError) as caught:
        make()
    assert text in str(caught.value)


LATE: dict[str, Any] = {"late_time": "at", "allowed_lateness": "1h"}
STEPS: list[tuple[dict[str, Any], Any, str]] = [
    ({}, "1h", "'1h' does not say which windows there are: use hw.tumbling"),
    ({"start": hw.count()}, hw.tumbling("1h"), "'start' cannot be the name of an aggregate of a window"),
    ({"total": hw.sum("prize")}, hw.tumbling("1h"), "no field 'prize'"),
    ({"n": 3}, hw.tumbling("1h"), "n=3 is not an aggregate"),
    ({"early": 0}, hw.tumbling("1h"), "early=0: expected a time between two results"),
    ({"early": hw.every(2)}, hw.count_window(3), "count windows have neither early nor late results"),
    (LATE, hw.tumbling("1h"), "need late=, such as late=shop.late.key_by"),
    ({"late": True, "allowed_lateness": "1h"}, hw.tumbling("1h"), "late= needs late_time="),
    ({"late": True, **LATE, "late_time": "when"}, hw.tumbling("1h"), "Shop has no such field, its fields are user, at"),
    ({"late": True, **LATE, "late_time": 5}, hw.tumbling("1h"), "late_time=5: expected the name of a field"),
    ({"late": True, **LATE}, hw.count_window(3), "count windows have neither early nor late results"),
    ({"late": True, **LATE}, hw.session("1h", max_length="2h"), "sessions with max_length take no late events"),
]


@pytest.mark.parametrize("options, windower, text", STEPS, ids=[text for _, _, text in STEPS])
def test_steps(options: dict[str, Any], windower: Any, text: str) -> None:
    source, keyed = carts()
    given = dict(options)
    if given.get("late"):
        given["late"] = source.late.key_by("user")
    with pytest.raises(hw.FlowError) as caught:
        keyed.window("w", windower, **{"orders": hw.count(), **given})
    assert text in str(caught.value)
    assert "test_windows_errors.py" in str(caught.value)


def test_a_window_needs_an_aggregate() -> None:
    with pytest.raises(hw.FlowError, match="at least one aggregate is needed"):
        carts()[1].window("w", hw.tumbling("1h"))


def test_window_apply_needs_a_function_and_a_windower() -> None:
    with pytest.raises(hw.FlowError, match="needs a function of the window"):
        carts()[1].window_apply("w", hw.tumbling("1h"), "sum")
    with pytest.raises(hw.FlowError, match="does not say which windows there are"):
        carts()[1].window_apply("w", None, len)


def state_of(windower: Any, **aggregates: Any) -> Manifest:
    """What a state directory records of a flow with one window."""
    flow = hw.Flow("windows")
    source = flow.source("shop", Shop, hw.items([]), time="at").key_by("user")
    step = source.window("windows", windower, **aggregates)
    entry = OperatorEntry(id=1, state=state_schema(step._operator.state_type))
    stages = [StageEntry(name="windows", operators=["windows"])]
    return Manifest(flow="windows", key_groups=1, sources={}, operators={"windows": entry}, stages=stages, outputs={})


@pytest.mark.parametrize("windower", [hw.tumbling("1m"), hw.sliding("1h", every="1m"), hw.session("1m")])
def test_state_of_other_aggregates_is_refused(windower: Any) -> None:
    stored = state_of(windower, all=hw.count(), total=hw.sum("price"))
    check_changes(stored, state_of(windower, total=hw.sum("price"), all=hw.count()), "the directory")
    others: list[dict[str, Any]] = [
        {"all": hw.count()},
        {"all": hw.count(), "total": hw.max("price")},
        {"all": hw.count(), "total": hw.sum("price"), "most": hw.max("price")},
    ]
    for aggregates in others:
        with pytest.raises(IncompatibleStateError, match=r"(Accumulators|Pane)[.a-z]* (was|stands where)"):
            check_changes(stored, state_of(windower, **aggregates), "the directory")
