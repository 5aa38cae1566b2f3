"""Rows of the table of changes in docs/changing.md: what is told, and the flow goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.changes_flows import (
    Renamed,
    Shop,
    Watch,
    flow,
    share,
    step,
    watch,
    watch_filtered,
    watch_merged,
    watch_two_keys,
)
from tests.changes_harness import changes, told

import headway as hw

TOLD = [
    ("nothing", flow(), flow(), []),
    (
        "operator added",
        flow(),
        flow(lambda m: (watch(m), m.by().silence("quiet", "1h").to("hush", hw.to_list([])))),
        [
            "operator 'quiet': it is new, and starts empty",
            "output 'hush': it is new, and gets what is sent to it from here on",
        ],
    ),
    (
        "operator removed",
        flow(lambda m: (watch(m), m.by().silence("quiet", "1h").to("hush", hw.to_list([])))),
        flow(),
        [
            "operator 'quiet': the flow has it no more; its rows and timers stay, and no timer fires until they are "
            "dropped: headway state drop FLOW quiet",
            "output 'hush': the flow has it no more; its position stays until it is dropped: headway state drop FLOW "
            "hush",
        ],
    ),
    (
        "operator renamed",
        flow(),
        flow(lambda m: watch(m, "basket", was="cart")),
        ["operator 'basket': it was called 'cart': it goes on with what that kept; new triggers have other ids"],
    ),
    (
        "operator renamed by a name of long ago",
        flow(),
        flow(lambda m: watch(m, "basket", was=("trolley", "cart"))),
        ["operator 'basket': it was called 'cart': it goes on with what that kept; new triggers have other ids"],
    ),
    (
        "source renamed",
        flow(),
        flow(name="store", was="shop"),
        ["source 'store': it was called 'shop': it is read on from there"],
    ),
    (
        "output renamed",
        flow(),
        flow(lambda m: m.by().process("cart", Watch()).trigger("left", hw.to_list([]), name="gone", was="left")),
        ["output 'gone': it was called 'left': it goes on at the position of that; new triggers have other ids"],
    ),
    ("a name of before that is unknown", flow(), flow(lambda m: watch(m, was="basket")), []),
    (
        "source added",
        flow(),
        flow(
            lambda m: watch_merged(m, m.flow.source("web", Shop, hw.items([]), time="at")),
        ),
        [
            "source 'web': it is new, and is read from its start",
            "operator 'cart': it reads (shop + web) > key_by, before shop > key_by; this holds for what comes from "
            "here on",
        ],
    ),
    (
        "side output read",
        flow(),
        flow(lambda m: watch(m).side("odd").to("odd", hw.to_list([]))),
        [
            "operator 'cart': its side 'odd' is read from here on",
            "output 'odd': it is new, and gets what is sent to it from here on",
        ],
    ),
    (
        "side output not read any more",
        flow(lambda m: watch(m).side("odd").to("odd", hw.to_list([]))),
        flow(),
        [
            "operator 'cart': its side 'odd' is not read any more",
            "output 'odd': the flow has it no more; its position stays until it is dropped: headway state drop FLOW "
            "odd",
        ],
    ),
    (
        "late events read",
        flow(),
        flow(lambda m: (watch(m), m.shop.late.to("late", hw.to_list([])))),
        [
            "source 'shop': its side 'late' is read from here on",
            "output 'late': it is new, and gets what is sent to it from here on",
        ],
    ),
    (
        "two lines swapped",
        flow(lambda m: (watch(m), m.by().silence("quiet", "1h").to("hush", hw.to_list([])))),
        flow(lambda m: (m.by().silence("quiet", "1h").to("hush", hw.to_list([])), watch(m))),
        [],
    ),
    (
        "fused otherwise: one key_by for both",
        flow(lambda m: (watch(m), m.by().silence("quiet", "1h").to("hush", hw.to_list([])))),
        flow(lambda m: share(m.by())),
        [],
    ),
    (
        "a step before it",
        flow(),
        flow(lambda m: watch_filtered(m, "bought")),
        [
            "operator 'cart': it reads shop > bought > key_by, before shop > key_by; this holds for what comes from "
            "here on"
        ],
    ),
    (
        "a condition",
        flow(lambda m: watch_filtered(m, None)),
        flow(lambda m: watch_filtered(m, None, kind="sold")),
        [
            "step 'filter-1': parameters differ from the last run: condition where(kind='buy') -> where(kind='sold')",
        ],
    ),
    (
        "the function of a step",
        flow(lambda m: m.shop.map(lambda e: {"a": 1}).to("out", hw.to_list([]))),
        flow(lambda m: m.shop.map(lambda e: {"a": 2}).to("out", hw.to_list([]))),
        ["step 'map-1': the code of function has changed; it holds from here on"],
    ),
    (
        "a step without a name before another",
        flow(lambda m: m.shop.filter(hw.where(kind="buy")).to("out", hw.to_list([]))),
        flow(
            lambda m: (
                m.shop.filter(hw.where(kind="view")).to("seen", hw.to_list([])),
                m.shop.filter(hw.where(kind="buy")).to("out", hw.to_list([])),
            )
        ),
        ["output 'seen': it is new, and gets what is sent to it from here on"],
    ),
    (
        "parameters",
        flow(),
        flow(lambda m: watch(m, operator=Watch("1h", 4))),
        [
            "operator 'cart': parameters differ from the last run: after 30m -> 1h, limit 3 -> 4; what it kept stays, "
            "and timers fire as they were set"
        ],
    ),
    (
        "parameters of a step",
        step(lambda s: s.silence("cart", after="30m")),
        step(lambda s: s.silence("cart", after="60m", expire_after="1d")),
        [
            "operator 'cart': parameters differ from the last run: after 30m -> 1h, expire_after not given -> 1d; what "
            "it kept stays, and timers fire as they were set"
        ],
    ),
    (
        "the same parameter written otherwise",
        step(lambda s: s.silence("cart", after="1h")),
        step(lambda s: s.silence("cart", after=3_600_000)),
        [],
    ),
    (
        "a class under another name",
        flow(),
        flow(lambda m: watch(m, operator=Renamed())),
        ["operator 'cart': its class was called Watch, now Renamed; its code is the same"],
    ),
    (
        "the code of a function that gives the key",
        flow(lambda m: watch(m, key=lambda event: event.user)),
        flow(lambda m: watch(m, key=lambda event: event.user.lower())),
        ["operator 'cart': the code that gives its key has changed; rows of keys that it no longer gives stay"],
    ),
    (
        "the code of one function of two that give the key",
        flow(lambda m: watch_two_keys(m, lambda event: event.user)),
        flow(lambda m: watch_two_keys(m, lambda event: event.user.lower())),
        ["operator 'cart': the code that gives its key has changed; rows of keys that it no longer gives stay"],
    ),
    (
        "a function among the parameters",
        flow(lambda m: watch(m, operator=Watch(ask=lambda event: True))),
        flow(lambda m: watch(m, operator=Watch(ask=lambda event: False))),
        ["operator 'cart': the code of ask has changed; it holds from here on"],
    ),
    (
        "a time to live",
        step(lambda s: s.process("cart", hw.Silence(after="30m"))),
        step(lambda s: s.process("cart", hw.Expiring(hw.Silence(after="30m"), hw.ttl("90d")))),
        [
            "operator 'cart': parameters differ from the last run: time_to_live not given -> time_to_live(length 90d, "
            "since write); what it kept stays, and timers fire as they were set"
        ],
    ),
    (
        "out_of_order and the like",
        flow(),
        flow(out_of_order="5s", idle_after="1m"),
        [
            "source 'shop': parameters differ from the last run: out_of_order 2s -> 5s, idle_after not given -> 1m; it "
            "holds for what is read from here on"
        ],
    ),
    (
        "another field with the time",
        flow(),
        flow(time=lambda event: event.at),
        [
            "source 'shop': parameters differ from the last run: time at -> a lambda; it holds for what is read from "
            "here on"
        ],
    ),
    (
        "other files",
        flow(input=hw.files("old/*.jsonl")),
        flow(input=hw.files("new/*.jsonl")),
        [
            "source 'shop': parameters differ from the last run: input files old/*.jsonl -> files new/*.jsonl; "
            "partitions that are known by their name are read on, others from their start"
        ],
    ),
    (
        "an output elsewhere",
        flow(lambda m: m.shop.to("out", hw.to_jsonl("old.jsonl"))),
        flow(lambda m: m.shop.to("out", hw.to_jsonl("new.jsonl"))),
        [
            "output 'out': parameters differ from the last run: place file old.jsonl -> file new.jsonl; it goes on "
            "there at the position that it had, so what was written must have been moved there; only after a "
            "restore with --outputs new it begins anew"
        ],
    ),
    (
        "a trigger of another type, by other fields",
        flow(lambda m: m.shop.trigger("left", hw.to_list([]), name="out")),
        flow(lambda m: m.shop.trigger("gone", hw.to_list([]), name="out", id_by="user")),
        [
            "output 'out': parameters differ from the last run: trigger type left -> gone",
            "output 'out': parameters differ from the last run: id_by not given -> user; new triggers have other ids",
        ],
    ),
    (
        "plain instead of triggers",
        flow(lambda m: m.shop.trigger("out", hw.to_list([]))),
        flow(lambda m: m.shop.to("out", hw.to_list([]))),
        [
            "output 'out': it was a trigger, now it is a plain output",
            "output 'out': parameters differ from the last run: trigger type out -> not given",
        ],
    ),
    (
        "which events an aggregate takes",
        step(lambda s: s.aggregate("cart", n=hw.count(kind="a"))),
        step(lambda s: s.aggregate("cart", n=hw.count(kind="b"))),
        [
            "operator 'cart': parameters differ from the last run: aggregates.n count where(kind='a') -> count "
            "where(kind='b'); what it kept stays, and timers fire as they were set"
        ],
    ),
    (
        "the conditions of a pattern, in functions",
        step(lambda s: s.match("cart", hw.pattern("a", lambda e: e.price > 1).within("1h"))),
        step(lambda s: s.match("cart", hw.pattern("a", lambda e: e.price > 2).within("1h"))),
        ["operator 'cart': the code of pattern has changed; it holds from here on"],
    ),
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the rows read."""
    monkeypatch.chdir(tmp_path)
    for name in ("old/shop.jsonl", "new/shop.jsonl"):
        Path(name).parent.mkdir()
        Path(name).touch()


@pytest.mark.parametrize(("before", "after", "expected"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD])
def test_what_is_told(before: hw.Flow, after: hw.Flow, expected: list[str]) -> None:
    assert told(changes(before, after)) == expected
