"""The flow of abandoned carts: against the definition, against another flow, and what is left when it is done."""

from __future__ import annotations

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headway as hw
from headway.cli.main import main
from headway.declare.loading import FlowSpec, load_flow
from headway.flows.abandoned_carts import Cart, Shop
from headway.runtime.run import RunOptions, RunResult, run_flow
from headway.testing.strategies import ShopStream, shop_streams

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


class Size(hw.Event):
    """How much is in a cart after a change."""

    size: int


class Sizes(hw.Operator[Shop, Cart, Size]):
    """Tells the size of a cart whenever it changes; the cart of which nothing is heard is forgotten in silence."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, cart: Cart, event: Shop, ctx: hw.Context[Size]) -> None:
        if event.kind == "checkout":
            cart.items.clear()
        elif event.kind == "add":
            cart.items[event.sku] = cart.items.get(event.sku, 0) + 1
        elif event.kind == "remove" and cart.items.get(event.sku, 0) > 0:
            cart.items[event.sku] -= 1
        else:
            return
        size = sum(cart.items.values())
        ctx.emit(Size(size=size))
        if size:
            ctx.timer("over", ctx.time + self.after_ms)
        else:
            ctx.forget()

    def on_timer(self, cart: Cart, timer: hw.Timer, ctx: hw.Context[Size]) -> None:
        ctx.forget()


def with_absence(stream: ShopStream, directory: Path) -> hw.Flow:
    """The same job as a pattern: something is in the cart, and does not get out of it in time."""
    flow = hw.Flow("absent-checkouts")
    files = hw.files(str(directory / "shop-*.jsonl"))
    shop = flow.source("shop", Shop, files, time="at", out_of_order=f"{stream.out_of_order_ms}ms")
    sizes = shop.key_by("user").process("sizes", Sizes(stream.after_ms))
    absent = sizes.absence(
        "left",
        start=lambda change: change.size > 0,
        end=lambda change: change.size == 0,
        within=f"{stream.after_ms}ms",
        rearm=True,
    )
    absent.trigger("cart.abandoned", hw.to_jsonl(directory / "absent.jsonl"))
    return flow


def shipped(stream: ShopStream, directory: Path) -> hw.Flow:
    parameters = {
        "input": str(directory / "shop-*.jsonl"),
        "output": str(directory / "abandoned.jsonl"),
        "after": f"{stream.after_ms}ms",
        "out_of_order": f"{stream.out_of_order_ms}ms",
    }
    return load_flow(FlowSpec("headway.flows.abandoned_carts", parameters))


def write(stream: ShopStream, directory: Path) -> None:
    for name, events in stream.partitions.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def drained(flow: hw.Flow, state_dir: Path, threads: int) -> RunResult:
    options = RunOptions(state_dir, drain=True, key_groups=3, epoch_ms=5, threads=threads, sync=False)
    return run_flow(flow, options)


def triggers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_nothing_is_left(result: RunResult, stream: ShopStream) -> None:
    stats = result.stats
    assert (stats.keys, stats.timers, stats.waiting) == (0, 0, 0)
    assert (stats.late, stats.dead_letters) == (len(stream.late), 0)


@settings(SLOW, max_examples=25)
@given(stream=shop_streams(stray_removes=True), threads=st.integers(1, 3))
def test_what_is_done_leaves_nothing_behind(stream: ShopStream, threads: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write(stream, directory)
        result = drained(shipped(stream, directory), directory / "state", threads)
        check_nothing_is_left(result, stream)
        found = sorted(triggers(directory / "abandoned.jsonl"), key=lambda line: (line["time"], line["subject"]))
        assert [{name: line[name] for name in ("subject", "time", "data")} for line in found] == [
            {name: cart[name] for name in ("subject", "time", "data")} for cart in stream.expected
        ]


@settings(SLOW, max_examples=12)
@given(stream=shop_streams(stray_removes=True), threads=st.integers(1, 2))
def test_an_absence_finds_the_same_carts_at_the_same_times(stream: ShopStream, threads: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write(stream, directory)
        check_nothing_is_left(drained(with_absence(stream, directory), directory / "state", threads), stream)
        found = sorted((line["time"], line["subject"]) for line in triggers(directory / "absent.jsonl"))
        assert found == sorted((cart["time"], cart["subject"]) for cart in stream.expected)


class _Hooks(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"
    posted: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.posted.append((self.headers["ce-subject"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *given: object) -> None:
        """Says nothing."""


def test_the_triggers_can_be_posted_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httptools", reason="webhooks need headway[http]")
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "shop", "events", "--events", "3000"]) == 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hooks)
    monkeypatch.setattr(_Hooks, "posted", [])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    run = ["run", "headway.flows.abandoned_carts", "--drain", "--quiet", "--set", "input=events/shop-*.jsonl"]
    try:
        assert main([*run, "--state", "written"]) == 0
        hook = f"webhook=http://127.0.0.1:{server.server_port}/hooks"
        assert main([*run, "--state", "posted", "--set", hook]) == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    written = [(one["subject"], one["data"]) for one in triggers(tmp_path / "triggers.jsonl")]
    posted = [(subject, json.loads(body)) for subject, body in _Hooks.posted]
    assert len(written) > 10
    for user in {subject for subject, _ in written}:
        assert [one for one in posted if one[0] == user] == [one for one in written if one[0] == user]
    assert len(posted) == len(written)
