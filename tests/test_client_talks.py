"""What is asked again and when, against a server that loses requests and answers, on a clock of the test."""

from __future__ import annotations

import ssl
from typing import Any, Optional, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client.function_protocol import FunctionProtocol, InstanceProtocol, Rules
from headway.client.protocol import Reply, Request
from headway.client.talks import Ask, Pause, Talk
from headway.errors import NotYetError, ServiceError

FAULTS = st.sampled_from(["request lost", "answer lost", 429, 503, 507, "fine", "fine"])


class World:
    """A server of posts that keeps what it took, behind a network with faults; and a clock."""

    def __init__(self, faults: list[Any], answers_in_s: float = 0.0) -> None:
        self.faults = faults
        self.now_s = 100.0
        self.taken: dict[str, int] = {}
        self.asked = 0
        self.answers_in_s = answers_in_s

    def rules(self, retry_s: float) -> Rules:
        return Rules(retry_s, lambda: self.now_s)

    def reply(self, request: Request) -> Reply:
        fault = self.faults.pop(0) if self.faults else "fine"
        self.asked += 1
        self.now_s += self.answers_in_s
        if isinstance(fault, int):
            return Reply(fault, {"retry-after": "1"}, b'{"title": "busy", "detail": "come again"}')
        key = request.headers["idempotency-key"]
        duplicate = key in self.taken
        if fault != "request lost":
            self.taken.setdefault(key, len(self.taken))
        if fault != "fine":
            msg = f"http://it gives no answer: {fault}"
            raise ServiceError(msg)
        told = {"log": "l/0", "position": self.taken[key], "duplicate": duplicate, "events": 1}
        return Reply(200, {}, msgspec.json.encode(told))

    def drive(self, talk: Talk[Any]) -> Any:
        try:
            step: Union[Ask, Pause] = next(talk)
            while True:
                if isinstance(step, Pause):
                    self.now_s += step.seconds
                    step = talk.send(None)
                    continue
                try:
                    reply = self.reply(step.request)
                except ServiceError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            return end.value


@given(st.lists(FAULTS, max_size=12), st.floats(0.0, 60.0), st.sampled_from([None, "mine"]))
def test_what_is_told_is_taken_once_and_within_its_time(faults: list[Any], retry_s: float, key: Optional[str]) -> None:
    world = World(list(faults))
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", Any, world.rules(retry_s)).instance("1")
    began_s = world.now_s
    try:
        posted = world.drive(instance.signal("go", 1, key))
    except ServiceError as error:
        assert "fine" not in faults[: world.asked]
        assert error.status in (0, 429, 503, 507)
    else:
        assert posted.position == 0
        used = faults[: world.asked]
        assert used[:-1].count("fine") == 0, "what was answered is not asked again"
        assert posted.duplicate == ("answer lost" in used)
    assert len(world.taken) <= 1, "one key in all attempts"
    assert world.now_s - began_s <= retry_s
    assert world.asked <= 14


def test_two_of_the_same_are_two_unless_they_have_a_key() -> None:
    world = World([])
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", Any, world.rules(1.0)).instance("1")
    for _ in range(2):
        world.drive(instance.signal("go", 1, None))
    assert len(world.taken) == 2
    for _ in range(2):
        world.drive(instance.signal("go", 1, "mine"))
    assert len(world.taken) == 3


def test_pauses_grow_to_two_seconds_and_respect_what_the_server_asks_for() -> None:
    talk = FunctionProtocol("buy", Any, Rules(1_000.0, lambda: 0.0)).instance("1").signal("go", 1, None)
    assert isinstance(next(talk), Ask)
    pauses = []
    for _ in range(7):
        paused = talk.throw(ServiceError("gone"))
        assert isinstance(paused, Pause)
        pauses.append(paused.seconds)
        assert isinstance(talk.send(None), Ask)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    busy = Reply(507, {"retry-after": "30"}, b"{}")
    assert talk.send(busy) == Pause(30.0)


def test_a_certificate_is_not_tried_again() -> None:
    talk = FunctionProtocol("buy", Any, Rules(1_000.0, lambda: 0.0)).instance("1").signal("go", 1, None)
    next(talk)
    error = ServiceError("no answer")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    with pytest.raises(ServiceError, match="no answer"):
        talk.throw(error)


def row(status: str, **more: Any) -> Reply:
    headers = {"headway-epoch": "1", "headway-age-ms": "0", "etag": f'"{status}{len(more)}"'}
    return Reply(200, headers, msgspec.json.encode({"key": "buy/1", "value": {"status": status, **more}}))


def test_a_result_is_waited_for_version_by_version() -> None:
    now_s = 0.0
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", int, Rules(10.0, lambda: now_s)).instance("1")
    talk = instance.result("2m")
    first = next(talk)
    assert isinstance(first, Ask) and "wait" not in first.request.path and first.request.headers == {}
    second = talk.send(row("running"))
    assert isinstance(second, Ask)
    assert second.request.headers == {"if-none-match": '"running0"'}
    assert second.request.path.endswith("?wait=60000ms") and second.request.wait_s == 60.0
    now_s = 60.0
    third = talk.send(Reply(304, {}, b""))
    now_s = 100.0
    fourth = talk.throw(ServiceError("cut"))
    assert isinstance(fourth, Pause)
    assert talk.send(None) == third, "the same again"
    fifth = talk.send(Reply(304, {}, b""))
    assert isinstance(fifth, Ask) and fifth.request.wait_s == 20.0
    with pytest.raises(StopIteration) as ended:
        talk.send(row("completed", result="7"))
    assert ended.value.value == 7


def test_a_result_that_does_not_come_in_time() -> None:
    now_s = 0.0
    instance: InstanceProtocol[Any] = FunctionProtocol("buy", int, Rules(10.0, lambda: now_s)).instance("1")
    talk = instance.result("5s")
    next(talk)
    talk.send(row("running"))
    now_s = 5.0
    with pytest.raises(NotYetError, match="buy/1 has not ended within 5s: it is running"):
        talk.send(Reply(304, {}, b""))
