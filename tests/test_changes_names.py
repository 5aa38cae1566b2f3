"""Names that change: what goes on under which number, and which names of before cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.changes_flows import Maker, Told, flow, step, watch
from tests.changes_harness import changes, entry_of, manifest, told

import headway as hw
from headway.state.changes import compare
from headway.state.manifest import Manifest


def test_the_numbers_follow_the_names() -> None:
    def before(m: Maker) -> None:
        watch(m)
        limits = m.flow.source("limits", hw.Json, hw.items([]), time="at")
        m.by().process("told", Told(), limits=limits.broadcast()).to("t", hw.to_list([]))

    def after(m: Maker) -> None:
        limits = m.flow.source("rules", hw.Json, hw.items([]), time="at", was="limits")
        told_now = m.by().process("heard", Told(), was="told", limits=limits.broadcast())
        told_now.to("u", hw.to_list([]), was="t")
        watch(m, "basket", was="cart")

    found = manifest(flow(before))
    now = manifest(flow(after), found)
    names = {"cart": "basket", "told": "heard", "told:shared": "heard:shared", "t": "u", "limits": "rules"}
    assert all(entry_of(now, new).id == entry_of(found, old).id for old, new in names.items())
    assert now.retired == Manifest(flow="", key_groups=1, sources={}, operators={}, outputs={}, stages=[]).retired
    assert now.next_id == found.next_id


def test_what_is_gone_comes_back_as_it_was() -> None:
    both = flow(lambda m: (watch(m), m.by().silence("quiet", "1h").to("hush", hw.to_list([]))))
    found = manifest(both)
    without = manifest(flow(), found)
    back = manifest(both, without)
    assert without.retired.operators["quiet"] == found.operators["quiet"]
    assert back.operators["quiet"].id == found.operators["quiet"].id
    assert back.retired.operators == {}
    assert told(compare(without, back)) == [
        "operator 'quiet': it is back with what it kept; what came meanwhile it has not seen",
        "output 'hush': it is back, and goes on at the position that it had",
    ]


def test_what_comes_back_changed_is_compared_with_what_it_was() -> None:
    before = step(lambda s: s.window("cart", hw.tumbling("1h"), n=hw.count()))
    after = step(lambda s: s.window("cart", hw.tumbling("2h"), n=hw.count()))
    refused = [change for change in changes(before, step(lambda s: s.lag("lag")), after) if change.refused]
    assert [change.what for change in refused] == ["operator 'cart'"]


def test_a_name_of_before_that_is_retired_counts_as_well() -> None:
    found = manifest(step(lambda s: s.lag("other")), manifest(flow()))
    now = manifest(flow(lambda m: watch(m, "basket", was="cart")), found)
    assert now.operators["basket"].id == found.retired.operators["cart"].id


def test_which_one_to_drop_where_two_names_are_known() -> None:
    basket = flow(lambda m: watch(m, "basket"))
    [first] = changes(flow(), basket, flow(lambda m: watch(m, "basket", was="cart")))
    assert first.next_step == "to go on: leave was='cart' out, or drop the one: headway state drop FLOW cart"
    found = changes(basket, flow(), flow(lambda m: watch(m, "basket", was="cart")))
    assert found[0].next_step == "to go on: leave was='cart' out, or drop the one: headway state drop FLOW basket"


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda m: (watch(m), m.by().lag("lag", was="cart")), "there is a step 'cart'"),
        (lambda m: (m.by().lag("lag", was="cart"), watch(m)), "there is a step 'cart'"),
        (lambda m: (m.by().lag("a", was="x"), m.by().lag("b", was="x")), "both say was='x'"),
        (lambda m: m.by().lag("lag", was="lag"), "is the name that it has"),
        (lambda m: m.by().lag("lag", was=5), "is not a name that it had"),
        (lambda m: m.by().aggregate("n", n=hw.count(), was=hw.count()), "is not a name that it had"),
        (lambda m: m.by().lag("lag", was=[""]), "is not a name that it had"),
    ],
)
def test_names_of_before_that_cannot_be(build: Callable[[Maker], object], expected: str) -> None:
    with pytest.raises(hw.FlowError, match=expected):
        flow(build)
