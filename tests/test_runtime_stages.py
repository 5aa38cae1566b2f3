"""Two keyed stages in real processes: the same bytes as the oracle's, any number of workers, evenly spread."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import msgspec
import pytest

from headway.declare.loading import FlowSpec, load_flow
from headway.runtime.run import RunOptions, RunResult
from headway.runtime.supervisor import run_cluster
from headway.state.groups import group_of
from headway.testing.oracle import run_oracle

FLOW = """
from pathlib import Path

import headway as hw

here = Path(__file__).parent


class Order(hw.Event):
    user: str
    product: str
    at: hw.Time


class Spree(hw.State):
    products: list[str] = []


class Bought(hw.Event):
    product: str
    together: int


class Sprees(hw.Operator[Order, Spree, Bought]):
    '''What a user buys until nothing came for 40 ms.'''

    def on_event(self, spree, order, ctx):
        spree.products.append(order.product)
        ctx.timer("over", ctx.time + 40)

    def on_timer(self, spree, timer, ctx):
        for product in spree.products:
            ctx.emit(Bought(product=product, together=len(spree.products)))
        ctx.forget()


class Popularity(hw.State):
    sold: int = 0
    most: int = 0


class Popular(hw.Operator[Bought, Popularity]):
    '''Of each product how often it was sold, told 300 ms after the last time.'''

    def on_event(self, popularity, bought, ctx):
        popularity.sold += 1
        popularity.most = max(popularity.most, bought.together)
        ctx.timer("quiet", ctx.time + 300)

    def on_timer(self, popularity, timer, ctx):
        ctx.emit({"sold": popularity.sold, "most": popularity.most})
        ctx.forget()


flow = hw.Flow("shop")
orders = flow.source("orders", Order, hw.files(str(here / "orders" / "*.jsonl")), time="at", out_of_order="20ms")
sprees = orders.key_by("user").process("sprees", Sprees())
popular = sprees.key_by("product").process("popular", Popular())
popular.trigger("product.quiet", hw.to_jsonl(flow.param("to", "quiet.jsonl")))
"""
WHERE = """
import os
from pathlib import Path

import headway as hw

here = Path(__file__).parent


class Where(hw.Operator[hw.Json, hw.State]):
    def on_event(self, state, event, ctx):
        ctx.emit({"pid": os.getpid()})


flow = hw.Flow("where")
log = flow.source("log", hw.Json, hw.files(str(here / "*.log")), time="at")
log.key_by("key").process("places", Where()).trigger("where", hw.to_jsonl(here / "where.jsonl"))
"""
EVENTS = 3_000
GROUPS = 12


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, list[bytes]]:
    """Orders in four files of different lengths; in the last third of time there are few of them."""
    rng = Random(5)
    (tmp_path / "shop.py").write_text(FLOW)
    (tmp_path / "orders").mkdir()
    logs: dict[str, list[bytes]] = {f"{part}.jsonl": [] for part in range(4)}
    at = 0
    for number in range(EVENTS):
        at += rng.randint(0, 3) if number < EVENTS * 0.95 else rng.randint(0, 60)
        order = {"user": f"u{rng.randint(0, 99)}", "product": f"p{rng.randint(0, 199)}", "at": at - rng.randint(0, 20)}
        logs[f"{min(3, rng.randint(0, 6))}.jsonl"].append(json.dumps(order).encode())
    write(tmp_path, logs, 1.0)
    return logs


def write(directory: Path, logs: dict[str, list[bytes]], share: float) -> None:
    for name, lines in logs.items():
        some = lines[: round(len(lines) * share)]
        (directory / "orders" / name).write_bytes(b"".join(line + b"\n" for line in some))


def spec(directory: Path, to: str = "quiet.jsonl") -> FlowSpec:
    return FlowSpec(str(directory / "shop.py"), {"to": str(directory / to)})


def cluster(directory: Path, workers: int, *, drain: bool = False) -> RunResult:
    options = RunOptions(directory / "state", workers=workers, drain=drain, key_groups=GROUPS, epoch_ms=20, sync=False)
    return run_cluster(spec(directory), options)


def expected(directory: Path, logs: dict[str, list[bytes]], *, drain: bool) -> bytes:
    lines = run_oracle(load_flow(spec(directory)), {"orders": logs}, drain=drain).outputs["product.quiet"]
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize(("workers", "drain"), [(2, False), (3, False), (2, True)])
def test_two_changes_of_key(tmp_path: Path, logs: dict[str, list[bytes]], workers: int, drain: bool) -> None:
    result = cluster(tmp_path, workers, drain=drain)
    text = expected(tmp_path, logs, drain=drain)
    assert text.count(b"\n") > 100
    assert (tmp_path / "quiet.jsonl").read_bytes() == text
    assert result.drained is drain
    if drain:
        assert (result.stats.keys, result.stats.timers, result.stats.waiting) == (0, 0, 0)


def test_the_number_of_workers_may_differ_from_run_to_run(tmp_path: Path, logs: dict[str, list[bytes]]) -> None:
    for share, workers in ((0.3, 1), (0.6, 3), (0.8, 1)):
        write(tmp_path, logs, share)
        result = cluster(tmp_path, workers)
        assert result.stats.keys > 0
    write(tmp_path, logs, 1.0)
    assert cluster(tmp_path, 2).stats.events == EVENTS
    assert (tmp_path / "quiet.jsonl").read_bytes() == expected(tmp_path, logs, drain=False)


@pytest.mark.parametrize("workers", [2, 3])
def test_work_is_spread_evenly(tmp_path: Path, workers: int) -> None:
    """Key groups and files of each worker, as the engine places them."""
    (tmp_path / "where.py").write_text(WHERE)
    for part in range(6):
        lines = (json.dumps({"key": f"k{number}", "at": number}) for number in range(100))
        (tmp_path / f"{part}.log").write_text("".join(line + "\n" for line in lines))
    options = RunOptions(tmp_path / "state", workers=workers, key_groups=GROUPS, epoch_ms=20, sync=False)
    stats = run_cluster(FlowSpec(str(tmp_path / "where.py")), options).stats
    assert [worker.events for worker in stats.workers] == [600 // workers] * workers
    groups: dict[int, set[int]] = {worker.pid: set() for worker in stats.workers}
    for line in (tmp_path / "where.jsonl").read_bytes().splitlines():
        trigger = msgspec.json.decode(line)
        groups[trigger["data"]["pid"]].add(group_of(trigger["subject"], GROUPS))
    assert [len(some) for some in groups.values()] == [GROUPS // workers] * workers


def test_nothing_that_was_sold_is_missing(tmp_path: Path, logs: dict[str, list[bytes]]) -> None:
    """The oracle is not the only judge."""
    cluster(tmp_path, 2, drain=True)
    sold: dict[str, int] = {}
    for line in (tmp_path / "quiet.jsonl").read_bytes().splitlines():
        trigger = msgspec.json.decode(line)
        sold[trigger["subject"]] = sold.get(trigger["subject"], 0) + trigger["data"]["sold"]
    bought = [json.loads(line)["product"] for lines in logs.values() for line in lines]
    assert sold == {product: bought.count(product) for product in sold}
    assert set(sold) == set(bought)
