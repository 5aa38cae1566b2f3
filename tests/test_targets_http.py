"""Webhooks against a receiver that does everything wrong, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import Sequence
from typing import Any, Optional

import msgspec
import pytest
from tests.hostile_server import Behaviour, HostileServer, Request, hang, in_turn, raw, respond
from tests.targets_harness import delivery_of, outcomes, run

import headway as hw
from headway.targets.base import Answer, Outcome
from headway.testing import check_target

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")

DONE, RETRY, NEVER = Outcome.DONE, Outcome.RETRY, Outcome.NEVER
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJD" * 10


def oracle(secret: str) -> Any:
    """Another implementation of the signature."""
    found = pytest.importorskip("standardwebhooks", reason="standardwebhooks is not installed: it checks signatures")
    return found.Webhook(secret)


def post(
    behaviour: Behaviour, *, batches: Optional[Sequence[Sequence[Any]]] = None, server: Any = None, **options: Any
) -> tuple[list[Answer], HostileServer]:
    """The answers to batches, one after the other, and the server with what it got."""

    async def exchange() -> tuple[list[Answer], HostileServer]:
        async with HostileServer(behaviour, **(server or {})) as hostile:
            options.setdefault("timeout", "5s")
            path = options.pop("path", "/hooks")
            target = hw.webhook(f"http://127.0.0.1:{hostile.port}{path}", **options)
            target.check()
            await target.open()
            try:
                found = [await target.deliver(batch) for batch in batches or [[delivery_of(1)]]]
            finally:
                await target.close()
            return [answer for answers in found for answer in answers], hostile

    return run(exchange())


FLOOD = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1_000) for number in range(20_000))
DRIP = b"HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\nx"
CASES = {
    "2xx": (respond(204), DONE, ""),
    "an answer with a body": (respond(200, body=b'{"ok": true}'), DONE, ""),
    "10 MB with 200": (respond(200, body=b"x" * 10_000_000), DONE, ""),
    "10 MB with 500": (respond(500, body=b"x" * 10_000_000), RETRY, "500 Internal Server Error"),
    "a body that is shorter than it says": (respond(200, body=b"x", length=50), DONE, ""),
    "a body that is longer than it says": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxxxxx"), DONE, ""),
    "a length that is none": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"), RETRY, "no HTTP"),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nx"), RETRY, "no HTTP"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), RETRY, "no HTTP"),
    "nothing": (raw(b""), RETRY, "closed before an answer came"),
    "half an answer": (raw(b"HTTP/1.1 20"), RETRY, ""),
    "headers without end": (raw(FLOOD), RETRY, ""),
    "a header without end": (raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000), RETRY, ""),
    "redirect": (respond(302, "Location: http://169.254.169.254/\r\n"), RETRY, "302 Found: redirects are not followed"),
    "permanent redirect": (respond(308, "Location: /other\r\n"), RETRY, "308"),
    "switching protocols": (raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), RETRY, "101"),
    "gone": (respond(410), NEVER, "410 Gone"),
    "bad request": (respond(400, body=b"no field x"), NEVER, "400 Bad Request"),
    "unauthorized": (respond(401), RETRY, "401"),
    "not found": (respond(404), RETRY, "404"),
    "conflict": (respond(409), RETRY, "409"),
    "unprocessable": (respond(422), NEVER, "422"),
    "too early": (respond(425), RETRY, "425"),
    "unknown": (respond(599), RETRY, "599"),
}


@pytest.mark.parametrize(("behaviour", "outcome", "reason"), CASES.values(), ids=CASES)
def test_what_an_answer_means(behaviour: Behaviour, outcome: Outcome, reason: str) -> None:
    [answer], _ = post(behaviour)
    assert answer.outcome is outcome, answer
    assert reason in answer.reason and (outcome is DONE or answer.reason)
    assert len(answer.head) <= 2_000 and answer.stops is (answer.reason == "410 Gone")


def test_a_body_that_drips_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.targets.http_connection.BODY_S", 0.05)

    async def drip(request: Any, reader: Any, writer: Any) -> None:
        writer.write(DRIP)
        await reader.read()

    [answer], _ = post(drip)
    assert (answer.outcome, answer.reason, answer.head) == (RETRY, "503 Service Unavailable", "x")


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 200_000_000, compresslevel=9)
    behaviour = respond(500, "Content-Encoding: gzip\r\n", bomb)
    tracemalloc.start()
    [answer], _ = post(behaviour)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.outcome is RETRY and peak < 20_000_000


def test_no_answer() -> None:
    [answer], _ = post(hang(), timeout="50ms")
    assert (answer.outcome, answer.reason) == (RETRY, "no answer within 0.05 s")


def test_closed_before_it_has_read() -> None:
    [answer], hostile = post(respond(), server={"unread": lambda: True})
    assert answer.outcome is RETRY and not hostile.requests


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    check_target(
        lambda: hw.call(lambda trigger: None),
        make_unreachable=lambda: hw.webhook(f"http://127.0.0.1:{port}/"),
    )


def test_500_and_then_200() -> None:
    answers, hostile = post(in_turn(respond(500), raw(b""), respond()), batches=[[delivery_of(1)]] * 4)
    assert outcomes(answers) == [RETRY, RETRY, DONE, DONE]
    assert len({request.header("webhook-id") for request in hostile.requests}) == 1


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("more", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"?"])
def test_what_nobody_has_asked_for_answers_no_request(more: bytes, is_read: bool) -> None:
    """A receiver says something more on a connection that is kept, before the next request goes out."""
    kept: list[asyncio.StreamWriter] = []

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        await respond()(request, reader, writer)

    async def exchange() -> tuple[list[Answer], list[Optional[str]]]:
        async with HostileServer(answer) as hostile:
            target = hw.webhook(f"http://127.0.0.1:{hostile.port}/hooks", timeout="5s")
            await target.open()
            answers: list[Answer] = []
            for number in range(3):
                answers += await target.deliver([delivery_of(number)])
                kept[-1].write(more)
                for _ in range(10 if is_read else 0):
                    await asyncio.sleep(0)
            await target.close()
            return answers, [request.header("ce-id") for request in hostile.requests]

    answers, ids = run(exchange())
    assert outcomes(answers) == [DONE] * 3
    assert ids == [delivery_of(number).id for number in range(3)], "each has been there before it counted as taken"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("315360000", 86_400.0),
        ("9" * 400, 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 86_400.0),
        ("Fri, 99 Foo 2199", None),
    ],
)
def test_retry_after(text: str, seconds: Optional[float]) -> None:
    for status in (429, 503):
        [answer], _ = post(respond(status, f"Retry-After: {text}\r\n"))
        assert (answer.outcome, answer.retry_after_s) == (RETRY, seconds)


def test_what_is_sent_in_binary_mode() -> None:
    subject = 'a\r\nx-injected: 1\r\n\r\n "50%" ü 🛒'
    delivery = delivery_of(7, {"cents": 5}, key=subject)
    traced = msgspec.structs.replace(delivery, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    _, hostile = post(respond(), batches=[[traced]], secret=SECRET, headers={"X-Shop": "eu"}, path="/hooks?v=1")
    [request] = hostile.requests
    assert request.line == "POST /hooks?v=1 HTTP/1.1" and request.body == b'{"cents":5}'
    expected = {
        "ce-specversion": "1.0",
        "ce-id": delivery.id,
        "ce-source": "/headway/shop",
        "ce-type": "cart.abandoned",
        "ce-time": "2023-11-14T22:13:20.007Z",
        "ce-sequence": "00000000000000000007",
        "ce-traceparent": traced.traceparent,
        "traceparent": traced.traceparent,
        "content-type": "application/json",
        "x-shop": "eu",
        "webhook-id": delivery.id,
        "ce-datacontenttype": None,
        "x-injected": None,
        "cookie": None,
    }
    assert {name: request.header(name) for name in expected} == expected
    encoded = request.header("ce-subject")
    assert encoded is not None and encoded == request.header("ce-partitionkey")
    assert encoded.isascii() and not set(encoded) & set(' "\r\n')
    from urllib.parse import unquote

    assert unquote(encoded) == subject
    oracle(SECRET).verify(request.body, dict(request.headers))


def test_what_is_sent_in_the_other_modes() -> None:
    delivery = delivery_of(7, {"cents": 5}, key="a")
    event = {
        "specversion": "1.0",
        "id": delivery.id,
        "source": "/headway/shop",
        "type": "cart.abandoned",
        "time": "2023-11-14T22:13:20.007Z",
        "subject": "a",
        "partitionkey": "a",
        "sequence": "00000000000000000007",
        "datacontenttype": "application/json",
        "data": {"cents": 5},
    }
    for mode, kind, expected in (("structured", "", event), ("batched", "-batch", [event])):
        _, hostile = post(respond(), batches=[[delivery]], mode=mode, secret=[SECRET, OTHER])
        [request] = hostile.requests
        assert request.header("content-type") == f"application/cloudevents{kind}+json"
        assert msgspec.json.decode(request.body) == expected
        for secret in (SECRET, OTHER):
            oracle(secret).verify(request.body, dict(request.headers))
        assert len((request.header("webhook-signature") or "").split()) == 2


def test_a_large_value() -> None:
    value = {"text": "x" * 5_000_000}
    [answer], hostile = post(respond(), batches=[[delivery_of(1, value)]], secret=SECRET)
    [request] = hostile.requests
    assert answer.outcome is DONE and msgspec.json.decode(request.body) == value
    assert request.header("transfer-encoding") is None and request.header("content-type") == "application/json"


def test_a_receiver_that_answers_before_it_has_read() -> None:
    """And closes, in the middle of what is sent: its answer counts if it comes through, and nothing is raised."""

    async def answer(reader: Any, writer: Any) -> None:
        await reader.readexactly(10)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def exchange() -> Answer:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        target = hw.webhook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout="5s")
        await target.open()
        [found] = await target.deliver([delivery_of(1, {"text": "x" * 20_000_000})])
        await target.close()
        server.close()
        await server.wait_closed()
        return found

    found = run(exchange())
    assert found.outcome in (RETRY, NEVER) and found.reason


def test_a_list_that_is_refused_is_halved() -> None:
    """The receiver refuses lists with one bad event; only that one is refused in the end."""

    async def answer(request: Any, reader: Any, writer: Any) -> None:
        bad = any(event["data"]["number"] == 5 for event in msgspec.json.decode(request.body))
        await respond(422 if bad else 204)(request, reader, writer)

    answers, _ = post(answer, batches=[[delivery_of(number) for number in range(16)]], mode="batched")
    assert [number for number, found in enumerate(answers) if found.outcome is not DONE] == [5]
    one, hostile = post(respond(503), batches=[[delivery_of(number) for number in range(16)]], mode="batched")
    assert outcomes(one) == [RETRY] * 16 and len(hostile.requests) == 1


def test_each_attempt_is_signed_anew(tmp_path: Any) -> None:
    """With the time of the attempt, and with the secret of that moment."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    now = [1_700_000_000.9]

    async def exchange() -> list[Any]:
        async with HostileServer(respond(503)) as hostile:
            target = hw.webhook(f"http://127.0.0.1:{hostile.port}/", secret=f"file:{file}")
            target._signer._now_s = lambda: now[0]
            await target.open()
            await target.deliver([delivery_of(1)])
            now[0] += 60
            file.write_text(f"{OTHER}\n{SECRET}\n")
            await target.deliver([delivery_of(1)])
            file.unlink()
            [answer] = await target.deliver([delivery_of(1)])
            assert answer.outcome is RETRY and "cannot be read (No such file" in answer.reason
            await target.close()
            return hostile.requests

    first, second = run(exchange())
    assert [request.header("webhook-timestamp") for request in (first, second)] == ["1700000000", "1700000060"]
    assert len(first.header("webhook-signature").split()) == 1 and len(second.header("webhook-signature").split()) == 2
    assert first.header("webhook-id") == second.header("webhook-id")


