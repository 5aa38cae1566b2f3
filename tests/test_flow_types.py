"""What a type checker says about a user's flow: nothing about a good one, and the line of each mistake in a bad one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

FLOW = """\
from collections.abc import Iterator

import headway as hw


class Shop(hw.Event):
    user: str
    at: hw.Time
    price: float = 0.0


class Cart(hw.State):
    total: float = 0.0


class Bill(hw.Event):
    total: float


class Sum(hw.Operator[Shop, Cart, Bill]):
    def on_event(self, cart: Cart, event: Shop, ctx: hw.Context[Bill]) -> None:
        cart.total += event.price
        ctx.timer("idle", event.at + 1000)
        ctx.timer("idle", after="1s")
        ctx.emit(Bill(cart.total))
        cart.sum = 1.0  # wrong: "Cart" has no attribute "sum"
        cart.total = event.user  # wrong: expression has type "str", variable has type "float"
        print(event.usr)  # wrong: "Shop" has no attribute "usr"; maybe "user"?
        ctx.timer("idle", "later")  # wrong: No overload variant of "timer" of "Context" matches argument types
        ctx.timer("idle", event.at, after="1s")  # wrong: No overload variant of "timer" of "Context" matches
        ctx.emit({"total": 1})  # wrong: Argument 1 to "emit" of "Context" has incompatible type
        ctx.watermark()  # wrong: "Context[Bill]" has no attribute "watermark"

    def on_timer(self, cart: Cart, timer: hw.Timer, ctx: hw.Context[Bill]) -> None:
        ctx.forget()


class Bills(hw.Operator[Bill, Cart]):
    def on_event(self, cart: Cart, event: Bill, ctx: hw.Context[hw.Json]) -> None:
        cart.total += event.total


class WrongState(hw.Operator[Shop, Cart]):
    def on_event(self, cart: Bill, event: Shop, ctx: hw.Context[hw.Json]) -> None:  # wrong: incompatible with supertype
        ...


def halves(bill: Bill) -> Iterator[Bill]:
    yield Bill(bill.total / 2)
    yield Bill(bill.total / 2)


flow = hw.Flow("shop")
after = flow.param("after", "30m")
events = flow.source("shop", Shop, hw.items([]), time="at", out_of_order="2s")
carts = events.key_by("user")
bills = carts.process("sum", Sum())
bills.filter(lambda bill: bill.total > 5).flat_map(halves).trigger("billed", hw.to_list([]))
bills.key_by(lambda bill: str(bill.total)).process("bills", Bills()).to("all", hw.to_list([]))
events.late.merge(events).to("everything", hw.to_list([]))
absent = carts.absence("gone", start=hw.where(price=1.0), end=lambda event: event.price > 2, within=after)
absent.map(lambda gone: gone.start.user).to("gone.out", hw.to_list([]))



class Hour(hw.WindowResult):
    n: int


class Spent(hw.AggregateResult):
    total: float


class Rate(hw.Event):
    user: str
    rate: float


class Audit(hw.Operator[hw.Event, Cart]):
    def on_event(self, cart: Cart, event: hw.Event, ctx: hw.Context) -> None:
        ctx.emit({"event": str(event)})


hourly = carts.window("hours", hw.tumbling("1h"), n=hw.count(), into=Hour)
hourly.map(lambda hour: (hour.n + hour.start, hour.final))
made = carts.window("made", hw.tumbling("1h"), n=hw.count())
made.map(lambda hour: (hour.start + 1, hour.n))
spend = carts.aggregate("spend", total=hw.sum("price"), into=Spent)
spend.filter(lambda spent: spent.total > 1).trigger("spent", hw.to_list([]))
rates = hw.lookup("rates.csv", key="user", type=Rate)
enriched = carts.enrich("rated", rates, on="user")
dropped = carts.enrich("only-rated", rates, on="user", missing="drop")
dropped.map(lambda found: found.left.price * found.right.rate)
hw.lookup("names.csv", key="user").get("ann")
both = events.merge(events.map(lambda event: Bill(event.price)))
carts.process("audit", Audit())
users = bills.key_by(lambda bill: str(bill.total))
paired = carts.interval_join(
    "paired", users, lower="-1m", upper="1m", select=lambda shop, bill: Bill(shop.price + bill.total)
)
silent = carts.process("silent", hw.Silence(after="10m"))
silent.map(lambda gone: gone.last.user)
unpaid = carts.process("unpaid", hw.Absence(start=lambda event: event.price > 2, end=hw.where(price=1.0), within="1h"))
unpaid.map(lambda gone: gone.start.user)
quiet = hw.Silence(after="10m")
carts.process("quiet", quiet)
users.process("quiet-users", hw.Expiring(quiet, hw.ttl("1d")))
matched = carts.match("match", hw.once(price=1.0).then_absent(price=2.0, within="1h"))
matched.map(lambda match: [event.user for events in match.matched.values() for event in events])
events.dead_letters.map(lambda letter: letter.reason)


