"""Steps that are HTTP services: what is sent, what answers mean, and services of the worst kind."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Optional

import pytest
from tests.hostile_server import Behaviour, HostileServer, Request, hang, in_turn, raw, respond

import headway as hw
from headway.errors import FlowError, UsageError
from headway.steps.attempt import Ran, StepCall
from headway.steps.hub import Hub

PATIENCE_S = 30


def called(
    behaviour: Behaviour,
    arguments: Any,
    *,
    path: str = "/charge",
    attempt: int = 1,
    key: str = "f/1#0.2",
    calls: int = 1,
    **options: Any,
) -> tuple[list[Ran], list[Request], int]:
    """What comes of calls of a service that behaves so, what it was sent, and over how many connections."""

    async def told() -> tuple[list[Ran], list[Request], int]:
        async with HostileServer(behaviour) as server:
            step = hw.http_step("charge", f"http://127.0.0.1:{server.port}{path}", **options)
            flow = hw.Functions("group", steps=[step])
            hub = Hub(flow.callees, flow.queues)
            hub.check()
            hub.open()
            try:
                encoded = (
                    step.encode_arguments(**arguments)
                    if isinstance(arguments, dict)
                    else step.encode_arguments(*arguments)
                )
                call = StepCall(key=key, name="charge", function="f", id="1", run=0, arguments=encoded, at_ms=1 << 45)
                found = [await asyncio.wait_for(hub.run(call, attempt), PATIENCE_S) for _ in range(calls)]
                return found, server.requests, server.connections
            finally:
                await hub.close()

    return asyncio.run(told())


def result(ran: Ran) -> Any:
    assert ran.failure is None and ran.retry is None, ran
    return json.loads(ran.value)


@pytest.mark.parametrize(
    ("arguments", "method", "path", "line", "body"),
    [
        ({"order": "o-1", "cents": 250}, "POST", "/charge", "POST /charge HTTP/1.1", {"order": "o-1", "cents": 250}),
        (["o-1"], "POST", "/charge", "POST /charge HTTP/1.1", "o-1"),
        (["o-1", 250], "PUT", "/charge", "PUT /charge HTTP/1.1", ["o-1", 250]),
        ([], "POST", "/charge", "POST /charge HTTP/1.1", []),
        (
            {"order": "a/b?c d", "cents": 250},
            "POST",
            "/orders/{order}/charge",
            "POST /orders/a%2Fb%3Fc%20d/charge HTTP/1.1",
            {"cents": 250},
        ),
        (
            {"order": 17, "full": True, "none": None},
            "GET",
            "/orders/{order}?v=1",
            "GET /orders/17?v=1&full=true HTTP/1.1",
            None,
        ),
        ({}, "DELETE", "/orders", "DELETE /orders HTTP/1.1", None),
    ],
)
def test_what_is_sent(arguments: Any, method: str, path: str, line: str, body: Any) -> None:
    behaviour = respond(200, body=b'{"ok": true}')
    [ran], [request], _ = called(behaviour, arguments, path=path, method=method, attempt=3, headers={"X-Shop": "eu"})
    assert result(ran) == {"ok": True}
    assert request.line == line
    assert (json.loads(request.body) if request.body else None) == body
    assert request.header("content-type") == ("application/json" if request.body else None)
    assert request.header("idempotency-key") == "f/1#0.2"
    assert request.header("headway-attempt") == "3"
    assert request.header("x-shop") == "eu"
    assert request.header("accept") == "application/json"


def test_the_key_is_the_same_in_all_attempts_and_a_connection_serves_several() -> None:
    rans, requests, connections = called(respond(200, body=b"7"), [], calls=3, key="f/ü ö#0.1")
    assert [result(ran) for ran in rans] == [7, 7, 7]
    assert len({request.header("idempotency-key") for request in requests}) == 1
    assert requests[0].header("idempotency-key") == "f/%C3%BC %C3%B6#0.1"
    assert connections == 1


@pytest.mark.parametrize(
    ("behaviour", "type_", "is_final", "after_s"),
    [
        (respond(400, body=b"no such order"), "Http400", True, None),
        (respond(404), "Http404", True, None),
        (respond(409), "Http409", True, None),
        (respond(401), "Http401", True, None),
        (respond(408), "Http408", False, 1),
        (respond(425), "Http425", False, 1),
        (respond(429, "Retry-After: 120\r\n"), "Http429", False, 120),
        (respond(500), "Http500", False, 1),
        (respond(503, "Retry-After: 7200\r\n"), "Http503", False, 7_200),
        (respond(302, "Location: /elsewhere\r\n"), "Http302", False, 1),
        (raw(b"nonsense\r\n\r\n"), "NoAnswer", False, 1),
        (raw(b""), "NoAnswer", False, 1),
        (respond(200, body=b"[1, 2", length=100), "NoAnswer", False, 1),
        (respond(200, body=b"<html>"), "ResultError", True, None),
    ],
)
def test_what_answers_mean(behaviour: Behaviour, type_: str, is_final: bool, after_s: Optional[float]) -> None:
    [ran], *_ = called(behaviour, {"order": "o-1"})
    told = str(ran.failure) if ran.failure else ran.retry.reason if ran.retry else ""
    assert told.startswith(f"{type_}: "), told
    assert (ran.retry is None) == is_final
    if ran.retry:
        assert ran.retry.retry_after_s == after_s
    else:
        assert ran.failure and ran.failure.non_retryable


def test_a_policy_may_name_a_status() -> None:
    policy = hw.RetryPolicy(non_retryable=("Http503",))
    [ran], *_ = called(respond(503, body=b"down for good"), [], retry=policy)
    assert ran.failure and ran.failure.message == "503 Service Unavailable: down for good"
    policy = hw.RetryPolicy(non_retryable=("HttpError",))
    [ran], *_ = called(raw(b""), [], retry=policy)
    assert ran.failure and ran.failure.type == "NoAnswer"


def test_results_are_checked_and_may_be_large() -> None:
    [ran], *_ = called(respond(200, body=json.dumps("x" * 5_000_000).encode()), [], returns=str)
    assert len(result(ran)) == 5_000_000
    [ran], *_ = called(respond(200, body=json.dumps("x" * 9_000_000).encode()), [])
    assert ran.failure and "has more than 8,388,608 bytes" in ran.failure.message
    [ran], *_ = called(respond(200, body=b"7"), [], returns=str)
    assert ran.failure and "Expected `str`, got `int`" in ran.failure.message
    [ran], *_ = called(respond(204), [])
    assert result(ran) is None
    [ran], *_ = called(raw(b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}'), [])
    assert result(ran) == {"a": 1}, "without a length the end of the connection is that of the body"
    text = b'"' + b"x" * 30_000 + b'"'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text)
    [ran], *_ = called(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks), [])
    assert ran.value == text


def test_a_service_that_says_nothing_has_its_time() -> None:
    [ran], *_ = called(hang(), [], attempt_timeout="50ms")
    assert ran.retry and "attempt_timeout" in ran.retry.reason
    slow = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,", close=False)
    [ran], *_ = called(slow, [], attempt_timeout="50ms")
    assert ran.retry and "attempt_timeout" in ran.retry.reason
    rans, *_ = called(in_turn(raw(b""), respond(200, body=b"1")), [], calls=2)
    assert rans[0].retry and result(rans[1]) == 1


def test_secrets_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", "swordfish-swordfish")
    headers = {"Authorization": "Bearer env:BANK_TOKEN"}
    [ran], [request], _ = called(respond(400, body=b"bad token: swordfish-swordfish"), [], headers=headers)
    assert request.header("authorization") == "Bearer swordfish-swordfish"
    assert ran.failure and "swordfish" not in str(ran.failure)
    [ran], requests, _ = called(respond(200), [], deny=["loopback"])
    assert ran.retry and "is denied" in ran.retry.reason and not requests
    monkeypatch.delenv("BANK_TOKEN")
    with pytest.raises(UsageError, match="BANK_TOKEN"):
        called(respond(200), [], headers=headers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cents": 1}, "needs the argument 'order'"),
        ({"order": ".."}, "would be another path"),
        ({"order": ""}, "would be another path"),
        ({"order": [1]}, "is no text and no number"),
        (["o-1"], "needs the argument 'order'"),
    ],
)
def test_arguments_that_cannot_be_placed(arguments: Any, said: str) -> None:
    [ran], requests, _ = called(respond(200), arguments, path="/orders/{order}/charge")
    assert ran.failure and ran.failure.non_retryable and said in ran.failure.message
    assert not requests


def test_what_cannot_be_declared() -> None:
    with pytest.raises(FlowError, match="method='BREW'"):
        hw.http_step("a", "http://x.example/", method="BREW")
    with pytest.raises(FlowError, match="is no address of an HTTP service"):
        hw.http_step("a", "ftp://x.example/")
    with pytest.raises(FlowError, match="headers: 'Content-Type' is set by Headway"):
        hw.http_step("a", "http://x.example/", headers={"Content-Type": "text/plain"})
    step = hw.http_step("a", "http://x.example/", method="GET")
    with pytest.raises(UsageError, match="all by name, as the members of a JSON object, or all by position"):
        step.encode_arguments(1, a=2)
    assert repr(step) == "<http step 'a': GET http://x.example/>"
    with pytest.raises(FlowError, match="no queue 'q'"):
        hw.Functions("g", steps=[hw.http_step("a", "http://x.example/", queue="q")])
