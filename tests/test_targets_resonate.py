"""Triggers into Resonate: the contract of targets, what comes again, and what the server says."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.places import free_ports
from msgspec.structs import replace
from tests.engines_harness import application, contract_ids, once_there
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
        found = once_there(lambda: self._settled(promise), f"the end of {promise}")
        return json.loads(base64.b64decode(found["value"]["data"]))

    def _settled(self, promise: str) -> Any:
        found = self.ask("promise.get", {"id": promise})
        return None if found["state"] == "pending" else found


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


def answered(status: int | None, kind: str = "promise.create", data: str = "swordfish", *, by_http: int = 200) -> Any:
    """An answer of Resonate, whose server says the status in both places."""
    head = {} if status is None else {"status": status}
    return respond(by_http, body=json.dumps({"kind": kind, "head": head, "data": data}).encode())


def answers_to(said: list[Any], options: dict[str, Any]) -> list[Answer]:
    """What becomes of triggers, where a server answers so, one after the other."""

    async def exchange() -> list[Answer]:
        async with HostileServer(in_turn(*said)) as hostile:
            target = hw.to_resonate(f"http://127.0.0.1:{hostile.port}", token="swordfish", **options)
            await target.open()
            found = [(await target.deliver([delivery_of(number)]))[0] for number in range(len(said))]
            await target.close()
            return found

    return run(exchange())


def test_only_what_the_engine_says_is_final() -> None:
    """A proxy in between knows nothing of promises: its 404 is of a server that is not there just now."""
    said = [
        answered(404, "promise.settle", by_http=404),
        respond(404, body=b"no upstream"),
        respond(400, body=b"bad request"),
        respond(410),
        respond(413),
        answered(None, "promise.settle"),
        answered(400, data="Unsupported protocol version '2026-04-01', supported versions: []", by_http=400),
        answered(400, data="Invalid resonate:target address", by_http=400),
        answered(400, data="Invalid request: data.id", by_http=400),
    ]
    found = answers_to(said, {"resolve": "{key}"})
    never, retry = Outcome.NEVER, Outcome.RETRY
    assert outcomes(found) == [never, retry, retry, retry, never, retry, retry, retry, never]
    assert found[0].reason == "there is no such promise" and not found[3].stops
    assert found[1].reason == "404 Not Found" and found[5].reason == "502 Bad Gateway"


def test_statuses_in_the_answer() -> None:
    said = [answered(201), answered(400), answered(403), answered(429), answered(500), answered(200, "other")]
    said += [respond(200, body=b"hello"), respond(503)]
    found = answers_to(said, {"function": "told"})
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
        ({"function": "a", "deadline": 0}, "deadline=0 is out of range: expected a length of time from 1ms to 36500d"),
        ({"function": "a", "deadline": "soon"}, "deadline 'soon' is not a length of time"),
        ({"function": "a", "version": 0}, "version=0 is out of range: expected a whole number from 1"),
        ({"function": "a", "version": "2"}, "version='2' is out of range"),
        ({"function": "a", "token": 5}, "token is empty or no text"),
        ({"function": "a", "target": 5}, "target=5: expected a name"),
        ({"resolve": 5}, "resolve=5"),
        ({"function": "a", "promise_id": 5}, "promise_id=5"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_resonate("http://localhost:8001", **options)
    assert said in str(raised.value)


@pytest.mark.parametrize("options", [{"function": "a"}, {"resolve": "{key}"}])
def test_an_address_with_a_question_mark(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is added to it, so it is refused: where it is declared, or where it is read before the run."""
    with pytest.raises(UsageError, match="has a part behind a question mark"):
        hw.to_resonate("http://localhost:8001/api?token=swordfish", **options)
    monkeypatch.setenv("RESONATE", "http://localhost:8001/api?token=swordfish")
    with pytest.raises(UsageError, match="env:RESONATE has a part behind a question mark") as raised:
        hw.to_resonate("env:RESONATE", **options).check()
    assert "swordfish" not in str(raised.value)