def raise_limit(limits: Cart, bill: Bill) -> None:
    limits.total = bill.total


def wrong_limit(limits: Cart, shop: Shop) -> None: ...


bills.broadcast_state(Cart, raise_limit)
bills.broadcast_state(Cart, wrong_limit)  # wrong: Argument 2 to "broadcast_state" of "_Base" has incompatible type
bills.broadcast_state(Shop, raise_limit)  # wrong: "broadcast_state" of "_Base"
events.map(lambda event: event.usr)  # wrong: "Shop" has no attribute "usr"
events.filter(lambda event: event.cost > 1)  # wrong: "Shop" has no attribute "cost"
carts.process("bills2", Bills())  # wrong: Argument 2 to "process" of "KeyedStream" has incompatible type "Bills"
bills.process("sum2", Sum())  # wrong: Argument 2 to "process" of "KeyedStream" has incompatible type "Sum"
bills.key_by(lambda bill: bill.user)  # wrong: "Bill" has no attribute "user"
absent.map(lambda gone: gone.start.usr)  # wrong: "Shop" has no attribute "usr"
silent.map(lambda gone: gone.last.usr)  # wrong: "Shop" has no attribute "usr"
carts.process("gone2", hw.Rank(by=lambda event: event.cost))  # wrong: "Shop" has no attribute "cost"
events.merge(carts)  # wrong: "merge" of "Stream" matches argument type "KeyedStream[Shop]"
events.window("hourly", hw.tumbling("1h"), n=hw.count())  # wrong: "SourceStream[Shop]" has no attribute "window"
events.late.process("sum3", Sum())  # wrong: "Stream[Shop]" has no attribute "process"
events.key_by(lambda event: event.price)  # wrong: Argument 1 to "key_by" of "Stream" has incompatible type
carts.window("counted", hw.tumbling("1h"), n=5)  # wrong: "window" of "WindowSteps" matches argument types
hourly.map(lambda hour: hour.nn)  # wrong: "Hour" has no attribute "nn"
hourly.map(lambda hour: hour.start.nn)  # wrong: "int" has no attribute "nn"
made.map(lambda hour: hour.end.nn)  # wrong: "int" has no attribute "nn"
spend.map(lambda spent: spent.cents)  # wrong: "Spent" has no attribute "cents"
carts.window("bare", hw.tumbling("1h"), n=hw.count(), into=Bill)  # wrong: "window" of "WindowSteps"
enriched.map(lambda found: found.right.rate)  # wrong: Item "None" of
dropped.map(lambda found: found.right.rat)  # wrong: "Rate" has no attribute "rat"; maybe "rate"?
both.map(lambda one: one.price)  # wrong: Item "Bill" of
paired.map(lambda bill: bill.user)  # wrong: "Bill" has no attribute "user"
events.to("file", "out.jsonl")  # wrong: Argument 2 to "to" of "OutputSteps" has incompatible type "str"
flow.source("more", Shop, "in.jsonl", time="at")  # wrong: Argument 3 to "source" of "Flow" has incompatible type "str"
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """The errors that mypy finds, by line."""
    folder = tmp_path_factory.mktemp("typed")
    path = folder / "shop_flow.py"
    path.write_text(FLOW)
    empty = folder / "mypy.ini"
    empty.write_text("[mypy]\n")
    output, problems, _ = api.run(["--strict", f"--config-file={empty}", f"--cache-dir={folder / 'cache'}", str(path)])
    assert problems == ""
    errors: dict[int, list[str]] = {}
    for file, number, text in re.findall(r"^(.*?):(\d+): error: (.*)$", output, flags=re.M):
        assert Path(file).name == path.name, "Headway itself has no type errors for its users"
        errors.setdefault(int(number), []).append(text)
    return errors


MARKED = {
    number: line.partition("# wrong: ")[2] for number, line in enumerate(FLOW.splitlines(), 1) if "# wrong: " in line
}


@pytest.mark.parametrize("number", MARKED)
def test_the_mistake_is_found(found: dict[int, list[str]], number: int) -> None:
    assert any(MARKED[number] in error for error in found.get(number, [])), found.get(number)


def test_nothing_else_is_found(found: dict[int, list[str]]) -> None:
    assert {number: errors for number, errors in found.items() if number not in MARKED} == {}
