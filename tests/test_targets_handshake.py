"""The question whether events are wanted, before the first one: asked once, understood, and kept to."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.delivery_world import World
from tests.hostile_server import Behaviour, HostileServer, Request, hang, in_turn, respond
from tests.targets_harness import delivery_of, outcomes, run

import headway as hw
from headway.delivery.courier import Courier
from headway.errors import UsageError
from headway.runtime.run import RunOptions, run_flow
from headway.targets.base import Answer, Limits, Outcome
from headway.targets.delivered import Delivering
from headway.targets.handshake import Permission, permission_in

pytest.importorskip("httptools", reason="httptools is not installed: pip install 'headway[http]'")

ORIGIN = "events.example.com"
DONE, RETRY, NEVER = Outcome.DONE, Outcome.RETRY, Outcome.NEVER


def asked(question: Behaviour, delivery: Optional[Behaviour] = None) -> Behaviour:
    """Answers the question so, and takes what is delivered."""
    taken = delivery or respond()

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (question if request.line.startswith("OPTIONS ") else taken)(request, reader, writer)

    return answer


def allows(origin: str = ORIGIN, rate: Optional[str] = None, status: int = 200) -> Behaviour:
    more = "" if rate is None else f"WebHook-Allowed-Rate: {rate}\r\n"
    return respond(status, f"Allow: POST\r\nWebHook-Allowed-Origin: {origin}\r\n{more}")


def post(
    behaviour: Behaviour, count: int = 1, *, at_once: bool = False, **options: Any
) -> tuple[list[Answer], list[Request], Limits]:
    async def exchange() -> tuple[list[Answer], list[Request], Limits]:
        async with HostileServer(behaviour) as hostile:
            given = {"origin": ORIGIN, "timeout": "5s", **options}
            target = hw.webhook(f"http://127.0.0.1:{hostile.port}/hooks?v=1", **given)
            await target.open()
            try:
                attempts = [target.deliver([delivery_of(number)]) for number in range(count)]
                found = await asyncio.gather(*attempts) if at_once else [await attempt for attempt in attempts]
            finally:
                await target.close()
            return [answer for answers in found for answer in answers], hostile.requests, target.limits

    return run(exchange())


def test_a_receiver_is_asked_once_and_before_anything_else() -> None:
    answers, requests, limits = post(asked(allows()), 3, headers={"Authorization": "Bearer swordfish"}, rate=2.5)
    assert outcomes(answers) == [DONE] * 3 and limits.batches_per_second is None
    assert [request.line.split()[0] for request in requests] == ["OPTIONS", "POST", "POST", "POST"]
    assert {request.line.split()[1] for request in requests} == {"/hooks?v=1"}
    assert {request.header("webhook-request-origin") for request in requests} == {ORIGIN}, "deliveries say it too"
    assert {request.header("authorization") for request in requests} == {"Bearer swordfish"}
    question = requests[0]
    assert question.header("webhook-request-rate") == "150" and question.header("webhook-signature") is None
    assert question.body == b"" and question.header("ce-id") is None


def test_nobody_is_asked_where_no_origin_is_given() -> None:
    answers, requests, _ = post(asked(respond(500)), 2, origin=None)
    assert outcomes(answers) == [DONE, DONE]
    assert [request.line.split()[0] for request in requests] == ["POST", "POST"]
    assert requests[0].header("webhook-request-origin") is None


def test_of_several_attempts_at_once_one_asks() -> None:
    answers, requests, _ = post(asked(allows("*")), 20, at_once=True)
    assert outcomes(answers) == [DONE] * 20
    assert sum(request.line.startswith("OPTIONS") for request in requests) == 1
    assert requests[0].line.startswith("OPTIONS") and requests[0].header("webhook-request-rate") is None


REFUSALS = {
    "no word of it": (respond(200), "200 OK to OPTIONS, but no WebHook-Allowed-Origin: the receiver has not agreed"),
    "no content": (respond(204), "204 No Content to OPTIONS, but no WebHook-Allowed-Origin"),
    "another origin": (allows("other.example"), "has agreed to events from 'other.example' (WebHook-Allowed-Origin)"),
    "an empty origin": (allows(""), "has agreed to events from ''"),
    "403": (allows(status=403), f"403 Forbidden to OPTIONS: the receiver does not let '{ORIGIN}' send events"),
    "405": (
        respond(405),
        f"405 Method Not Allowed to OPTIONS: the receiver does not know the handshake that origin='{ORIGIN}'",
    ),
    "429": (
        respond(429, "Retry-After: 7\r\n"),
        "429 Too Many Requests to OPTIONS: the receiver wants to be asked later",
    ),
    "302": (
        respond(302, "Location: /x\r\n"),
        f"302 Found to OPTIONS: the receiver has not agreed to events from '{ORIGIN}'",
    ),
    "400": (respond(400), "400 Bad Request to OPTIONS"),
    "503": (respond(503), "503 Service Unavailable to OPTIONS"),
    "a rate that is none": (allows(rate="many"), "WebHook-Allowed-Rate is 'many' in the answer to OPTIONS: expected"),
    "a rate of nothing": (allows(rate="0"), "WebHook-Allowed-Rate is '0'"),
    "a rate below nothing": (allows(rate="-5"), "WebHook-Allowed-Rate is '-5'"),
}


@pytest.mark.parametrize(("question", "said"), REFUSALS.values(), ids=REFUSALS)
def test_without_permission_nothing_is_delivered(question: Behaviour, said: str) -> None:
    """Nor lost: the trigger waits, and its receiver is asked again."""
    [first, second], requests, _ = post(asked(question), 2)
    assert first.outcome is RETRY and said in first.reason and first == second
    assert {request.line.split()[0] for request in requests} == {"OPTIONS"} and len(requests) == 2
    assert (first.retry_after_s, first.is_busy) == ((7.0, True) if "429" in said else (None, "503" in said))


def test_whoever_is_gone_is_asked_nothing_more() -> None:
    [answer], _, _ = post(asked(respond(410)))
    assert answer.outcome is NEVER and answer.stops and answer.reason == "410 Gone"


def test_no_answer_to_the_question() -> None:
    [answer], requests, _ = post(asked(hang()), timeout="50ms")
    assert (answer.outcome, answer.reason) == (RETRY, "no answer within 0.05 s") and len(requests) == 1


def test_whoever_agrees_later_gets_what_has_waited() -> None:
    answers, requests, limits = post(asked(in_turn(respond(405), allows("EVENTS.example.com", "90"))), 3)
    assert outcomes(answers) == [RETRY, DONE, DONE]
    assert [request.line.split()[0] for request in requests] == ["OPTIONS", "OPTIONS", "POST", "POST"]
    assert limits.batches_per_second == 1.5


def test_secrets_that_come_back_are_hidden() -> None:
    async def echo(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = request.header("authorization") or ""
        await respond(200, f"WebHook-Allowed-Origin: {token}\r\n", token.encode())(request, reader, writer)

    [answer], _, _ = post(asked(echo), headers={"Authorization": "swordfish-1"})
    assert "swordfish" not in answer.reason + answer.head and "***" in answer.reason


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "https://a.example",
        "a.example:80",
        "*",
        "a b",
        "-a.example",
        "a..b",
        "é.example",
        "a.example\r\nx: 1",
        "a" * 254,
        5,
    ],
)
def test_origins_that_cannot_be(origin: Any) -> None:
    with pytest.raises(UsageError, match="is no DNS name: write the name of the system"):
        hw.webhook("https://shop.example/", origin=origin)


@given(
    st.integers(0, 999),
    st.dictionaries(st.sampled_from([b"webhook-allowed-origin", b"webhook-allowed-rate", b"retry-after"]), st.binary()),
)
def test_any_answer_is_a_permission_or_an_outcome(status: int, headers: dict[bytes, bytes]) -> None:
    found = permission_in(ORIGIN, status, headers, "", 0.0)
    if isinstance(found, Permission):
        assert 200 <= status < 300 and headers[b"webhook-allowed-origin"].strip().lower() in (b"*", ORIGIN.encode())
        assert found.per_minute is None or found.per_minute > 0
    else:
        assert found.reason and found.outcome is (NEVER if status == 410 else RETRY)


def test_the_rate_that_is_allowed_is_that_of_messages(tmp_path: Path) -> None:
    """By the courier's clock: one message until the receiver was asked, then as many as it allows, however full."""
    world = World(tmp_path, Delivering(), Limits(concurrency=100, batch=10), groups=1)
    target = world.courier.target
    target.one_at_a_time = True
    world.epoch([f"k{number}" for number in range(200)])
    assert world.take() and not world.take(), "nothing else begins before that is answered"
    target.one_at_a_time, target.limits = False, Limits(concurrency=100, batch=10, batches_per_second=2)
    world.answer(0, [DONE] * 10)
    began_ms = world.now_ms
    times: list[int] = []
    while len(times) < 8:
        while world.take():
            times.append(world.now_ms - began_ms)
        wake_ms = world.courier.wake_at_ms()
        assert wake_ms is not None and wake_ms > world.now_ms
        world.now_ms = wake_ms
    assert times == pytest.approx([500 * (number + 1) for number in range(8)], abs=10)
    world.close()


