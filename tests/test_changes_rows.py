"""Each row of the table of changes in docs/changing.md: what is told, what is refused, and what becomes of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.changes_harness import changes, entry_of, manifest, told

import headway as hw
from headway.errors import IncompatibleStateError
from headway.operators.windows.aligned import SingleWindow
from headway.state.changes import check_changes, compare
from headway.state.manifest import Manifest


class Shop(hw.Event):
    user: str
    kind: str
    at: hw.Time
    price: float = 0.0


class Cart(hw.State):
    items: int = 0


class FullCart(hw.State):
    items: str = ""
    coupon: str = ""


class Watch(hw.Operator[Shop, Cart, hw.Json]):
    sides = {"odd": hw.Json}

    def __init__(self, after: str = "30m", limit: int = 3, *, ask: Callable[[Any], bool] = bool) -> None:
        self.limit = limit

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None:
        state.items += 1


class Rewritten(hw.Operator[Shop, Cart, hw.Json]):
    sides = {"odd": hw.Json}

    def __init__(self, after: str = "30m", limit: int = 3) -> None:
        self.limit = limit

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None:
        state.items += 2


class Renamed(Watch):
    """The same under another name: what it adds to its base is nothing."""


class Hours(SingleWindow):
    """Windows with something of the flow's own."""


class Limits(hw.State):
    most: int = 5


class Told(hw.Operator[Shop, Cart, hw.Json]):
    broadcasts = {"limits": hw.Json}
    shared_type = Limits

    def on_event(self, state: Cart, event: Shop, ctx: hw.Context[hw.Json]) -> None: ...

    def on_limits(self, shared: Limits, event: Any, ctx: Any) -> None: ...


class Maker:
    """A flow in the making: a source, and whatever a row adds."""

    def __init__(self, name: str = "shop", **source: Any) -> None:
        self.flow = hw.Flow("carts")
        options = {"time": "at", "out_of_order": "2s", **source}
        event_type = options.pop("event_type", Shop)
        self.shop: Any = self.flow.source(name, event_type, options.pop("input", hw.items([])), **options)

    def by(self, key: Any = "user") -> Any:
        return self.shop.key_by(key)


def flow(build: Callable[[Maker], object] = lambda m: None, **source: Any) -> hw.Flow:
    made = Maker(**source)
    build(made)
    if len(made.flow.graph.nodes) == 1:
        watch(made)
    return made.flow


def watch(m: Maker, name: str = "cart", operator: Any = None, key: Any = "user", **options: Any) -> Any:
    found = m.by(key).process(name, operator or Watch(), **options)
    found.trigger("left", hw.to_list([]))
    return found


def step(build: Callable[[Any], Any]) -> hw.Flow:
    """A flow of one operator."""
    return flow(lambda m: build(m.by()).to("out", hw.to_list([])))


def watch_merged(m: Maker, other: Any) -> None:
    m.shop.merge(other).key_by("user").process("cart", Watch()).trigger("left", hw.to_list([]))


def watch_filtered(m: Maker, name: Any, kind: str = "buy") -> None:
    kept = m.shop.filter(hw.where(kind=kind), name=name)
    kept.key_by("user").process("cart", Watch()).trigger("left", hw.to_list([]))


def share(carts: Any) -> None:
    carts.process("cart", Watch()).trigger("left", hw.to_list([]))
    carts.silence("quiet", "1h").to("hush", hw.to_list([]))


def machine(*states: str) -> hw.StateMachine[None]:
    made = hw.StateMachine("life", states=("new", *states), initial="new", final=(states[-1],), events="kind")
    return made.on("new", "open", to=states[0]).on(states[0], "pay", to=states[-1])


GOES_ON = "to go on without what it kept: headway state drop FLOW cart"

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
            "there at the position that it had, so what was written must have been moved there"
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
    for name in ("events.jsonl", "old/shop.jsonl", "new/shop.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(("before", "after", "expected"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD])
def test_what_is_told(before: hw.Flow, after: hw.Flow, expected: list[str]) -> None:
    assert told(changes(before, after)) == expected


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


# -- Names ----------------------------------------------------------------------------------------------------


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
