"""Jobs over streams of clicks, each a flow: `--set job=filter`, `aggregate`, `exchange`, `tumbling` and so on.

What they find is what the loops of `benchmarks.bare_clicks` find.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import headway as hw
from benchmarks import bare_clicks
from headway.results import Match


class Click(hw.Event):
    """A user does something."""

    user: str
    kind: str
    at: hw.Time
    item: str
    cents: int


class Visit(hw.Event):
    """A click, and how often its user has come."""

    item: str
    visit: int


class Visits(hw.State):
    """How often a user has come."""

    count: int = 0


class CountVisits(hw.Operator[Click, Visits, Visit]):
    """Tells of each click how often its user has come."""

    def on_event(self, visits: Visits, event: Click, ctx: hw.Context[Visit]) -> None:
        """Count."""
        visits.count += 1
        ctx.emit(Visit(event.item, visits.count))


class Bought(hw.Event):
    """A search, a view and a purchase of one user."""

    user: str
    searched: int
    viewed: int
    bought: int


class Tries(hw.State):
    """Searches that may become purchases: `[searched, viewed]`, 0 for not yet."""

    begun: list[list[int]] = []


class BoughtByHand(hw.Operator[Click, Tries, Bought]):
    """Does what the pattern of the job `pattern` does, written out."""

    def on_event(self, tries: Tries, event: Click, ctx: hw.Context[Bought]) -> None:
        """Begin, go on, or tell."""
        begun, now_ms = tries.begun, event.at
        while begun and begun[0][0] <= now_ms - bare_clicks.STEPS_MS:
            del begun[0]
        if event.kind == "search":
            begun.append([now_ms, 0])
            ctx.timer("over", now_ms + bare_clicks.STEPS_MS)
        elif event.kind == "view":
            for one in begun:
                one[1] = one[1] or now_ms
        elif event.kind == "buy" and begun and begun[0][1]:
            ctx.emit(Bought(event.user, begun[0][0], begun[0][1], now_ms))
            ctx.forget()

    def on_timer(self, tries: Tries, timer: hw.Timer, ctx: hw.Context[Bought]) -> None:
        """No try can succeed any more."""
        ctx.forget()


class Pair(hw.Event):
    """A purchase, and a search of the same user shortly before."""

    user: str
    searched: int
    bought: int


def bought_of(match: Match[Click]) -> Bought:
    """What a match tells."""
    [search], [view], [buy] = match.matched.values()
    return Bought(search.user, search.at, view.at, buy.at)


def parse_and_filter(clicks: hw.Stream[Click]) -> Any:
    """What was bought for more than a limit."""
    return clicks.filter(lambda click: click.kind == "buy" and click.cents >= bare_clicks.DEAR_CENTS)


def dear(clicks: hw.Stream[Click]) -> Any:
    """As `parse_and_filter`, with a condition that is known before the event."""
    return clicks.filter(hw.where(kind="buy")).filter(lambda click: click.cents >= bare_clicks.DEAR_CENTS)


def aggregate(clicks: hw.Stream[Click]) -> Any:
    """Decision state of each user, told with every eighth event."""
    users = clicks.filter(is_click).key_by("user")
    spend = users.aggregate(
        "spend",
        user=hw.first("user"),
        events=hw.count(),
        buys=hw.count(kind="buy"),
        cents=hw.sum("cents"),
        dearest=hw.max("cents"),
    )
    return spend.filter(lambda state: state.events % bare_clicks.EVERY == 0)


def exchange(clicks: hw.Stream[Click]) -> Any:
    """Users are counted by one stage, items in windows by the next."""
    visits = clicks.filter(is_click).key_by("user").process("visits", CountVisits())
    return visits.key_by("item").window(
        "items",
        hw.tumbling(bare_clicks.ITEM_WINDOW_MS),
        item=hw.first("item"),
        events=hw.count(),
        visits=hw.sum("visit"),
    )


def windows(windower: Any) -> Callable[[hw.Stream[Click]], Any]:
    """Events and cents of each user in each window."""

    def job(clicks: hw.Stream[Click]) -> Any:
        users = clicks.filter(is_click).key_by("user")
        return users.window("windows", windower, user=hw.first("user"), events=hw.count(), cents=hw.sum("cents"))

    return job


def by_hand(clicks: hw.Stream[Click]) -> Any:
    """Three steps, with an operator written for them."""
    return clicks.filter(is_click).key_by("user").process("bought", BoughtByHand())


def pattern(clicks: hw.Stream[Click]) -> Any:
    """Three steps, as a pattern."""
    bought = hw.pattern("search", kind="search").followed_by("view", kind="view").followed_by("buy", kind="buy")
    users = clicks.filter(is_click).key_by("user")
    within = bought.within(bare_clicks.STEPS_MS)
    return users.match("bought", within, after=hw.skip_past_last(), select=bought_of, keep=["user", "at"])


def join(clicks: hw.Stream[Click]) -> Any:
    """Each purchase with the searches of the same user shortly before."""
    purchases = source("purchases", right).filter(hw.where(kind="buy"))
    searches = clicks.filter(hw.where(kind="search"))
    return searches.key_by("user").interval_join(
        "pairs",
        purchases.key_by("user"),
        lower=0,
        upper=bare_clicks.JOIN_MS,
        select=lambda search, buy: Pair(search.user, search.at, buy.at),
        into=Pair,
    )


JOBS: dict[str, Callable[[hw.Stream[Click]], Any]] = {
    "filter": parse_and_filter,
    "dear": dear,
    "aggregate": aggregate,
    "exchange": exchange,
    "tumbling": windows(hw.tumbling(bare_clicks.PANE_MS)),
    "sliding": windows(hw.sliding(bare_clicks.WINDOW_MS, every=bare_clicks.PANE_MS)),
    "day": windows(hw.tumbling("1d")),
    "by-hand": by_hand,
    "pattern": pattern,
    "join": join,
}


def is_click(click: Click) -> bool:
    """Whether it is one, and not the end of the stream."""
    return click.kind != "end"


def source(name: str, path: str) -> hw.Stream[Click]:
    """The events of some files, in the order of time."""
    if not path.endswith(".parquet"):
        return flow.source(name, Click, hw.files(path), time="at")
    import_module("pyarrow.parquet")  # What is measured is the run, without imports.
    given = hw.parquet(path)
    return flow.source(name, Click, given, time="at")


flow = hw.Flow("clicks")
job_name = flow.param("job", "filter", help="which job")
path = flow.param("input", "clicks.jsonl", help="files of clicks")
right = flow.param("right", "right.jsonl", help="the purchases, for a join")
output = flow.param("output", "lines.jsonl", help="file for what is found")

JOBS[job_name](source("clicks", path)).to("lines", hw.to_jsonl(output))
