"""Real runs that are scraped: everything that is promised is exported, counters survive kills, nobody waits for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster_harness import Started, await_true, children, is_alive
from tests.web_harness import Answer, ask

from headway.metrics.catalog import CATALOG, CATALOG_BY_NAME
from headway.web.addresses import Address

FLOW: Final = Path(__file__).with_name("metrics_flow.py")
TOKEN: Final = "correct-horse-battery-staple"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def free_addresses(count: int) -> list[Address]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [Address("127.0.0.1", sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return addresses


class Shop:
    """A run of the flow with all its servers."""

    def __init__(self, directory: Path, workers: int, *options: object) -> None:
        self.directory = directory
        self.workers = workers
        self.options = options
        self.posts, self.views, self.metrics = free_addresses(3)
        self.started = self._start()
        self.posted = 0

    def _start(self) -> Started:
        servers = ["--listen", self.posts, "--serve", self.views, "--metrics", self.metrics]
        options = ["--state", "state", "--workers", self.workers, "--epoch", "20ms", *servers, *self.options]
        started = Started(self.directory, FLOW, *options)
        await_true(lambda: started.process.poll() is not None or self._is_ready(), "the servers")
        started.check_running()
        return started

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return all(ask(at, "GET", "/healthz").status == 200 for at in (self.posts, self.views, self.metrics))
        return False

    def restart(self) -> None:
        """Kill the run, and start it again once all its processes have seen that."""
        pids = self.started.workers()
        self.started.kill([self.started.pid])
        self.started.process.wait()
        await_true(lambda: not any(map(is_alive, pids)), "the end of the workers")
        await_true(lambda: not any(map(is_open, (self.posts, self.views, self.metrics))), "the end of the servers")
        self.started = self._start()

    def post(self, *carts: str, at_ms: int, cents: int = 5) -> None:
        """Orders, each of another cart, acknowledged."""
        lines = b"".join(json.dumps({"cart": cart, "at": at_ms, "cents": cents}).encode() + b"\n" for cart in carts)
        headers = {"content-type": "application/x-ndjson"}
        assert ask(self.posts, "POST", "/orders", lines, headers).status == 200
        self.posted += len(carts)

    def scrape(self) -> Samples:
        return scrape(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        """The sum over all samples with these labels; None without any."""
        found = [
            value
            for (found, has), value in self.scrape().items()
            if found == name and labels.items() <= dict(has).items()
        ]
        return sum(found) if found else None

    def pids(self, module: bytes) -> list[int]:
        found = []
        for pid in children(self.started.pid):
            with suppress(OSError):
                if module in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found


def is_open(address: Address) -> bool:
    with suppress(OSError), socket.create_connection((address.host, address.port)):
        return True
    return False


def scrape(address: Address) -> Samples:
    answer = ask(address, "GET", "/metrics")
    assert answer.status == 200, answer.body
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@contextmanager
def shop(directory: Path, workers: int) -> Iterator[Shop]:
    running = Shop(directory, workers, "--backup-to", "file:kept", "--backup-every", "3s")
    try:
        yield running
    finally:
        running.started.end()


def metric_names(found: Samples) -> dict[str, set[str]]:
    """The exported metrics by the names of the catalog, with their labels."""
    names: dict[str, set[str]] = {}
    for name, labels in found:
        bare = name
        for suffix in ("_bucket", "_sum", "_count"):
            if name not in CATALOG_BY_NAME:
                bare = bare.removesuffix(suffix)
        names.setdefault(bare, set()).update({label for label, _ in labels} - {"le"})
    return names


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_exports_all_that_is_promised(tmp_path: Path, workers: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    with shop(tmp_path, workers) as running:
        running.post(*"abcdefgh", "never", "later", at_ms=now_ms)
        running.post(*["a"] * 12, at_ms=now_ms + 1)
        running.post("a", at_ms=now_ms + 1, cents=-1)
        running.post("z", at_ms=now_ms - 100_000)
        running.post("z", at_ms=now_ms + 3_000)
        ask(running.posts, "POST", "/orders", b"{}", {"content-type": "application/json"})
        # The shop has no durable functions: see test_durable_figures, and test_metrics_families for queues of steps.
        elsewhere = ("headway_function", "headway_step_")
        promised = [one for one in CATALOG if not one.name.startswith(elsewhere)]
        expected = {metric.name: {"flow", *metric.labels} for metric in promised}

        def is_complete() -> bool:
            ask(running.views, "GET", "/v1/views/carts/a")
            found = metric_names(running.scrape())
            told = {name: labels for name, labels in found.items() if not name.startswith(elsewhere)}
            return told == expected and running.value("headway_failures_total") == 1

        await_true(is_complete, "all metrics")
        await_true(lambda: running.value("headway_delivery_attempts_total", outcome="done") == 20, "the deliveries")
        assert running.value("headway_events_total", source="orders") == running.posted == 25
        assert running.value("headway_late_total", source="orders") == 1
        assert running.value("headway_keys", stage="total") == 10
        assert running.value("headway_waiting_events", stage="total") == 1
        assert running.value("headway_watermark_seconds", stage="total") == (now_ms + 1_999) / 1_000
        assert running.value("headway_lost_total", operator="total", output="overflow") == 3
        assert running.value("headway_delivery_attempts_total", outcome="never") == 1
        assert running.value("headway_outbox_pending", output="ordered") == 1
        assert running.value("headway_outbox_dead", output="ordered") == 1
        assert running.value("headway_breaker_state", state="closed") == 1
        assert running.value("headway_holding_partition_info", partition="orders/0") == 1
        assert running.value("headway_ingest_requests_total", code="422") == 1
        assert running.value("headway_ingest_fsync_seconds_count", source="orders") == 5
        assert running.value("headway_source_lag_records", source="orders") == 0
        assert running.value("headway_workers") == workers


def is_counter(name: str) -> bool:
    metric = CATALOG_BY_NAME.get(name)
    return metric.kind == "counter" if metric is not None else name.endswith(("_bucket", "_sum", "_count"))


def _has_grown(value: Callable[[], float], least: float) -> bool:
    return value() >= least


def test_counters_never_go_back_whatever_is_killed(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    most: Samples = {}
    with shop(tmp_path, 2) as running:

        def has_read_all() -> bool:
            now = {key: value for key, value in running.scrape().items() if is_counter(key[0])}
            back = {key: (value, now[key]) for key, value in most.items() if key in now and now[key] < value}
            assert not back
            most.update(now)
            return running.value("headway_events_total") == running.posted

        def taken() -> float:
            return running.value("headway_ingest_events_total") or 0

        for number, module in enumerate([b"runtime.worker", b".server", b""]):
            told = taken()
            running.post(*[f"{number}-{cart}" for cart in range(50)], at_ms=now_ms + 10 * number)
            await_true(has_read_all, "the events")
            await_true(partial(_has_grown, taken, told + 50), "a word of the server of them")
            running.post(*[f"{number}+{cart}" for cart in range(50)], at_ms=now_ms + 10 * number + 5)
            if module:
                running.started.kill(running.pids(module)[: 1 if number == 0 else None])
            else:
                running.restart()
            await_true(running._is_ready, "the servers")
            await_true(has_read_all, "the events after a kill")
        assert running.value("headway_restarts_total") == 1
        # Of the server that was killed the last half second may be missing, and of the run.
        assert running.posted - 100 <= taken() <= running.posted


def test_a_flow_goes_on_without_its_exporter(tmp_path: Path) -> None:
    """It is stopped in the middle of a scrape, and everything else goes on: what leaves waits for nobody."""
    now_ms = time.time_ns() // 1_000_000
    with shop(tmp_path, 1) as running:
        [exporter] = running.pids(b"metrics.server")
        os.kill(exporter, signal.SIGSTOP)
        try:
            with socket.create_connection((running.metrics.host, running.metrics.port)) as sock:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                running.post("a", at_ms=now_ms)
                running.post("b", at_ms=now_ms + 5_000)
                await_true(lambda: ask(running.views, "GET", "/v1/views/carts/a").status == 200, "the answer of a view")
        finally:
            os.kill(exporter, signal.SIGCONT)
        await_true(lambda: running.value("headway_events_total") == 2, "the exporter")


def headway(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway", *map(str, arguments)]
    environment = {**os.environ, "SCRAPE_TOKEN": TOKEN}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_what_cannot_be_exported_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for given, says in (
            ("0.0.0.0:9100", "no token is asked for"),
            ("here", "is not an address"),
            (f"127.0.0.1:{taken.getsockname()[1]}", "Address already in use"),
        ):
            ended = headway("run", FLOW, "--state", tmp_path / "state", "--metrics", given)
            assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
            assert f"--metrics {given}" in ended.stderr.replace("'", "") and says in ended.stderr


def test_who_may_read_and_what_else_is_asked_for(tmp_path: Path) -> None:
    [address] = free_addresses(1)
    command = [sys.executable, "-m", "headway", "serve", str(FLOW), "--state", str(tmp_path), "--listen", "127.0.0.1:0"]
    command += ["--metrics", str(address), "--token", "env:SCRAPE_TOKEN"]
    environment = {**os.environ, "SCRAPE_TOKEN": TOKEN, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        try:

            def get(path: str, *, method: str = "GET", host: str = "localhost", token: str = TOKEN) -> Answer:
                return ask(address, method, path, None, {"authorization": f"Bearer {token}"}, host)

            def is_up() -> bool:
                with suppress(OSError):
                    return b"headway_watchers" in get("/metrics").body
                return False

            await_true(is_up, "the exporter")
            assert get("/metrics", token="x" * 20).status == 401
            assert get("/metrics", host="evil.example").status == 421
            assert get("/metrics", method="POST").status == 405
            assert get("/elsewhere").status == 404
            body = get("/metrics").body
            assert b"headway_queries_under_way" in body and b"headway_workers" not in body
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert not list(tmp_path.glob("headway-metrics-*"))
        finally:
            process.kill()


def test_who_lacks_the_library_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from headway.errors import UsageError
    from headway.web import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "prometheus_client" else object())
    with pytest.raises(UsageError, match=r"--metrics needs prometheus_client.*pip install 'headway\[metrics\]'"):
        extras.require_exporter("--metrics")
    extras.require_server("--listen")


def test_a_run_that_exports_nothing_imports_nothing_of_it() -> None:
    code = "import headway.cli.run, sys; print([name for name in sys.modules if name.endswith(('metrics', '_client'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
