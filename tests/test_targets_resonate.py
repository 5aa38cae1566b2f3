"""Triggers into Resonate: the contract of targets, what comes again, and what the server says."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from benchmarks.places import free_ports
from tests.engines_harness import application, contract_ids
from tests.hostile_server import HostileServer, in_turn, respond
from tests.targets_harness import deliver, delivery_of, outcomes, run

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Answer, Outcome
from headway.testing import check_target

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")

NAMES = itertools.count()


class Server:
    """Resonate's own store behind one address; see `tests.resonate_app`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, kind: str, data: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        body = json.dumps({"kind": kind, "head": {"corrId": "x", "version": "2026-04-01"}, "data": data})
        connection.request("POST", "/", body)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["data"]["promise"] if answer["head"]["status"] < 300 else None

    def result(self, promise: str) -> Any:
        """What a promise was resolved with, once it is."""
        while (found := self.ask("promise.get", {"id": promise}))["state"] == "pending":
            pass
        return json.loads(base64.b64decode(found["value"]["data"]))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if sys.version_info < (3, 12):
        pytest.skip("Resonate's SDK needs Python 3.12")
    pytest.importorskip("resonate.connections", reason="resonate-sdk is not installed: pip install 'headway[dev]'")
    [port] = free_ports(1)
    with application("tests.resonate_app", str(port)):
        yield Server(port)


def test_the_contract(server: Server) -> None:
    def target(url: str) -> hw.Target:
        return hw.to_resonate(url, function="told", target="local://any@workers", token="swordfish")

    check_target(
        lambda: target(server.url),
        received=lambda: [one for one in contract_ids(200) if server.ask("promise.get", {"id": one})],
        make_unreachable=lambda: target("http://127.0.0.1:1"),
        secrets=["swordfish"],
    )


def test_a_function_is_invoked_once_and_gets_the_trigger(server: Server) -> None:
    one = delivery_of(next(NAMES), {"cents": 7, "much": "x" * 50_000}, place="told")
    target = hw.to_resonate(
        server.url, function="told", target="local://any@workers", promise_id="told.{key}.{id}", mode="structured"
    )
    assert outcomes(deliver(target, [one], [replace(one, attempt=2)])) == [Outcome.DONE] * 2
    said, event = server.result(f"told.{one.subject}.{one.id}")
    assert (said, event["id"], event["data"]) == ("told", one.id, json.loads(one.data))
    created = server.ask("promise.get", {"id": f"told.{one.subject}.{one.id}"})["createdAt"]
    assert outcomes(deliver(target, [one])) == [Outcome.DONE]
    assert server.ask("promise.get", {"id": f"told.{one.subject}.{one.id}"})["createdAt"] == created


def test_a_promise_is_resolved_once(server: Server) -> None:
    promise = f"approval-{next(NAMES)}"
    server.ask("promise.create", {"id": promise, "timeoutAt": 9_999_999_999_999, "param": {}, "tags": {}})
    target = hw.to_resonate(server.url, resolve="{value.promise}")
    first, second = (delivery_of(next(NAMES), {"promise": promise, "n": n}) for n in (1, 2))
    assert outcomes(deliver(target, [first], [first], [second])) == [Outcome.DONE] * 3
    assert server.result(promise) == {"promise": promise, "n": 1}
    [answer] = deliver(target, [delivery_of(next(NAMES), {"promise": "nobody"})])
    assert answer.outcome is Outcome.NEVER and answer.reason == "there is no such promise"


def test_what_is_refused(server: Server) -> None:
    one = delivery_of(next(NAMES), key="a:b")
    [answer] = deliver(hw.to_resonate(server.url, function="told", promise_id="{key}-{id}"), [one])
    assert answer.outcome is Outcome.NEVER and "it has a colon or a NUL in it" in answer.reason
    [answer] = deliver(hw.to_resonate(server.url, function="told", token="wrong"), [one])
    assert answer.outcome is Outcome.RETRY and "401" in answer.reason


def test_statuses_in_the_answer() -> None:
    def answered(status: int, kind: str = "promise.create") -> Any:
        return respond(200, body=json.dumps({"kind": kind, "head": {"status": status}, "data": "swordfish"}).encode())

    async def exchange() -> list[Answer]:
        said = [answered(201), answered(400), answered(403), answered(429), answered(500), answered(200, "other")]
        said += [respond(200, body=b"hello"), respond(503)]
        async with HostileServer(in_turn(*said)) as hostile:
            target = hw.to_resonate(f"http://127.0.0.1:{hostile.port}", function="told", token="swordfish")
            await target.open()
            found = [(await target.deliver([delivery_of(number)]))[0] for number in range(len(said))]
            await target.close()
            return found

    found = run(exchange())
    assert outcomes(found) == [Outcome.DONE, Outcome.NEVER, *[Outcome.RETRY] * 6]
    assert [answer.reason for answer in found[3:6]] == [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
    ]
    assert "swordfish" not in found[1].head and "***" in found[1].head


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs function=... or resolve=..."),
        ({"function": "a", "resolve": "{key}"}, "needs function=... or resolve=..."),
        ({"function": "a", "promise_id": "{key}"}, "promise_id='{key}' has no {id} in it"),
        ({"resolve": "{key}", "promise_id": "{id}"}, "promise_id='{id}' is nothing for resolve='{key}'"),
        ({"function": "a", "mode": "batched"}, "mode='batched' is none"),
        ({"function": " "}, "function=' ': expected a name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_resonate("http://localhost:8001", **options)
    assert said in str(raised.value)
