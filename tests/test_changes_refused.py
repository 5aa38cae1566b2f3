"""Rows of the table of changes in docs/changing.md: what is refused, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.changes_flows import FullCart, Holder, Hours, Rewritten, Shop, Watch, flow, machine, step, watch
from tests.changes_harness import changes, manifest, told

import headway as hw
from headway.errors import IncompatibleStateError
from headway.state.changes import check_changes, compare

GOES_ON = "to go on without what it kept: headway state drop FLOW cart"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the rows read."""
    monkeypatch.chdir(tmp_path)
    Path("events.jsonl").touch()


REFUSED = [
    (
        "another key",
        flow(),
        flow(lambda m: watch(m, key="kind")),
        f"! operator 'cart': its key was user, now kind: what it kept is of other keys; {GOES_ON}",
    ),
    (
        "another class",
        flow(),
        flow(lambda m: watch(m, operator=Rewritten())),
        "! operator 'cart': it was of the class Watch, now Rewritten: the one cannot go on with what the other kept; "
        f"to go on with it: rename the class in one run and change its code in the next; {GOES_ON}",
    ),
    (
        "another step",
        step(lambda s: s.silence("cart", "1h")),
        step(lambda s: s.lag("cart")),
        "! operator 'cart': it was of the class Silence, now Lag: the one cannot go on with what the other kept; "
        + GOES_ON,
    ),
    (
        "the size of a window",
        step(lambda s: s.window("cart", hw.tumbling("1h"), n=hw.count())),
        step(lambda s: s.window("cart", hw.tumbling("2h"), n=hw.count())),
        "! operator 'cart': its windows were tumbling 1h, now tumbling 2h: those that are open would mix with the new "
        f"ones; {GOES_ON}",
    ),
    (
        "another kind of window",
        step(lambda s: s.window("cart", hw.tumbling("1h"), n=hw.count())),
        step(lambda s: s.window("cart", hw.sliding("1h", every="5m"), n=hw.count())),
        "! operator 'cart': its windows were tumbling 1h, now sliding 1h, every 5m: those that are open would mix with "
        f"the new ones; {GOES_ON}",
    ),
    (
        "the size of a window in a class of the flow's own",
        step(lambda s: s.process("cart", Hours(hw.tumbling("1h"), {"n": hw.count()}))),
        step(lambda s: s.process("cart", Hours(hw.tumbling("2h"), {"n": hw.count()}))),
        "! operator 'cart': its windows were tumbling 1h, now tumbling 2h",
    ),
    (
        "windows of a join",
        step(lambda s: s.cogroup("cart", s, hw.session("1h"))),
        step(lambda s: s.cogroup("cart", s, hw.session("2h"))),
        "! operator 'cart': its windows were session 1h, now session 2h: those that are open would mix with the new "
        f"ones; {GOES_ON}",
    ),
    (
        "a pattern",
        step(lambda s: s.match("cart", hw.once(kind="add").then_absent(kind="pay", within="1h"))),
        step(lambda s: s.match("cart", hw.once(kind="add").then_absent(kind="pay", within="2h"))),
        "! operator 'cart': its pattern was followed by where(kind='add'), followed by not where(kind='pay') in 1h, "
        "now followed by where(kind='add'), followed by not where(kind='pay') in 2h: what has matched in part belongs "
        f"to the old one; {GOES_ON}",
    ),
    (
        "what an aggregate adds up",
        step(lambda s: s.aggregate("cart", n=hw.max("price"))),
        step(lambda s: s.aggregate("cart", n=hw.min("price"))),
        "! operator 'cart': its aggregate n was max price, now min price: what it has so far would mix with what "
        f"comes; {GOES_ON}",
    ),
    (
        "the field that an aggregate adds up, whose name is like a condition",
        flow(lambda m: m.by().aggregate("cart", n=hw.sum("where_from")).to("out", hw.to_list([])), event_type=hw.Json),
        flow(lambda m: m.by().aggregate("cart", n=hw.sum("where_to")).to("out", hw.to_list([])), event_type=hw.Json),
        "! operator 'cart': its aggregate n was sum where_from, now sum where_to: what it has so far "
        f"would mix with what comes; {GOES_ON}",
    ),
    (
        "what an operator within another one is ordered by",
        flow(lambda m: watch(m, operator=Holder(hw.Rank(by="price")))),
        flow(lambda m: watch(m, operator=Holder(hw.Rank(by="at")))),
        f"! operator 'cart': its order (by) was price, now at: what it kept is in the old one; {GOES_ON}",
    ),
    *(
        (
            "what a ranking is ordered by",
            step(lambda s: s.rank("cart", by="price", k=2)),
            step(after),
            f"! operator 'cart': its order ({text}: what it kept is in the old one; {GOES_ON}",
        )
        for after, text in (
            (lambda s: s.rank("cart", by="at", k=2), "by) was price, now at"),
            (lambda s: s.rank("cart", by="price", k=2, descending=False), "descending) was True, now False"),
        )
    ),
    (
        "a state of a machine removed",
        step(lambda s: s.state_machine("cart", machine("open", "paid"), keep_final="1d")),
        step(lambda s: s.state_machine("cart", machine("open", "sold"), keep_final="1d")),
        "! operator 'cart': its machine no longer has paid: instances may be in such a state; " + GOES_ON,
    ),
    (
        "an operator renamed to one that is there",
        flow(lambda m: (watch(m), m.by().process("basket", Watch()).to("b", hw.to_list([])))),
        flow(lambda m: (watch(m, was="basket"),)),
        "! operator 'cart': it says was='basket', and there is what 'cart' and what 'basket' kept; to go on: leave "
        "was='basket' out",
    ),
    (
        "a source that is read otherwise",
        flow(input=hw.files("events.jsonl")),
        flow(input=hw.files("events.jsonl", rotated=True)),
        "to go on: give the source another name, and it is read from its start",
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused(before: hw.Flow, after: hw.Flow, expected: str) -> None:
    found = manifest(before)
    all_told = told(compare(found, manifest(after, found)))
    assert [line for line in all_told if expected in line and line.startswith("! ")], all_told
    with pytest.raises(IncompatibleStateError, match=r"headway state drop FLOW|to go on: "):
        check_changes(found, manifest(after, found), "state/carts")


def test_a_state_class_that_rows_do_not_fit_is_refused() -> None:
    class Grown(Watch):
        state_type = FullCart

    found = told(changes(flow(), flow(lambda m: watch(m, operator=Grown()))))
    assert found
    assert any(line.startswith("! operator 'cart'") and GOES_ON in line for line in found)


def test_a_field_of_a_state_that_is_new_is_told() -> None:
    class Grown(Watch):
        state_type = type(
            "Cart", (hw.State,), {"__annotations__": {"items": int, "coupon": str}, "items": 0, "coupon": ""}
        )

    assert "operator 'cart': Cart.coupon is new: states of before have its default, ''" in told(
        changes(flow(), flow(lambda m: watch(m, operator=Grown())))
    )


def test_the_directory_of_another_flow_is_refused() -> None:
    other = hw.Flow("other")
    other.source("shop", Shop, hw.items([]), time="at").to("out", hw.to_list([]))
    [change] = compare(manifest(flow()), manifest(other))
    assert change.refused
    assert "'carts', and this is 'other'" in str(change)


def test_another_number_of_key_groups_is_refused() -> None:
    found = manifest(flow(), key_groups=2)
    [change] = compare(found, manifest(flow(), found, key_groups=4))
    assert change.refused
    assert "headway state rescale" in change.next_step