def test_each_process_has_its_share(tmp_path: Path) -> None:
    world = World(tmp_path, Delivering(), Limits(concurrency=100, per_second=9), groups=1)
    world.epoch([f"k{number}" for number in range(50)])
    courier = Courier("out", world.courier.target, Delivering(), lambda: world.now_ms, lambda: 0.5, print, workers=3)
    courier.add(world.stores[0].delivery_queue(3))
    begun = 0
    for _ in range(4):
        while items := courier.take():
            begun += len(items)
        world.now_ms += 1_000
    assert begun == 3 * 4
    world.close()


def test_a_run_asks_and_keeps_to_the_rate(tmp_path: Path) -> None:
    """The whole way: a receiver that allows 1,800 a minute gets no more, and all in the end."""
    came: list[tuple[str, float]] = []

    async def note(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((request.line.split()[0], time.monotonic()))
        await asked(allows(rate="1800"))(request, reader, writer)

    flow = hw.Flow("asked")
    items = [{"at": at, "user": f"u{at}"} for at in range(21)]
    stream = flow.source("events", hw.Json, hw.items(items), time="at").key_by("user")
    loop, ready, over, port = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), [0]

    async def serve() -> None:
        async with HostileServer(note) as hostile:
            port[0] = hostile.port
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        stream.trigger("happened", hw.webhook(f"http://127.0.0.1:{port[0]}/", origin=ORIGIN))
        result = run_flow(flow, RunOptions(tmp_path, key_groups=3, epoch_ms=20, drain=True))
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
    assert result.stats.deliveries["happened"].delivered == 21
    assert [method for method, _ in came] == ["OPTIONS"] + ["POST"] * 21
    began_s = came[0][1]
    for number, (_, at_s) in enumerate(came[2:], 1):
        assert number <= 30 * (at_s - began_s) + 1, "more than thirty in a second"
