"""Traces: what links to what, what they never change, and that nobody waits for whoever takes them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster_harness import await_true
from tests.test_metrics_run import Shop
from tests.web_harness import ask

import headway as hw
from headway.errors import UsageError
from headway.runtime.run import RunOptions, run_flow
from headway.targets.base import DONE, Answer, Delivery, Outcome, Target
from headway.tracing import start
from headway.tracing.spans import context_of
from headway.tracing.start import check_traces

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector:
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                collector.headers.append({"path": self.path, **dict(self.headers)})
                for resource in body["resourceSpans"]:
                    collector.resources.append(named(resource["resource"]["attributes"]))
                    collector.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Collector:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, name: str) -> list[dict[str, Any]]:
        return [span for span in list(self.spans) if span["name"] == name]


def named(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


class Receiver(Target):
    """Refuses a key once, another one for good, and takes the rest."""

    def __init__(self) -> None:
        self.limits = hw.Limits()
        self.got: list[Delivery] = []

    @property
    def name(self) -> str:
        return "receiver"

    async def deliver(self, batch: Sequence[Delivery]) -> Sequence[Answer]:
        self.got += batch
        return [self._answer(delivery) for delivery in batch]

    def _answer(self, delivery: Delivery) -> Answer:
        if delivery.subject == "key-never":
            return Answer(Outcome.NEVER, "410 Gone")
        if delivery.subject == "key-again" and delivery.attempt == 1:
            return Answer(Outcome.RETRY, "503 busy")
        return DONE


def deliver(directory: Path, traces: str | None) -> list[Delivery]:
    flow = hw.Flow("traced")
    items = [
        {"at": at, "key": key, "traceparent": PARENT}
        for at, key in enumerate(["key-done", "key-again", "key-never", "key-end"])
    ]
    items[0]["traceparent"] = "none"
    target = Receiver()
    source = flow.source("events", hw.Json, hw.items(items), time="at")
    source.key_by("key").trigger("happened", target, on_failure="skip")
    run_flow(flow, RunOptions(directory, epoch_ms=20, key_groups=2, traces=traces))
    return target.got


def test_each_attempt_links_to_the_trace_of_its_event(tmp_path: Path) -> None:
    with Collector() as collector:
        traced = deliver(tmp_path / "traced", collector.address)
    bare = deliver(tmp_path / "bare", None)
    assert sorted((one.id, one.attempt, one.traceparent or "") for one in traced) == sorted(
        (one.id, one.attempt, one.traceparent or "") for one in bare
    )
    spans = collector.of("deliver happened")
    assert len(spans) == len(traced) >= 3
    assert collector.resources[0]["service.name"] == "headway/traced"
    assert collector.headers[0]["path"] == "/v1/traces"
    for span in spans:
        about = named(span["attributes"])
        [event] = [named(event["attributes"]) for event in span["events"]]
        [delivery] = [
            one
            for one in traced
            if (one.id, one.attempt) == (event["cloudevents.event_id"], int(about["headway.attempt"]))
        ]
        links = [(link["traceId"], link["spanId"]) for link in span["links"]]
        assert links == ([] if delivery.traceparent is None else [(TRACE, PARENT[36:52])])
        assert span["traceId"] != TRACE and "parentSpanId" not in span and span["kind"] == 4
        assert about["headway.outcome"] == event["headway.outcome"]
        refused = delivery.subject == "key-never" or (delivery.subject == "key-again" and delivery.attempt == 1)
        assert (span["status"]["code"] == 2) is refused
        assert str(delivery.subject) not in json.dumps(span), "keys are in no trace"
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])


def test_a_flow_does_not_wait_for_a_collector_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Collector() as collector:
        address = collector.address
    with caplog.at_level(logging.WARNING, "headway"):
        assert {one.subject for one in deliver(tmp_path, address)} >= {"key-done", "key-again", "key-never"}
    told = [record for record in caplog.records if "traces are not taken" in record.getMessage()]
    assert len(told) == 1 and address in told[0].getMessage()


def test_spans_can_be_looked_at_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(tmp_path, "console")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert '"name": "deliver happened"' in seen.err


def test_from_a_post_to_a_delivery(tmp_path: Path) -> None:
    with Collector() as collector, running(tmp_path, 2, collector) as shop:
        now_ms = time.time_ns() // 1_000_000
        for cart in "abcdef":
            line = json.dumps({"cart": cart, "at": now_ms}).encode()
            headers = {"content-type": "application/json", "traceparent": PARENT}
            assert ask(shop.posts, "POST", "/orders", line, headers).status == 200
        assert ask(shop.posts, "POST", "/orders", b"{}", {"content-type": "application/json"}).status == 422
        shop.post("z", at_ms=now_ms + 5_000)
        await_true(lambda: len(collector.of("ingest")) == 8, "the spans of posts")
        await_true(lambda: len(collector.of("deliver ordered")) == 6, "the spans of deliveries")
        posts = [span for span in collector.of("ingest") if span["traceId"] == TRACE]
        assert len(posts) == 6
        for number, span in enumerate(sorted(posts, key=lambda span: int(span["startTimeUnixNano"]))):
            about = named(span["attributes"])
            assert (span["kind"], span["parentSpanId"]) == (2, PARENT[36:52])
            assert (about["headway.log"], about["headway.position"]) == ("orders/0", str(number))
            assert about["http.response.status_code"] == "200"
        codes = sorted(named(span["attributes"])["http.response.status_code"] for span in collector.of("ingest"))
        assert codes == ["200"] * 7 + ["422"]


@contextmanager
def running(directory: Path, workers: int, collector: Collector) -> Iterator[Shop]:
    shop = Shop(directory, workers, "--traces", collector.address)
    try:
        yield shop
    finally:
        shop.started.end()


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-fA-F]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"))
def test_any_text_may_stand_where_a_trace_should(text: str) -> None:
    found = context_of(text)
    if found is not None:
        assert found.is_valid and found.is_remote
        assert text.lower().startswith(f"{text[:2].lower()}-{found.trace_id:032x}-{found.span_id:016x}-")


def test_a_trace_that_is_one() -> None:
    found = context_of(PARENT)
    assert found is not None and (f"{found.trace_id:032x}", found.trace_flags.sampled) == (TRACE, True)
    assert context_of(None) is context_of("00-" + "0" * 32 + PARENT[35:]) is None


def test_where_traces_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for where in ("console", "http://127.0.0.1:4318", "https://collector/v1/traces"):
        check_traces(where)
    with pytest.raises(UsageError, match="is none of console, otlp and an address"):
        check_traces("nowhere:4318")
    with pytest.raises(UsageError, match="neither OTEL_EXPORTER_OTLP_TRACES_ENDPOINT nor"):
        check_traces("otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")
    assert start._endpoint("otlp") == "http://collector:4318/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/x")
    assert start._endpoint("otlp") == "http://other/x"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer a=b, x-tenant=7")
    assert start._headers() == {"authorization": "Bearer a=b", "x-tenant": "7"}
    monkeypatch.setattr(start, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'headway\[tracing\]'"):
        check_traces("console")