def test_secrets_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the target, and not by a receiver that sends back all that it got."""

    async def echo(request: Any, reader: Any, writer: Any) -> None:
        body = repr((request.line, request.headers)).encode()
        await respond(400, body=body)(request, reader, writer)

    monkeypatch.setenv("SHOP_TOKEN", "swordfish-1")
    options: dict[str, Any] = {
        "headers": {"Authorization": "Bearer env:SHOP_TOKEN", "X-Key": "swordfish-2"},
        "secret": SECRET,
    }
    [answer], hostile = post(echo, path="/hooks?key=swordfish-3", **options)
    [request] = hostile.requests
    assert request.header("authorization") == "Bearer swordfish-1"
    assert "swordfish" not in answer.head and "***" in answer.head
    target = hw.webhook("http://shop.example/hooks?key=swordfish-3", **options)
    shown = repr(target) + target.name + target.describe() + repr(vars(target))
    assert "swordfish" not in shown and SECRET[6:] not in shown
    assert target.name == "http http://shop.example/hooks?key=…"


def test_answers_of_the_users_own() -> None:
    batches = [[delivery_of(1)]] * 2
    answers, _ = post(in_turn(respond(409), respond(404)), batches=batches, answers={409: "done", 404: "never"})
    assert outcomes(answers) == [DONE, NEVER]


@pytest.mark.parametrize("mode", ["binary", "structured", "batched"])
def test_the_contract(mode: str) -> None:
    """Against a server in a thread: the suite has a loop of its own."""
    import threading

    ids: list[str] = []
    ready, port, over = threading.Event(), [0], asyncio.Event()
    loop = asyncio.new_event_loop()

    async def note(request: Any, reader: Any, writer: Any) -> None:
        value = msgspec.json.decode(request.body)
        events = value if isinstance(value, list) else [value]
        ids.extend(event["id"] for event in events if "id" in event)
        ids.extend([request.header("ce-id")] if request.header("ce-id") else [])
        await respond()(request, reader, writer)

    async def serve() -> None:
        async with HostileServer(note) as hostile:
            port[0] = hostile.port
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        check_target(
            lambda: hw.webhook(f"http://127.0.0.1:{port[0]}/hooks", mode=mode, secret=SECRET, batch=5),
            received=lambda: ids,
            secrets=[SECRET[6:]],
        )
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
