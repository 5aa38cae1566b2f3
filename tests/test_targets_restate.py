"""Triggers into Restate: the contract of targets, what comes again, and what the server says."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from benchmarks.places import free_ports
from msgspec.structs import replace
from tests.engines_harness import application, once_there
from tests.hostile_server import HostileServer, in_turn, respond
from tests.servers import RestateServer, restate_server
from tests.targets_harness import deliver, delivery_of, outcomes, run

import headway as hw
from headway.errors import UsageError
from headway.targets.base import Answer, Outcome
from headway.testing import check_target

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")

NAMES = itertools.count()
KEYS = ["a/b", "..", 'quote " and % and ü', "🛒", "a\r\nx-injected: 1", "?x=1#y"]


@pytest.fixture(scope="module")
def restate() -> Iterator[RestateServer]:
    """A server with the services of `tests.restate_app`."""
    pytest.importorskip("restate", reason="restate-sdk is not installed: pip install 'headway[dev]'")
    server = restate_server()
    [port] = free_ports(1)
    with application("tests.restate_app", str(port)):
        server.register(port)
        yield server


def asked(server: RestateServer, path: str) -> Any:
    """What a handler without an argument answers, or a workflow when it is over."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET" if path.endswith("/attach") else "POST", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return json.loads(body)


def cart(server: RestateServer, key: str) -> list[Any]:
    found: list[Any] = asked(server, f"/Cart/{quote(key, safe='')}/all")
    return found


def test_the_contract(restate: RestateServer) -> None:
    def target(url: str) -> hw.Target:
        return hw.to_restate(
            url, virtual_object="Cart", handler="add", key="{type}", headers={"Authorization": "Bearer swordfish"}
        )

    check_target(
        lambda: target(restate.url),
        received=lambda: [trigger_id for _, trigger_id in cart(restate, "contract.checked")],
        make_unreachable=lambda: target("http://127.0.0.1:1"),
        secrets=["swordfish"],
    )
    found = [trigger_id for _, trigger_id in cart(restate, "contract.checked")]
    assert len(found) == len(set(found)) > 20


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_objects(restate: RestateServer, key: str) -> None:
    one = delivery_of(next(NAMES), key=key)
    target = hw.to_restate(restate.url, virtual_object="Cart", handler="add", mode="structured")
    assert outcomes(deliver(target, [one], [one])) == [Outcome.DONE] * 2
    [[event, _]] = cart(restate, key)
    assert (event["id"], event["subject"], event["data"]) == (one.id, key, json.loads(one.data))


def test_a_call_comes_once_also_when_the_server_was_killed(restate: RestateServer) -> None:
    name = f"ann-{next(NAMES)}"
    one = delivery_of(1, {"cart": name}, place=name)
    target = hw.to_restate(restate.url, service="Orders", handler="note")
    assert outcomes(deliver(target, [one], [one])) == [Outcome.DONE] * 2
    restate.kill()
    restate.start()
    assert outcomes(deliver(target, [replace(one, attempt=3)])) == [Outcome.DONE]
    found = once_there(lambda: cart(restate, name), "the first event of the cart")
    assert [event for event, _ in found] == ["cart.abandoned"]
    # Nothing of the repeats is under way behind it.
    deliver(target, [delivery_of(2, {"cart": name}, place=name)])
    once_there(lambda: len(cart(restate, name)) > 1, "the second event of the cart")
    assert len(cart(restate, name)) == 2


def test_a_workflow_starts_once_and_its_awakeable_is_resolved_once(restate: RestateServer) -> None:
    one = delivery_of(next(NAMES), {"cents": 5}, place="reviews")
    key = f"review-{one.id}"
    start = hw.to_restate(restate.url, workflow="Review", key="r-{id}")
    assert outcomes(deliver(start, [one], [one])) == [Outcome.DONE] * 2
    poked = replace(one, subject=f"r-{one.id}")
    poke = hw.to_restate(restate.url, workflow="Review", handler="poke")
    assert outcomes(deliver(poke, [poked], [poked])) == [Outcome.DONE] * 2
    told = once_there(lambda: cart(restate, f"review-r-{one.id}"), "the start of the review")
    assert len(told) == 1, f"{key} has started twice"
    decided = delivery_of(next(NAMES), {"approval": {"id": told[0][0]}, "is_good": True}, place="decisions")
    later = replace(decided, id="f" * 32, data=b'{"approval":{"id":"%b"}}' % told[0][0].encode())
    resolve = hw.to_restate(restate.url, awakeable="{value.approval.id}")
    assert outcomes(deliver(resolve, [decided], [decided], [later])) == [Outcome.DONE] * 3
    result = asked(restate, f"/restate/workflow/Review/r-{one.id}/attach")
    assert result == [{"cents": 5}, json.loads(decided.data)]
    assert [event for event, _ in cart(restate, f"poked-r-{one.id}")] == [{"cents": 5}]


