"""Abandoned carts without what is in them, in three ways: `--set job=operator`, `absence`, `pattern`.

A cart is abandoned when nothing is added to it, and no checkout comes, for a while after something was added. What
is told is the last event added. The three differ only for an event exactly at the end of that time: the operator and
`absence` let it count, the pattern does not (as Flink's do not), unless it is given a millisecond more.
"""

from collections.abc import Callable
from typing import Any, Literal, Optional

import headway as hw


class Shop(hw.Event):
    """What happens in the shop."""

    user: str
    kind: Literal["view", "add", "remove", "checkout"]
    at: hw.Time
    sku: str = ""
    price: float = 0.0


class Left(hw.Event):
    """What was put into a cart last, before it was left."""

    user: str
    sku: str
    since: int


class Waiting(hw.State):
    """The last event that put something into the cart."""

    last: Optional[Shop] = None


class LeftByHand(hw.Operator[Shop, Waiting, Left]):
    """Waits from the last add for a checkout."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, waiting: Waiting, event: Shop, ctx: hw.Context[Left]) -> None:
        """Wait, or do not wait any more."""
        if event.kind == "add":
            waiting.last = event
            ctx.timer("left", event.at + self.after_ms)
        elif event.kind == "checkout":
            ctx.forget()

    def on_timer(self, waiting: Waiting, timer: hw.Timer, ctx: hw.Context[Left]) -> None:
        """Nothing came."""
        if waiting.last is not None:
            ctx.emit(left_of(waiting.last))
        ctx.forget()


def left_of(event: Shop) -> Left:
    """What is told about a cart."""
    return Left(user=event.user, sku=event.sku, since=event.at)


def by_operator(carts: hw.KeyedStream[Shop], after_ms: int) -> Any:
    """With an operator written for it."""
    return carts.process("left", LeftByHand(after_ms))


def by_absence(carts: hw.KeyedStream[Shop], after_ms: int) -> Any:
    """With the step that is made for it."""
    started, ended = hw.where(kind="add"), hw.where(kind="checkout")
    absent = carts.absence("left", start=started, end=ended, within=after_ms, rearm=True)
    return absent.map(lambda wait: left_of(wait.start), into=Left)


def by_pattern(carts: hw.KeyedStream[Shop], after_ms: int) -> Any:
    """With a pattern that ends with what does not come."""
    left = hw.once(kind="add").then_absent(kind=("add", "checkout"), within=after_ms + 1)
    return carts.match("left", left, select=lambda match: left_of(match.matched["step1"][0]), into=Left)


JOBS: dict[str, Callable[[hw.KeyedStream[Shop], int], Any]] = {
    "operator": by_operator,
    "absence": by_absence,
    "pattern": by_pattern,
}

flow = hw.Flow("carts-left")
job = flow.param("job", "operator", help="which way")
events = flow.param("input", "shop-*.jsonl", help="files of shop events")
output = flow.param("output", "left.jsonl", help="file for what is found")
after = flow.param("after", "30m", help="how long nothing may happen to a cart")

shop = flow.source("shop", Shop, hw.files(events), time="at")
carts = shop.filter(hw.where(kind=("add", "checkout")), name="changes").key_by("user")
JOBS[job](carts, hw.duration_ms(after)).to("told", hw.to_jsonl(output))