def test_what_the_server_does_not_take_is_said(restate: RestateServer) -> None:
    one = delivery_of(next(NAMES), {"n": True})
    for target, said in (
        (hw.to_restate(restate.url, service="Nobody", handler="note"), "404 Not Found"),
        (hw.to_restate(restate.url, virtual_object="Cart", handler="all"), "400 Bad Request"),
    ):
        [answer] = deliver(target, [one])
        assert answer.outcome is Outcome.RETRY and answer.reason == said and "message" in answer.head
    [answer] = deliver(hw.to_restate(restate.url, awakeable="{key}"), [one])
    assert answer.outcome is Outcome.NEVER and "bad awakeable id" in answer.head
    [answer] = deliver(hw.to_restate(restate.url, awakeable="{value.n}"), [one])
    assert answer.outcome is Outcome.NEVER and "the trigger's value.n is True" in answer.reason
    [answer] = deliver(hw.to_restate(restate.url, virtual_object="Cart", handler="add"), [replace(one, subject=None)])
    assert answer.outcome is Outcome.NEVER and "the trigger has no key" in answer.reason


def test_statuses() -> None:
    async def exchange() -> list[Answer]:
        said = [respond(status) for status in (202, 200, 401, 429, 503, 413)]
        async with HostileServer(in_turn(*said)) as hostile:
            url = f"http://127.0.0.1:{hostile.port}/restate-ingress"
            target = hw.to_restate(url, service="Orders", handler="note")
            await target.open()
            found = [(await target.deliver([delivery_of(number)]))[0] for number in range(len(said))]
            await target.close()
            return found

    found = run(exchange())
    done, retry = Outcome.DONE, Outcome.RETRY
    assert outcomes(found) == [done, done, retry, retry, retry, Outcome.NEVER]
    assert [answer.is_busy for answer in found] == [False, False, False, True, True, False]


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("options", [{"service": "Orders", "handler": "note"}, {"awakeable": "{key}"}])
def test_a_trace_goes_on(mode: str, options: dict[str, Any]) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def exchange() -> list[str | None]:
        async with HostileServer(respond(202)) as hostile:
            target = hw.to_restate(f"http://127.0.0.1:{hostile.port}", mode=mode, **options)
            await target.open()
            for given in (trace, None):
                await target.deliver([replace(delivery_of(1), traceparent=given)])
            await target.close()
            return [request.header("traceparent") for request in hostile.requests]

    assert run(exchange()) == [trace, None]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one of service=..., virtual_object=..., workflow=..., awakeable=..., not none"),
        ({"service": "A", "workflow": "B"}, "not ['service', 'workflow']"),
        ({"service": "A"}, "to_restate(service='A', ...) needs a handler=..."),
        ({"awakeable": "{key}", "handler": "a"}, "takes no handler=..."),
        ({"service": "A", "handler": "a", "key": "{key}"}, "key='{key}' is nothing for service='A'"),
        ({"workflow": "A", "key": "{key}"}, "key='{key}' has no {id} in it: a workflow is started once for each key"),
        ({"virtual_object": "A", "handler": "a", "key": "{sku}"}, "expected {id}, {key}, {type} or {value.sku}"),
        ({"service": "A/b", "handler": "a"}, "service='A/b': expected a name of Restate"),
        ({"service": "A", "handler": "a", "mode": "batched"}, "mode='batched' is none"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        hw.to_restate("http://localhost:8080", **options)
    assert said in str(raised.value)


def test_an_address_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRESS", "http://127.0.0.1:1/?token=swordfish")
    with pytest.raises(UsageError) as raised:
        hw.to_restate("env:INGRESS", service="A", handler="a").check()
    assert "env:INGRESS has a part behind a question mark" in str(raised.value)
    for url in ("localhost:8080", "http://localhost:8080?a=b", "http://ann:swordfish@localhost"):
        with pytest.raises(UsageError):
            hw.to_restate(url, service="A", handler="a")
